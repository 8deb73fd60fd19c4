//! Any bytes on a control socket, in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use session_core::control::{DEADLINE, MAX_REQUEST_LEN, Reply, Request};
use session_core::{Control, ControlError, Session, parse_record};

/// What bytes on a control socket ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Nothing: the owner says so.
    Nothing,
    /// Nothing yet: there is no line, or none that is short enough.
    NotYet,
    /// This.
    This(Request),
}

impl Asked {
    /// As the owner takes it: the first line, and what came with it.
    #[must_use]
    pub fn by(bytes: &[u8]) -> Self {
        if !bytes.contains(&b'\n') {
            return Self::NotYet;
        }
        serde_json::from_slice(bytes).map_or(Self::Nothing, Self::This)
    }
}

/// What is a request is the same one after it was written and read again; and the
/// same for an answer.
///
/// # Panics
/// When that does not hold.
pub fn check_control(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let line = serde_json::to_vec(&request).expect("string keys only");
        assert!(!line.contains(&b'\n'), "one line");
        let again = serde_json::from_slice::<Request>(&line).expect("our own request");
        assert_eq!(again, request);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(bytes) {
        let line = reply.to_line();
        let again = serde_json::from_slice::<Reply>(&line).expect("our own answer");
        assert_eq!(again.to_line(), line);
    }
}

/// An owner's answer to `bytes`, as it came until the end: one line, that says either
/// why not or what the session is now.
///
/// # Panics
/// When it is something else.
pub fn check_answer(bytes: &[u8], answer: &[u8]) {
    let asked = Asked::by(bytes);
    if answer.is_empty() {
        // It has more to hear, or heard more than it listens to.
        assert!(asked == Asked::NotYet || bytes.len() > MAX_REQUEST_LEN);
        return;
    }
    let text = String::from_utf8_lossy(answer);
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text}");
    let reply: serde_json::Value = serde_json::from_slice(answer).expect("an answer is JSON");
    let (session, error) = (reply.get("session"), reply.get("error"));
    assert!(session.is_some() != error.is_some(), "{text}");
    if let Some(session) = session {
        assert!(matches!(asked, Asked::This(_)), "{text}");
        parse_record(session.to_string().as_bytes()).expect("a session");
    }
}

/// What whoever asks makes of these bytes for an answer: the very session, or an
/// error that can be printed, and soon.
///
/// # Panics
/// When it is something else.
pub fn check_reply(listener: &UnixListener, control: Control, session: &Session, bytes: &[u8]) {
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| answer(listener, bytes).expect("somebody asks"));
        control.ask(&Request::Status)
    });
    match answered {
        Ok(told) => assert_eq!(told.id, session.id),
        Err(ControlError::Refused(_) | ControlError::OwnerDied(_)) => {}
        Err(ControlError::BadReply { .. }) => assert!(bytes.contains(&b'\n')),
        Err(error) => panic!("{error}"),
    }
}

fn answer(listener: &UnixListener, bytes: &[u8]) -> std::io::Result<()> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(DEADLINE))?;
    BufReader::new(&stream).read_line(&mut String::new())?;
    // Whoever asked may have heard enough.
    let _ = (&stream).write_all(bytes);
    Ok(())
}

/// Says `bytes` to an owner, and returns all that it answers; `None` when it goes on
/// listening after `patience`.
///
/// # Errors
/// When the owner is not there.
pub fn say(
    mut owner: UnixStream,
    bytes: &[u8],
    patience: Duration,
) -> std::io::Result<Option<Vec<u8>>> {
    owner.set_read_timeout(Some(patience))?;
    // It may have heard enough before it was all said.
    let _ = owner.write_all(bytes);
    let mut answer = Vec::new();
    match owner.read_to_end(&mut answer) {
        Ok(_) => Ok(Some(answer)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        // It hung up on what it did not read.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(Some(answer)),
        Err(error) => Err(error),
    }
}
