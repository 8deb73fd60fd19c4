//! Records in great number, as Monoco writes them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use monoco_tests::Project;
use session_core::{
    Host, NewSession, Outcome, Pid, Process, ProcessIdentity, Session, SessionId, Timestamp,
    WaitStatus, record_to_json,
};

/// A project with as many sessions that have ended.
pub(crate) fn project_with(n: usize) -> Project {
    let project = Project::new();
    project.run(&["run", "--rm", "--", "true"]).ok();
    add(&project, 0..n, ended);
    project
}

/// Adds the records that `make` makes of the sessions with these numbers.
pub(crate) fn add(project: &Project, numbers: std::ops::Range<usize>, make: fn(usize) -> Session) {
    let sessions = project.path().join(".monoco/sessions");
    for number in numbers {
        write(&sessions, &make(number));
    }
}

/// Puts a record there as a writer does: whole, at once.
pub(crate) fn write(sessions: &Path, session: &Session) {
    let path = sessions.join(format!("{}.json", session.id));
    let temporary = sessions.join(format!(".{}", session.id));
    let written =
        fs::write(&temporary, record_to_json(session)).and_then(|()| fs::rename(&temporary, path));
    written.expect("there is room for a record");
}

/// A session with this number, as `monoco run` makes it, that has not been started.
fn new(number: usize) -> Session {
    let id = format!("{number:08x}-b4c2-4f6e-9a54-5d940ed90475");
    let new = NewSession {
        id: Some(SessionId::parse(&id).expect("an id")),
        issue_id: Some(format!("FEAT-{:04}", number % 1000)),
        command: ["claude", "-p", "fix the flaky test of the parser"]
            .map(Into::into)
            .into(),
        cwd: Some("/home/u/work/project".into()),
        name: number.is_multiple_of(10).then(|| format!("fixer-{number}")),
        timeout: Some(Duration::from_secs(900)),
        ..NewSession::default()
    };
    new.into_session(at(number))
}

/// One that ended: most well, some not.
pub(crate) fn ended(number: usize) -> Session {
    let mut session = running(number);
    let outcome = match number % 10 {
        8 => Outcome::Exited { code: 1 },
        9 => Outcome::Stopped {
            by: "cli".to_owned(),
            wait_status: Some(WaitStatus::Exited { code: 0 }),
        },
        _ => Outcome::Exited { code: 0 },
    };
    session
        .finish(outcome, at(number + 60))
        .expect("running → ended");
    session
}

/// One that runs, in an earlier boot of this machine.
pub(crate) fn running(number: usize) -> Session {
    let mut session = new(number);
    let host = Host::current().expect("there is a /proc");
    let process = Process {
        pid: Pid::new(1_000 + (number % 30_000) as i64).expect("a pid"),
        identity: Some(ProcessIdentity {
            host: host.name,
            boot_id: "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64".to_owned(),
            pid_namespace: host.pid_namespace,
            start_ticks: 812_345 + number as u64,
        }),
    };
    session
        .start(process, at(number + 1))
        .expect("pending → running");
    session
}

fn at(second: usize) -> Timestamp {
    let (day, second) = (1 + second / 86_400 % 28, second % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.123456Z");
    Timestamp::parse(&text).expect("a time")
}
