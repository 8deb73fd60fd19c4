//! The part of a campaign that runs in namespaces of its own: this program once
//! more, under `unshare(1)`. It is asked in lines, and answers each with one.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use monoco_tests::{Project, works};
use session_core::{SessionId, SessionManager};

use super::{drive, reuse};

/// The word behind which the part's name stands.
const INSIDE: &str = "--inside";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who sits in other namespaces.
#[derive(Debug)]
pub(crate) struct Inside {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
}

/// Whether `unshare` with these options is permitted here.
pub(crate) fn is_permitted(options: &[&str]) -> bool {
    works(&[&["unshare"], options, &["true"]].concat())
}

impl Inside {
    /// Starts `part` under `unshare` with `options`, at home in `project`. Whatever
    /// `shell` does comes first.
    pub(crate) fn start(
        project: Option<&Project>,
        options: &[impl AsRef<OsStr>],
        shell: &str,
        part: &str,
    ) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new("unshare");
        command
            .args(options)
            .args(["sh", "-ec", &format!("{shell}\nexec \"$0\" \"$@\"")])
            .arg(own)
            .args([INSIDE, part]);
        if let Some(project) = project {
            command.arg(project.path());
            command = project.at_home(command);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("it was piped")?;
        let questions = child.stdin.take();
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Nobody waits for an answer any more: so nobody asks either.
            lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
        });
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    pub(crate) fn ask(&mut self, question: &str) -> Result<String, String> {
        let questions = self.questions.as_mut().ok_or("it has been left")?;
        let asked = questions.write_all(format!("{question}\n").as_bytes());
        asked.map_err(|error| format!("nobody is inside any more: {error}"))?;
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.map_err(|error| format!("no answer to {question:?}: {error}"))
    }

    /// Has `verb` done to `id` inside; see [`drive::drive`].
    pub(crate) fn drive(&mut self, verb: &str, id: &str) -> Result<Result<String, String>, String> {
        let answer = self.ask(&format!("{verb} {id}"))?;
        match answer.split_once(' ') {
            Some(("ok", said)) => Ok(Ok(said.to_owned())),
            Some(("no", why)) => Ok(Err(why.to_owned())),
            _ => Err(format!("it answered {answer:?}")),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.questions = None;
        // An init takes its namespace along.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers, if this program is the one inside.
pub(crate) fn if_asked() -> Option<ExitCode> {
    let mut words = std::env::args().skip(1);
    if words.next()? != INSIDE {
        return None;
    }
    let answered = match words.next()?.as_str() {
        "reuse" => answer_all(reuse::answers()),
        "drive" => answer_all(driver(Path::new(&words.next()?))),
        _ => return Some(ExitCode::from(2)),
    };
    Some(match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn answer_all(mut answer: impl FnMut(&str) -> String) -> std::io::Result<()> {
    for question in std::io::stdin().lines() {
        let answer = answer(&question?).replace('\n', " ");
        std::io::stdout().write_all(format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// Does what it is told to the sessions of `project`.
fn driver(project: &Path) -> impl FnMut(&str) -> String + use<> {
    let project = project.to_owned();
    move |question| {
        let done = question.split_once(' ').ok_or("no question".to_owned());
        let done = done.and_then(|(verb, id)| {
            let manager = SessionManager::open(&project).map_err(|error| error.to_string())?;
            let id = SessionId::parse(id).map_err(|error| error.to_string())?;
            drive::drive(&manager, verb, &id)
        });
        match done {
            Ok(said) => format!("ok {said}"),
            Err(why) => format!("no {why}"),
        }
    }
}
