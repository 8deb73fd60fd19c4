//! `monoco resume`: thaw suspended sessions, or go on with the conversation of one that
//! has ended.

use std::io::{self, Read, Seek, SeekFrom};

use session_core::{Outcome, Session, SessionId, SessionManager};

use super::each::each;
use super::run::{parent, tell_added};
use super::start::start;
use crate::args::Resume;
use crate::continuation::Continuation;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{describe, output};

/// How much of an id is shown in listings.
const SHORT_ID_LEN: usize = 8;
/// How much of the end of a log is looked through for what an agent says at its end.
const LAST_WORDS: u64 = 64 << 10;

pub(super) fn resume(manager: &SessionManager, args: &Resume) -> Result<Exit, CliError> {
    match ended(manager, args) {
        Some(session) => go_on(manager, &session, args),
        None => thaw(manager, args),
    }
}

/// The session that has ended, if it is one, and what follows are no other sessions: a
/// list of these is never taken for a prompt, also where some are gone by now.
fn ended(manager: &SessionManager, args: &Resume) -> Option<Session> {
    let first = args.words.first()?;
    let session = manager.get(&manager.resolve(first).ok()?).ok()?.shown();
    let mut others = args.words[1..].iter();
    let is_alone = !others.any(|word| is_session(manager, word));
    (session.end().is_some() && is_alone).then_some(session)
}

/// Whether a word can only mean a session: as long as the ids that are shown, or a name.
fn is_session(manager: &SessionManager, word: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    let is_id = word.len() >= SHORT_ID_LEN && word.chars().all(is_hex);
    let is_name = || {
        let named = manager.resolve(word).and_then(|id| manager.get(&id));
        named.is_ok_and(|seen| {
            seen.session.name.as_deref() == Some(word) || seen.session.id.as_str() == word
        })
    };
    is_id || is_name()
}

fn thaw(manager: &SessionManager, args: &Resume) -> Result<Exit, CliError> {
    let for_ended = args.detach || args.timeout.is_some() || args.prompt.is_some();
    let mut others = args.words.iter().skip(1);
    let is_prompt = |word: &String| !is_session(manager, word) && manager.resolve(word).is_err();
    if for_ended || !args.extra.is_empty() || others.any(is_prompt) {
        // Before anything is touched.
        return Err(refusal(manager, &args.words[0]));
    }
    each(manager, &args.words, |id| {
        let so = "; to go on with its conversation, name it alone, and give the prompt with -p";
        let resumed = manager.resume(id);
        resumed.map(drop).map_err(|error| CliError::act(error, so))
    })
}

/// Why the session `name` is not given what only a new one can be.
fn refusal(manager: &SessionManager, name: &str) -> CliError {
    let seen = manager.resolve(name).and_then(|id| manager.get(&id));
    match seen {
        Ok(seen) if seen.shown().end().is_none() => CliError::NotEnded {
            name: name.to_owned(),
            status: describe::status(&seen),
        },
        Ok(_) => CliError::OnlyGoesOn,
        Err(error) => error.into(),
    }
}

fn go_on(manager: &SessionManager, old: &Session, args: &Resume) -> Result<Exit, CliError> {
    let continuation = Continuation::of(manager)?;
    continuation.tell_warnings();
    let words = args.words[1..].join(" ");
    let words = (!words.is_empty()).then_some(words);
    let prompt = args.prompt.clone().or(words);
    if args.extra.is_empty() {
        let typed = continuation.typed(old);
        if !typed.is_empty() {
            output::words(&format!("`{typed}` was given to it then, and is not now"));
        }
    }
    let (mut launch, added) = continuation.launch(old, prompt.as_deref(), &args.extra)?;
    let (engine, conversation) = continuation.held(old)?;
    tell_added(&engine.name, &added);
    launch.session.parent_id = parent();
    launch.session.timeout = args.timeout.or(launch.session.timeout);
    // Of one that was lost nobody else will record it, and its name is free then. What
    // cannot be recorded now is by whoever looks next.
    let _ = manager.settle(&old.id);
    let id = launch.session.id.clone();
    let exit = start(manager, launch, args.detach, None)?;
    if let Some(id) = id
        && let Some((code, words)) = last_words(manager, &id)
        && engine.knows_no_conversation(code, &words)
    {
        output::failure(&CliError::Forgotten {
            id,
            engine: engine.name.clone(),
            conversation: conversation.to_owned(),
        });
    }
    Ok(exit)
}

/// With which code the agent of a session exited, and the last of what it printed.
fn last_words(manager: &SessionManager, id: &SessionId) -> Option<(i32, String)> {
    let session = manager.get(id).ok()?.session;
    let Some(Outcome::Exited { code }) = session.outcome() else {
        return None;
    };
    let read = || -> io::Result<Option<Vec<u8>>> {
        let Some(mut log) = manager.open_log(id)? else {
            return Ok(None);
        };
        let len = log.metadata()?.len();
        log.seek(SeekFrom::Start(len.saturating_sub(LAST_WORDS)))?;
        let mut words = Vec::new();
        log.take(LAST_WORDS).read_to_end(&mut words)?;
        Ok(Some(words))
    };
    let words = read().ok()??;
    Some((*code, String::from_utf8_lossy(&words).into_owned()))
}
