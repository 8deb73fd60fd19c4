//! Every system call of a start, a stop and a settlement, made to fail or to be
//! the last, one after the other (`strace --inject`). The first of each, then the
//! second, until a run meets none any more.

use std::process::{Command, Stdio};

use monoco_tests::{Project, agent, finish, monoco, works};

use crate::campaign::Campaign;
use crate::model::{Deeds, Verb};
use crate::promise::{check_agents, check_deserted, check_records, end, known};

/// What Monoco asks of the kernel where it matters.
const CALLS: [&str; 26] = [
    "write",
    "fsync",
    "rename,renameat,renameat2",
    "openat",
    "close",
    "flock",
    "mkdirat,mkdir",
    "unlinkat,unlink",
    "fork,vfork,clone,clone3",
    "execve",
    "pipe2",
    "dup3",
    "fcntl",
    "memfd_create",
    "socket",
    "bind",
    "listen",
    "connect",
    "accept4",
    "sendto,recvfrom",
    "read",
    "poll,ppoll",
    "pidfd_open",
    "fallocate",
    "signalfd4",
    "fchmod,fchmodat",
];

/// What becomes of the call.
const FAULTS: [&str; 5] = [
    "signal=KILL",
    "error=EIO",
    "error=ENOSPC",
    "error=EMFILE",
    "error=EINTR",
];

/// What is done meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// A session is started, and ends by itself.
    Start,
    /// One that runs is stopped.
    Stop,
    /// One whose owner and agent are dead is settled.
    Reconcile,
}

const PATHS: [Path; 3] = [Path::Start, Path::Stop, Path::Reconcile];
/// No path makes more calls of a kind in one process.
const MOST: u64 = 400;

pub(crate) fn run(campaign: &mut Campaign) {
    if !works(&["strace", "-qq", "-o", "/dev/null", "true"]) {
        return campaign.skip("strace is not there, or may not trace");
    }
    // Whoever has little time begins elsewhere each time.
    let combinations = combinations();
    let first = usize::try_from(campaign.chance(0).next()).unwrap_or(0);
    let mut next = combinations.iter().cycle().skip(first % combinations.len());
    for _ in 0..combinations.len() {
        let Some((path, call, fault)) = next.next() else {
            return;
        };
        for when in 1..MOST {
            let Some(trial) = campaign.next_trial() else {
                return;
            };
            match campaign.attempt(|campaign| attempt(*path, call, fault, when, campaign)) {
                Ok(true) => campaign.count("calls made to fail"),
                Ok(false) => break,
                Err(broken) => {
                    campaign.fail(
                        trial,
                        &format!("{path:?} with {call}:{fault}:when={when}: {broken}"),
                    );
                }
            }
        }
        campaign.count("combinations done");
    }
}

fn combinations() -> Vec<(Path, &'static str, &'static str)> {
    let mut all = Vec::new();
    for path in PATHS {
        for call in CALLS {
            // A close that was made to fail has not closed, which no kernel does.
            let faults = FAULTS
                .iter()
                .filter(|fault| call != "close" || fault.starts_with("signal"));
            all.extend(faults.map(|fault| (path, call, *fault)));
        }
    }
    all
}

/// Tells whether anything was made to fail.
fn attempt(
    path: Path,
    call: &str,
    fault: &str,
    when: u64,
    campaign: &mut Campaign,
) -> Result<bool, String> {
    let project = Project::new();
    let mut deeds = Deeds {
        verb: Verb::Exit(3),
        killed_launcher: true,
        killed_supervisor: true,
        killed_agent: fault == "signal=KILL",
        stopped: path == Path::Stop,
    };
    let mut before = known(&project);
    let words: Vec<String> = match path {
        Path::Start => {
            let words = ["run", "-d", "--", agent(), "exit", "3"];
            words.map(str::to_owned).to_vec()
        }
        Path::Stop => {
            deeds.verb = Verb::Sleep;
            let (id, _) = project.start_agent(&[], &["sleep"], 1);
            ["stop".to_owned(), "-t".to_owned(), "5".to_owned(), id].to_vec()
        }
        Path::Reconcile => {
            deeds.verb = Verb::Sleep;
            deeds.killed_agent = true;
            let (id, pid) = project.orphan(&[], &["sleep"]);
            monoco_tests::kill(pid, monoco_tests::Signal::KILL);
            monoco_tests::gone(&[pid]);
            let _ = id;
            vec!["reconcile".to_owned()]
        }
    };
    let trace = project.state_home().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:{fault}:when={when}"))
        .arg(monoco())
        .args(&words);
    let mut command = project.at_home(command);
    command.stdin(Stdio::null());
    let ran = finish(command.spawn().map_err(|error| error.to_string())?);
    let traced = std::fs::read_to_string(&trace).unwrap_or_default();
    let injected = traced.contains("(INJECTED)") || traced.contains("+++ killed by SIGKILL +++");
    let acknowledged = (path == Path::Start && ran.code == 0)
        .then(|| ran.out().trim_end().to_owned())
        .filter(|id| !id.is_empty());
    if path != Path::Start {
        before.clear();
    }
    let Some(session) = check_records(&project, &before, acknowledged.as_deref())? else {
        if path != Path::Start {
            return Err("the session is lost".to_owned());
        }
        check_deserted(&project, None)?;
        return Ok(injected);
    };
    check_agents(&project, &session.id)?;
    end(&project, &session, deeds, campaign)?;
    Ok(injected)
}
