//! What an observer says is true, or that it cannot be told; what is settled is
//! certain; and nobody is signalled who is not the agent.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use session_core::{
    Claim, Liveness, LostCause, NewSession, Outcome, Pid, Process, ProcessHandle, RuntimeError,
    SessionId, SessionManager, Status, WaitStatus,
};

use crate::processes::{Agent, Other, alone_in_namespaces, ended, hold, identify, unshare, until};
use crate::project::{Project, id};

/// Every look at the session says the same, and leaves its record as it is.
fn check(project: &Project, id: &SessionId, liveness: &str, status: Option<Status>) {
    let before = project.stamp(id);
    let seen = project.observe(id);
    assert_eq!(seen.liveness.as_str(), liveness, "{seen:?}");
    assert_eq!(seen.status(), status);
    if let Some(status) = status {
        assert_eq!(seen.shown().status(), status);
    }
    assert_eq!(
        seen.may_live(),
        !matches!(liveness, "ended" | "lost" | "abandoned")
    );
    let listing = project.manager.list().expect("a project");
    assert!(listing.sessions.contains(&seen), "{listing:?}");
    let mut loaded = project.manager.load(id).expect("a session");
    assert_eq!(loaded.refresh_status().expect("a record"), status);
    assert_eq!(project.stamp(id), before);
}

/// Lets go of a session that stays as it is, as an owner does who dies, and
/// waits until that is seen: another test's fork may hold a copy for a moment.
pub(crate) fn die(project: &Project, claim: Claim) -> SessionId {
    let id = claim.session().id.clone();
    drop(claim.into_lease());
    until("the lease is free", || {
        project.liveness(&id) != Liveness::Owned
    });
    id
}

/// A session whose owner is dead, and which says that `process` is its agent.
pub(crate) fn left_running(project: &Project, process: Process) -> SessionId {
    die(project, project.running(process))
}

/// As [`left_running`], with a field of the agent's identity changed.
pub(crate) fn left_elsewhere(project: &Project, agent: &Agent, field: &str) -> SessionId {
    let id = left_running(project, agent.process());
    let json: serde_json::Value = serde_json::from_str(&project.record(&id)).expect("JSON");
    let truth = &json["process"][field];
    let lie = match truth {
        serde_json::Value::String(_) => "\"another\"",
        _ => "7",
    };
    let named = |value: &str| format!("\"{field}\": {value}");
    project.edit(&id, &named(&truth.to_string()), &named(lie));
    id
}

#[test]
fn a_session_with_an_owner_is_what_its_record_says() {
    let project = Project::new();
    let mut claim = project.claim();
    let id = claim.session().id.clone();
    check(&project, &id, "owned", Some(Status::Pending));
    // Even if its agent is gone: its owner is about to say how.
    claim.start(ended()).expect("pending → running");
    check(&project, &id, "owned", Some(Status::Running));
    claim.suspend().expect("running → suspended");
    check(&project, &id, "owned", Some(Status::Suspended));
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("suspended → completed");
    check(&project, &id, "ended", Some(Status::Completed));
}

#[test]
fn a_session_that_nobody_began_to_start_is_pending() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    check(&project, &id, "unclaimed", Some(Status::Pending));
}

#[test]
fn a_session_whose_starter_died_never_ran() {
    let project = Project::new();
    let id = die(&project, project.claim());
    check(&project, &id, "abandoned", Some(Status::Failed));
}

#[test]
fn a_run_directory_whose_lease_a_power_loss_took_tells_of_a_starter() {
    let project = Project::new();
    let id = die(&project, project.claim());
    fs::remove_file(project.inside(format!("run/{id}/lease"))).expect("it is there");
    check(&project, &id, "abandoned", Some(Status::Failed));
    let report = project.manager.reconcile().expect("a project");
    assert_eq!(report.settled.len(), 1, "{report:?}");
    check(&project, &id, "ended", Some(Status::Failed));
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn an_agent_that_outlives_its_owner_is_an_orphan() {
    let project = Project::new();
    let mut agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    check(&project, &id, "orphan", Some(Status::Running));
    let mut claim = project.manager.claim(&id).expect("nobody owns it");
    claim.suspend().expect("running → suspended");
    let id = die(&project, claim);
    check(&project, &id, "orphan", Some(Status::Suspended));
    agent.kill();
    check(&project, &id, "lost", Some(Status::Terminated));
}

#[test]
fn an_orphan_is_one_whatever_became_of_its_run_directory() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    fs::remove_dir_all(project.inside("run")).expect("it is there");
    check(&project, &id, "orphan", Some(Status::Running));
}

#[test]
fn an_agent_that_is_gone_with_its_owner_is_lost() {
    let project = Project::new();
    let id = left_running(&project, ended());
    check(&project, &id, "lost", Some(Status::Terminated));
    let cause = LostCause::OwnerDied;
    assert_eq!(project.liveness(&id), Liveness::Lost(cause));
    let shown = project.observe(&id).shown();
    assert_eq!(shown.outcome(), Some(&Outcome::Lost { cause }));
}

#[test]
fn another_process_with_the_same_pid_is_not_the_agent() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_elsewhere(&project, &agent, "start_ticks");
    check(&project, &id, "lost", Some(Status::Terminated));
}

#[test]
fn what_ran_before_the_machine_was_started_anew_is_lost() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_elsewhere(&project, &agent, "boot_id");
    check(&project, &id, "lost", Some(Status::Terminated));
    let cause = LostCause::Reboot;
    assert_eq!(project.liveness(&id), Liveness::Lost(cause));
    let mut loaded = project.manager.load(&id).expect("a session");
    let ended = loaded.terminate(Duration::ZERO, "cli").expect("settled");
    assert_eq!(ended.outcome(), Some(&Outcome::Lost { cause }));
    assert!(
        agent.lives(),
        "its pid stands in the record, and means nothing"
    );
}

#[test]
fn what_runs_elsewhere_is_unknown_and_left_alone() {
    let project = Project::new();
    let agent = Agent::sleeping();
    for field in ["host", "pid_namespace"] {
        let id = left_elsewhere(&project, &agent, field);
        check(&project, &id, "unknown", None);
        let before = project.stamp(&id);
        let mut loaded = project.manager.load(&id).expect("a session");
        let refused = loaded.terminate(Duration::ZERO, "cli");
        assert!(matches!(refused, Err(RuntimeError::HandsOff { .. })));
        project.manager.settle(&id).expect("nothing is certain");
        assert!(project.manager.remove(&id).is_err());
        assert_eq!(project.stamp(&id), before);
        assert!(agent.lives());
    }
}

#[test]
fn a_bare_pid_is_unverified() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut process = agent.process();
    process.identity = None;
    let id = left_running(&project, process);
    check(&project, &id, "unverified", Some(Status::Running));
    let mut process = ended();
    process.identity = None;
    let id = left_running(&project, process);
    check(&project, &id, "lost", Some(Status::Terminated));
}

#[test]
fn reconciling_settles_exactly_what_is_certain() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut bare = agent.process();
    bare.identity = None;
    let owner = project.running(agent.process());
    let certain = [
        die(&project, project.claim()),
        left_running(&project, ended()),
        left_elsewhere(&project, &agent, "boot_id"),
        left_elsewhere(&project, &agent, "start_ticks"),
    ];
    let open = [
        owner.session().id.clone(),
        project.claim().session().id.clone(),
        left_running(&project, agent.process()),
        left_running(&project, bare),
        left_elsewhere(&project, &agent, "host"),
        left_elsewhere(&project, &agent, "pid_namespace"),
    ];
    let before = open.each_ref().map(|id| project.stamp(id));
    let shown = certain.each_ref().map(|id| project.observe(id).shown());
    let planned = project.manager.reconcile_plan().expect("a project");
    assert_eq!(planned.len(), certain.len(), "{planned:?}");
    let report = project.manager.reconcile().expect("a project");
    assert!(report.failed.is_empty(), "{report:?}");
    let mut settled: Vec<_> = report.settled.into_iter().map(|(id, _)| id).collect();
    settled.sort();
    let mut expected = certain.clone();
    expected.sort();
    assert_eq!(settled, expected);
    for (id, shown) in certain.iter().zip(shown) {
        let seen = project.observe(id);
        assert_eq!(seen.liveness, Liveness::Ended);
        assert_eq!(seen.session.status(), shown.status());
        assert_eq!(seen.session.outcome(), shown.outcome());
        assert!(!project.inside("run").join(id.as_str()).exists());
    }
    assert_eq!(open.each_ref().map(|id| project.stamp(id)), before);
    // Once more: nothing is left to do, and nothing is done.
    let before = certain.each_ref().map(|id| project.stamp(id));
    let report = project.manager.reconcile().expect("a project");
    assert!(report.settled.is_empty() && report.failed.is_empty());
    assert_eq!(certain.each_ref().map(|id| project.stamp(id)), before);
    assert!(agent.lives());
}

#[test]
fn nobody_makes_up_when_a_lost_session_ended() {
    let project = Project::new();
    let id = left_running(&project, ended());
    let started_at = project.observe(&id).session.started_at();
    for settled in [false, true] {
        if settled {
            project.manager.settle(&id).expect("it is lost");
        }
        let shown = project.observe(&id).shown();
        let end = shown.end().expect("it has ended");
        assert_eq!((end.started_at, end.ended_at), (started_at, None));
        assert!(end.process.is_some(), "the pid stays as history");
    }
    assert!(!project.record(&id).contains("ended_at"));
}

#[test]
fn an_ended_session_that_left_its_run_directory_is_cleared() {
    let project = Project::new();
    let mut claim = project.running(ended());
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    let id = die(&project, claim);
    assert_eq!(project.names("run"), [id.as_str()]);
    let before = project.stamp(&id);
    let report = project.manager.reconcile().expect("a project");
    assert_eq!((report.settled.len(), report.cleared), (0, 1));
    assert_eq!(project.names("run"), [""; 0]);
    assert_eq!(project.stamp(&id), before);
    check(&project, &id, "ended", Some(Status::Completed));
}

#[test]
fn the_run_directory_of_a_damaged_session_is_kept() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    project.plant(id.as_str(), "{");
    let report = project.manager.reconcile().expect("a project");
    assert_eq!((report.settled.len(), report.cleared), (0, 0));
    assert_eq!(project.names("run"), [id.as_str()]);
}

/// Many sessions that are lost, and one that is not.
fn with_many_lost(n: usize) -> (Project, Claim) {
    let project = Project::new();
    let gone = ended();
    let ids: Vec<_> = (0..n)
        .map(|_| project.running(gone.clone()).session().id.clone())
        .collect();
    let owned = project.running(identify(std::process::id()));
    for id in &ids {
        until("the lease is free", || {
            project.liveness(id) != Liveness::Owned
        });
    }
    (project, owned)
}

fn check_all_settled(project: &Project, owned: &Claim) {
    for seen in project.manager.list().expect("a project").sessions {
        let expected = match seen.session.id == owned.session().id {
            true => Status::Running,
            false => Status::Terminated,
        };
        assert_eq!(seen.session.status(), expected);
    }
    assert_eq!(project.names("run"), [owned.session().id.as_str()]);
}

#[test]
fn many_who_reconcile_at_once_settle_each_session_once() {
    let (project, owned) = with_many_lost(40);
    let begin = Barrier::new(8);
    let reconcile = || {
        begin.wait();
        project.manager.reconcile().expect("a project")
    };
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(reconcile)).collect();
        let reports = threads.into_iter().map(|thread| thread.join());
        reports.map(|report| report.expect("no panic")).collect()
    });
    assert!(reports.iter().all(|report| report.failed.is_empty()));
    let settled: usize = reports.iter().map(|report| report.settled.len()).sum();
    assert_eq!(settled, 40);
    check_all_settled(&project, &owned);
}

/// Reconciles when told to.
pub(crate) fn reconcile(project: &Path) {
    hold();
    let manager = SessionManager::open(project).expect("a project");
    let report = manager.reconcile().expect("a project");
    assert!(report.failed.is_empty(), "{report:?}");
}

#[test]
fn two_processes_that_reconcile_at_once_do_no_harm() {
    let (project, owned) = with_many_lost(20);
    let first = Other::start("reconcile", project.path());
    let second = Other::start("reconcile", project.path());
    std::thread::scope(|scope| {
        scope.spawn(|| first.finish());
        scope.spawn(|| second.finish());
    });
    check_all_settled(&project, &owned);
}

#[test]
fn one_who_dies_while_reconciling_leaves_the_rest_to_the_next() {
    let (project, owned) = with_many_lost(80);
    let mut other = Other::start("reconcile", project.path());
    other.go_on();
    until("it is at it", || project.names("run").len() < 75);
    other.kill();
    drop(other);
    let report = project.manager.reconcile().expect("a project");
    assert!(report.failed.is_empty(), "{report:?}");
    let left = project.names("run");
    let litter = left.iter().filter(|name| name.starts_with('.')).count();
    // At most the directory that it was just removing, which is too young to be swept.
    assert!(litter <= 1 && left.len() == 1 + litter, "{left:?}");
    for seen in project.manager.list().expect("a project").sessions {
        let lost = seen.session.id != owned.session().id;
        assert_eq!(seen.session.status().is_terminal(), lost);
    }
}

/// An agent that runs `script` as the agent of an orphan, and says `ready` in a
/// file of that name once it has come so far.
fn orphan(project: &Project, script: &str) -> (SessionId, Agent) {
    let mut claim = project.claim();
    let id = claim.session().id.clone();
    let agent = Agent::spawn(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(project.path())
            .env("MONOCO_SESSION_ID", id.as_str()),
    );
    claim.start(agent.process()).expect("pending → running");
    until("the agent is ready", || {
        project.path().join("ready").exists()
    });
    (die(project, claim), agent)
}

/// What the kernel tells strangers about the end of a process: since Linux 6.15.
fn told(status: WaitStatus) -> Option<WaitStatus> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    (version >= (6, 15)).then_some(status)
}

/// Ends the orphan; it is recorded as stopped, with how it really ended.
fn check_ended(project: &Project, id: &SessionId, grace: Duration, status: WaitStatus) {
    let mut loaded = project.manager.load(id).expect("a session");
    let ended = loaded.terminate(grace, "a test").expect("it can be ended");
    let stopped = Outcome::Stopped {
        by: "a test".into(),
        wait_status: told(status),
    };
    assert_eq!(ended.outcome(), Some(&stopped));
    check(project, id, "ended", Some(Status::Terminated));
    assert!(!project.inside("run").join(id.as_str()).exists());
}

const LONG: Duration = Duration::from_secs(10);

fn signaled(signal: i32) -> WaitStatus {
    WaitStatus::Signaled {
        signal,
        core_dumped: false,
    }
}

#[test]
fn an_orphan_can_be_stopped() {
    let project = Project::new();
    let (id, agent) = orphan(&project, ": > ready; exec sleep 600");
    check_ended(&project, &id, LONG, signaled(15));
    assert!(!agent.lives());
}

#[test]
fn an_orphan_that_catches_term_is_terminated_all_the_same() {
    let project = Project::new();
    let script = "trap 'exit 0' TERM; : > ready; while :; do sleep 0.02; done";
    let (id, _agent) = orphan(&project, script);
    check_ended(&project, &id, LONG, WaitStatus::Exited { code: 0 });
}

#[test]
fn an_orphan_that_ignores_term_is_killed_after_the_grace_period() {
    let project = Project::new();
    let script = "trap '' TERM; : > ready; while :; do sleep 0.05; done";
    let (id, agent) = orphan(&project, script);
    check_ended(&project, &id, Duration::from_millis(200), signaled(9));
    assert!(!agent.lives());
}

#[test]
fn a_suspended_orphan_can_be_stopped() {
    let project = Project::new();
    let (id, agent) = orphan(&project, ": > ready; exec sleep 600");
    let handle = ProcessHandle::open(agent.process().pid).expect("a pidfd");
    handle.expect("it lives").signal(19).expect("SIGSTOP");
    let mut claim = project.manager.claim(&id).expect("nobody owns it");
    claim.suspend().expect("running → suspended");
    die(&project, claim);
    check_ended(&project, &id, LONG, signaled(15));
}

/// A process that is not our child; killed when the test is over.
struct Stray(ProcessHandle);

impl Stray {
    /// The one whose pid stands in a file of the project.
    fn written(project: &Project, name: &str) -> Self {
        let pid = fs::read_to_string(project.path().join(name)).expect("it is written");
        let pid = Pid::new(pid.trim().parse().expect("a number"));
        let handle = ProcessHandle::open(pid.expect("a pid")).expect("a pidfd");
        Self(handle.expect("it lives"))
    }

    fn lives(&self) -> bool {
        !self.0.has_ended().expect("poll")
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = self.0.signal(9);
    }
}

#[test]
fn nothing_of_an_orphans_tree_is_left() {
    let project = Project::new();
    let script = "
        sleep 600 & echo $! > child
        (setsid sh -c 'trap \"\" TERM; echo $$ > daemon.tmp; mv daemon.tmp daemon; \
            : > ready; while :; do sleep 0.05; done' &)
        exec sleep 600";
    let (id, _agent) = orphan(&project, script);
    let child = Stray::written(&project, "child");
    let daemon = Stray::written(&project, "daemon");
    check_ended(&project, &id, Duration::from_millis(200), signaled(15));
    assert!(!child.lives() && !daemon.lives());
}

#[test]
fn a_session_that_the_agent_started_is_not_part_of_its_tree() {
    let project = Project::new();
    // The supervisor of another session: it has inherited the agent's environment,
    // and holds its own lease where every supervisor does.
    let inner = project.claim();
    let lease = project.inside(format!("run/{}/lease", inner.session().id));
    let script = format!(
        "sh -c 'exec 3< {}; echo $$ > supervisor; : > ready; exec sleep 600' &
        exec sleep 600",
        lease.display()
    );
    let (id, _agent) = orphan(&project, &script);
    let supervisor = Stray::written(&project, "supervisor");
    check_ended(&project, &id, LONG, signaled(15));
    assert!(supervisor.lives(), "it was signalled");
}

#[test]
fn an_orphan_that_ends_by_itself_in_this_moment_is_lost() {
    let project = Project::new();
    let mut agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    let mut loaded = project.manager.load(&id).expect("an orphan");
    agent.kill();
    let ended = loaded.terminate(LONG, "cli").expect("settled");
    let cause = LostCause::OwnerDied;
    assert_eq!(ended.outcome(), Some(&Outcome::Lost { cause }));
}

#[test]
fn a_recycled_pid_is_never_signalled() {
    let test = "observe::a_recycled_pid_is_never_signalled";
    if !alone_in_namespaces(test, &["--pid", "--fork", "--mount-proc"], "") {
        return;
    }
    let project = Project::new();
    let mut agent = Agent::sleeping();
    let id = left_running(&project, agent.process());
    let Process { pid, identity } = agent.process();
    let began = identity.expect("alive").start_ticks;
    agent.kill();
    // The clock that tells two processes apart ticks a hundred times a second.
    until("the clock ticks", || {
        ended().identity.expect("alive").start_ticks > began
    });
    let mut victim = None;
    until("the pid is handed out anew", || {
        let last = (pid.get() - 1).to_string();
        fs::write("/proc/sys/kernel/ns_last_pid", last).expect("we are root here");
        victim = Some(Agent::sleeping());
        victim.as_ref().map(|victim| victim.process().pid) == Some(pid)
    });
    check(&project, &id, "lost", Some(Status::Terminated));
    let mut loaded = project.manager.load(&id).expect("a session");
    loaded.terminate(Duration::ZERO, "cli").expect("settled");
    project.manager.reconcile().expect("a project");
    assert!(victim.expect("it was started").lives());
}

#[test]
fn a_boot_id_that_changed_ends_what_ran_and_signals_nobody() {
    let test = "observe::a_boot_id_that_changed_ends_what_ran_and_signals_nobody";
    if !alone_in_namespaces(test, &["--mount"], "") {
        return;
    }
    let project = Project::new();
    let agent = Agent::sleeping();
    let ids = [(); 3].map(|()| left_running(&project, agent.process()));
    let boot_id = project.path().join("boot_id");
    fs::write(&boot_id, "7b1f0ad9-54ee-4ec0-8f3c-0c6dbd6f7a64\n").expect("writable");
    let mounted = Command::new("mount")
        .arg("--bind")
        .args([&*boot_id, Path::new("/proc/sys/kernel/random/boot_id")])
        .status();
    assert!(mounted.expect("mount").success());
    for id in &ids {
        assert_eq!(project.liveness(id), Liveness::Lost(LostCause::Reboot));
    }
    let report = project.manager.reconcile().expect("a project");
    assert_eq!(report.settled.len(), ids.len());
    assert!(agent.lives());
}

/// Another process finds what each session's label says, and leaves it so.
pub(crate) fn look(project: &Path) {
    let manager = SessionManager::open(project).expect("a project");
    manager.reconcile().expect("a project");
    for seen in manager.list().expect("a project").sessions {
        let expected = &seen.session.labels["expected"];
        assert_eq!(seen.liveness.as_str(), expected, "{seen:?}");
        let mut loaded = manager.load(&seen.session.id).expect("a session");
        if expected == "unknown" {
            assert!(loaded.terminate(Duration::ZERO, "cli").is_err());
        }
    }
}

/// What a process in other namespaces says of an owned and of a left session.
fn check_from(test: &str, namespaces: &[&str], left: &str) {
    let Some(wrapper) = unshare(test, namespaces, "") else {
        return;
    };
    let project = Project::new();
    let agent = Agent::sleeping();
    let labelled = |name: &str, expected: &str| {
        let new = NewSession {
            id: Some(id(name)),
            labels: [("expected".to_owned(), expected.to_owned())].into(),
            ..NewSession::default()
        };
        let mut claim = project.manager.claim_new(new).expect("a new session");
        claim.start(agent.process()).expect("pending → running");
        claim
    };
    let _owned = labelled("owned", "owned");
    die(&project, labelled("left", left));
    let before = [id("owned"), id("left")].map(|id| project.stamp(&id));
    Other::start_in(&wrapper, "look", project.path()).finish();
    let after = [id("owned"), id("left")].map(|id| project.stamp(&id));
    assert_eq!(after, before);
    assert!(agent.lives());
}

#[test]
fn from_another_pid_namespace_only_the_lease_can_be_told() {
    let test = "observe::from_another_pid_namespace_only_the_lease_can_be_told";
    check_from(test, &["--pid", "--fork", "--mount-proc"], "unknown");
}

#[test]
fn a_shifted_clock_makes_nobody_dead() {
    let test = "observe::a_shifted_clock_makes_nobody_dead";
    let shifted = ["--time", "--boottime", "1000", "--fork"];
    check_from(test, &shifted, "orphan");
}

#[test]
fn a_record_that_was_written_again_has_another_stamp() {
    let project = Project::new();
    let mut claim = project.claim();
    let stamp = || {
        let (files, strange) = project.manager.record_files().expect("a project");
        assert!(strange.is_empty());
        files[0].stamp
    };
    let before = stamp();
    assert_eq!(stamp(), before);
    claim
        .finish(Outcome::never_ran("a test"))
        .expect("a writable project");
    assert_ne!(stamp(), before);
}
