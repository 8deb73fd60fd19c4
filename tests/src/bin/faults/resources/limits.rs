//! Low limits, of who starts a session and of its owner while it lives; standard
//! descriptors that are closed, odd umasks, and a filesystem that does not lock.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use monoco_tests::{Project, Ran, kill, wait_until, works};
use rustix::process::{Pid, Resource, Rlimit, geteuid};
use session_core::{Outcome, SessionId};

use super::{
    Agent, SOON, ask_to_end, check_alive, check_mended, check_truth, recorded_end, start_by_shell,
    started,
};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::{check_deserted, known};

pub(crate) fn run(campaign: &mut Campaign) {
    let may_trace = works(&["strace", "-qq", "-o", "/dev/null", "true"]);
    if !may_trace {
        campaign.skip("strace is not there, or may not trace: locks are not refused");
    }
    let may_be_another = geteuid().is_root() && works(&["setpriv", "--reuid", "65534", "true"]);
    if !may_be_another {
        campaign.skip("it is not root: the number of processes is not limited");
    }
    campaign.each_trial(|campaign, _, chance| match chance.below(16) {
        0..6 => start_with_little(chance, campaign),
        6..11 => squeeze_owner(chance, campaign),
        11..14 => start_half_deaf(chance, campaign),
        14 if may_be_another => few_processes(chance, campaign),
        15 if may_trace => locks_refused(chance, campaign),
        _ => start_half_deaf(chance, campaign),
    });
}

/// What a program does that is not even loaded, or dies for want of memory: nothing
/// that Monoco could have a word in.
fn is_beyond_monoco(ran: &Ran) -> bool {
    let err = ran.err();
    let told = [
        "error while loading shared libraries",
        "memory allocation of",
        "annot fork",
    ];
    ran.code != 0
        && (told.iter().any(|words| err.contains(words)) || matches!(ran.code, 134 | 137 | 139))
}

/// A start by somebody who has little: of descriptors, of file size, of memory.
fn start_with_little(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let (limit, what) = match chance.below(4) {
        0 | 1 => (
            format!("ulimit -n {}", 3 + chance.below(38)),
            "few descriptors",
        ),
        2 => (format!("ulimit -f {}", chance.below(129)), "short files"),
        _ => {
            let kind = *chance.pick(&["v", "d"]);
            (
                format!("ulimit -{kind} {}", 256 << chance.below(9)),
                "little memory",
            )
        }
    };
    campaign.count(what);
    let agent = Agent::draw(chance);
    let ran = start_by_shell(&project, &format!("{limit}; exec"), agent, "");
    let told = |why: String| format!("{limit}: {why}");
    if is_beyond_monoco(&ran) {
        campaign.count("not even loaded");
        check_alive(&project, &[]).map_err(told)?;
    } else if let Some(id) = started(&ran).map_err(told)? {
        campaign.count("started");
        // The agent has as little, and may fail for it; nobody makes a success of that.
        end_agent(&project, &id);
        let outcome = recorded_end(&project, &id, SOON)?;
        let is_true = match outcome {
            Some(Outcome::Exited { code }) => [agent.code, 127, 101, 99].contains(&code),
            Some(Outcome::Signaled { signal, .. }) => [6, 9, 11, 15, 25].contains(&signal),
            _ => false,
        };
        if !is_true {
            return Err(told(format!("{outcome:?} is recorded")));
        }
    } else {
        campaign.count("refused");
        check_alive(&project, &[]).map_err(told)?;
    }
    check_mended(&project, &[]).map_err(told)
}

/// TERM, once the agent heeds it or has ended: it says ten bytes after that.
fn end_agent(project: &Project, id: &str) {
    wait_until("the agent is ready, or has ended", || {
        project.log(id).len() >= 10 || project.status(id) != "running"
    });
    ask_to_end(project, id);
}

/// Limits that the owner gets while its session lives, and that go again.
fn squeeze_owner(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let agent = Agent::draw(chance);
    let id = started(&start_by_shell(&project, "exec", agent, ""))?.ok_or("nothing is short")?;
    wait_until("the agent is ready", || project.log(&id).len() >= 10);
    let owner = project.supervisor(&id);
    let (resource, least) = match chance.below(3) {
        0 => (Resource::Nofile, chance.below(40)),
        1 => (
            Resource::Fsize,
            *chance.pick(&[0, 1, 100, 500, 600, 700, 4096]),
        ),
        _ => (Resource::As, chance.below(1 << 22)),
    };
    let told = |why: String| format!("{resource:?} of {least}: {why}");
    let before = limit(owner, resource, Some(least))?;
    campaign.count("owners squeezed");
    if chance.below(2) == 0 {
        // Whether that can be done now is not asked here.
        let _ = project.run(&["suspend", &id]);
        let _ = project.run(&["resume", &id]);
    }
    let stops = chance.below(3) == 0;
    if stops {
        let mut stop = project.spawn(&["stop", "-t", "5", &id]);
        std::thread::sleep(Duration::from_millis(chance.below(50)));
        // A stop that cannot be recorded is not answered yet.
        let _ = stop.kill();
        let _ = stop.wait();
    }
    ask_to_end(&project, &id);
    // Nobody may make a success, or anything else, of what was not recorded.
    let squeezed = Duration::from_millis(chance.below(300));
    match recorded_end(&project, &id, squeezed)? {
        Some(_) => campaign.count("ends recorded all the same"),
        None => campaign.count("ends recorded afterwards"),
    }
    if !monoco_tests::alive(owner) && project.status(&id) == "running" {
        return Err(told("the owner died of it".to_owned()));
    }
    limit(owner, resource, before)?;
    // One that could not be resumed is stopped.
    let _ = project.run(&["resume", &id]);
    check_truth(&project, &id, agent, stops).map_err(told)?;
    check_deserted(&project, Some(&id)).map_err(told)?;
    check_mended(&project, &[]).map_err(told)
}

/// Sets the soft limit of another process; returns what it was. One that has ended
/// has none.
fn limit(pid: i32, resource: Resource, current: Option<u64>) -> Result<Option<u64>, String> {
    let pid = Pid::from_raw(pid);
    let maximum = rustix::process::getrlimit(resource).maximum;
    match rustix::process::prlimit(pid, resource, Rlimit { current, maximum }) {
        Ok(before) => Ok(before.current),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(format!("cannot limit the owner: {error}")),
    }
}

/// Some of the standard descriptors are closed, and the umask is odd.
fn start_half_deaf(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let closed = chance.below(8);
    let umask = *chance.pick(&["0", "0777", "022", "0177", "0700", "0222"]);
    let words = ["<&-", ">&-", "2>&-"];
    let closing = (0..3).filter(|n| closed >> n & 1 == 1).map(|n| words[n]);
    let closing = closing.collect::<Vec<_>>().join(" ");
    campaign.count("umasks and closed descriptors");
    let agent = Agent::draw(chance);
    let told = |why: String| format!("umask {umask}, {closing}: {why}");
    let ran = start_by_shell(&project, &format!("umask {umask}; exec"), agent, &closing);
    let ids: Vec<_> = known(&project).iter().map(ToString::to_string).collect();
    let [id] = &*ids else {
        return Err(told(format!("{ids:?} are there: {ran}")));
    };
    // Where nobody can read the id, it is nobody's success.
    if closed & 2 == 0 && (ran.code, ran.out()) != (0, format!("{id}\n")) {
        return Err(told(format!("{id} is there: {ran}")));
    }
    wait_until("the agent is ready", || project.log(id).len() >= 10);
    if project.log(id) != monoco_tests::sounds(0, 10) {
        return Err(told("somebody else wrote into the log".to_owned()));
    }
    check_modes(&project.path().join(".monoco")).map_err(told)?;
    end_agent(&project, id);
    check_truth(&project, id, agent, false).map_err(told)?;
    check_modes(&project.path().join(".monoco")).map_err(told)?;
    check_mended(&project, &[]).map_err(told)
}

/// All is for its owner only.
fn check_modes(folder: &Path) -> Result<(), String> {
    let is_so = |path: &Path, mode| match path.symlink_metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o7777 != mode => Err(format!(
            "{} has the mode {:o}",
            path.display(),
            metadata.permissions().mode()
        )),
        // It may go in this moment.
        _ => Ok(()),
    };
    is_so(folder, 0o700)?;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            check_modes(&path)?;
        } else {
            is_so(&path, 0o600)?;
        }
    }
    Ok(())
}

/// A user who may have only so many processes.
fn few_processes(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let uid = u32::try_from(100_000 + chance.below(100_000)).expect("a small number");
    let most = chance.below(5);
    let project = Project::new();
    for folder in [project.path(), project.state_home()] {
        std::os::unix::fs::chown(folder, Some(uid), Some(uid))
            .map_err(|error| error.to_string())?;
    }
    let become_it = format!("setpriv --reuid {uid} --regid {uid} --clear-groups");
    let agent = Agent::draw(chance);
    let as_it = |words: &str| project.run_shell(&format!("{become_it} {words}"));
    if as_it("\"$monoco\" --version").code != 0 {
        campaign.skip("other users may not execute what is built here");
        return Ok(());
    }
    campaign.count("few processes");
    let before = format!("{become_it} prlimit --nproc={most}");
    let ran = start_by_shell(&project, &before, agent, "");
    let told = |why: String| format!("{most} processes: {why}");
    if let Some(id) = started(&ran).map_err(told)? {
        campaign.count("started");
        kill(project.agent(&id), monoco_tests::Signal::KILL);
        let ended = as_it(&format!("\"$monoco\" wait {id}"));
        if ended.code != 137 {
            return Err(told(format!("wait: {ended}")));
        }
    } else {
        campaign.count("refused");
    }
    check_deserted(&project, None).map_err(told)?;
    for word in ["run -- true", "reconcile", "doctor"] {
        let ran = as_it(&format!("\"$monoco\" {word}"));
        if ran.code != 0 {
            return Err(told(format!("{word} afterwards: {ran}")));
        }
    }
    Ok(())
}

/// A filesystem that does not lock: nothing runs there.
fn locks_refused(chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let error = *chance.pick(&["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EIO"]);
    let strace = format!("exec strace -f -qq -o /dev/null -e inject=flock:error={error}");
    campaign.count("locks refused");
    let ran = start_by_shell(&project, &strace, Agent::draw(chance), "");
    if started(&ran)?.is_some() || !ran.err().contains("refuses locks") {
        return Err(format!("flock gives {error}: {ran}"));
    }
    let ids: Vec<SessionId> = known(&project).into_iter().collect();
    if !ids.is_empty() {
        return Err(format!("flock gives {error}, and {ids:?} are there"));
    }
    check_alive(&project, &[])?;
    check_mended(&project, &[])
}
