//! Starting sessions from a program that is not monoco: it names the executable
//! whose supervisors it wants, and keeps its own threads, children and signals.

use std::path::PathBuf;
use std::time::Duration;

use monoco_tests::{Project, Signal, agent, alive, gone, kill, monoco, wait_until};
use session_core::{
    Liveness, NewSession, Outcome, RuntimeError, SessionId, SessionManager, Status, WaitStatus,
};
use session_worker::{AgentStdin, Launch, LaunchError, Launched, Launcher};

fn launcher() -> Launcher {
    Launcher::new(monoco().into())
}

fn launch(project: &Project, verb: &[&str]) -> Launch {
    let mut argv = vec![agent().into()];
    argv.extend(verb.iter().map(Into::into));
    let (name, value) = project.mark();
    Launch {
        session: NewSession {
            issue_id: Some("EMBEDDED".to_owned()),
            ..NewSession::default()
        },
        argv,
        stdin: AgentStdin::Null,
        env: vec![(name.into(), value.into())],
        leave_children: false,
        remove_at_end: false,
        grace: Duration::from_secs(10),
    }
}

fn start(project: &Project, verb: &[&str]) -> (SessionManager, Launched) {
    let manager = SessionManager::create(project.path()).expect("a new project");
    let launched = launcher()
        .launch(&manager, launch(project, verb))
        .expect("it starts");
    (manager, launched)
}

fn supervisor(manager: &SessionManager, id: &SessionId) -> i32 {
    let control = manager.control(id).expect("it has an owner");
    control
        .owner_pid()
        .expect("it is in this pid namespace")
        .get()
}

#[test]
fn a_launch_returns_once_the_agent_runs_and_its_record_says_so() {
    let project = Project::new();
    let (manager, launched) = start(&project, &["sleep"]);
    let id = &launched.session.id;
    assert_eq!(launched.session.status(), Status::Running);
    let seen = manager.get(id).expect("it is recorded");
    assert_eq!(
        (&seen.session, &seen.liveness),
        (&launched.session, &Liveness::Owned)
    );
    let mut observer = manager.load(id).expect("it is recorded");
    assert!(matches!(
        observer.suspend(),
        Err(RuntimeError::ObserverMode { .. })
    ));
    observer
        .terminate(Duration::from_secs(5), "a test")
        .expect("its owner does it");
    let told = launched.end.take().expect("its end is told");
    assert_eq!(told, manager.get(id).expect("it is recorded").session);
    let stopped = Outcome::Stopped {
        by: "a test".to_owned(),
        wait_status: Some(WaitStatus::Signaled {
            signal: 15,
            core_dumped: false,
        }),
    };
    assert_eq!(told.outcome(), Some(&stopped));
}

#[test]
fn the_end_is_told_to_who_launched() {
    let project = Project::new();
    let (_, launched) = start(&project, &["exit", "7"]);
    let told = launched.end.take().expect("its end is told");
    assert_eq!(told.outcome(), Some(&Outcome::Exited { code: 7 }));
}

#[test]
fn a_dead_supervisor_tells_no_end() {
    let project = Project::new();
    let (manager, launched) = start(&project, &["sleep"]);
    let id = launched.session.id.clone();
    let supervisor = supervisor(&manager, &id);
    kill(supervisor, Signal::KILL);
    assert!(launched.end.take().is_none());
    // The kernel closes what a dead process had open one after the other.
    wait_until("its lease is free", || {
        manager.get(&id).expect("it is recorded").liveness == Liveness::Orphan
    });
    let adopted = launcher()
        .adopt(&manager, &id)
        .expect("an orphan can be adopted");
    assert_eq!(adopted.status(), Status::Running);
    assert_eq!(
        manager.get(&id).expect("it is recorded").liveness,
        Liveness::Owned
    );
    assert!(matches!(
        launcher().adopt(&manager, &id),
        Err(LaunchError::NotAnOrphan { .. })
    ));
}

#[test]
fn launches_from_many_threads_leave_no_children_behind() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let agents: Vec<i32> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let launched = launcher().launch(&manager, launch(&project, &["sleep"]));
                    launched
                        .expect("it starts")
                        .session
                        .pid()
                        .expect("it runs")
                        .get()
                })
            })
            .collect();
        starters
            .into_iter()
            .map(|starter| starter.join().expect("it starts"))
            .collect()
    });
    let listing = manager.list_by_issue("EMBEDDED").expect("a project");
    assert_eq!(listing.sessions.len(), 16);
    assert!(
        listing
            .sessions
            .iter()
            .all(|seen| seen.liveness == Liveness::Owned)
    );
    let supervisors: Vec<_> = listing
        .sessions
        .iter()
        .map(|seen| supervisor(&manager, &seen.session.id))
        .collect();
    for seen in &listing.sessions {
        let mut session = manager.load(&seen.session.id).expect("it is recorded");
        session
            .terminate(Duration::ZERO, "a test")
            .expect("its owner does it");
    }
    gone(&agents);
    gone(&supervisors);
    let children = own_children();
    let ours = |pid: &i32| supervisors.contains(pid) || agents.contains(pid);
    assert!(!children.iter().any(ours), "{children:?}");
}

/// The children of this process, zombies among them.
fn own_children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let children = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children: Vec<_> = children.collect();
    children
        .iter()
        .flat_map(|list| list.split_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[test]
fn a_supervisor_that_cannot_be_executed_is_told_and_recorded() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let missing = Launcher::new(PathBuf::from("/no/such/monoco"));
    let error = missing
        .launch(&manager, launch(&project, &["sleep"]))
        .expect_err("there is none");
    assert!(matches!(error, LaunchError::Supervisor { .. }), "{error:?}");
    let sessions = manager.list().expect("a project").sessions;
    assert_eq!(sessions.len(), 1);
    assert!(matches!(
        sessions[0].session.outcome(),
        Some(Outcome::SpawnFailed { .. })
    ));
    assert_eq!(sessions[0].liveness, Liveness::Ended);
}

#[test]
fn an_executable_that_is_no_supervisor_is_told_and_recorded() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let other = Launcher::new(PathBuf::from("/bin/true"));
    let error = other
        .launch(&manager, launch(&project, &["sleep"]))
        .expect_err("it supervises nothing");
    assert!(matches!(error, LaunchError::SupervisorDied(_)), "{error:?}");
    let sessions = manager.list().expect("a project").sessions;
    assert!(matches!(
        sessions[0].session.outcome(),
        Some(Outcome::SpawnFailed { .. })
    ));
    assert_eq!(sessions[0].liveness, Liveness::Ended);
}

#[test]
fn a_session_that_another_program_launched_is_monocos_as_well() {
    let project = Project::new();
    let (_, launched) = start(&project, &["sleep"]);
    let id = launched.session.id.as_str().to_owned();
    assert_eq!(project.ids(&["--issue", "EMBEDDED"]), [id.as_str()]);
    project.run(&["stop", &id]).ok();
    assert!(launched.end.take().is_some());
    let pid = launched.session.pid().expect("it ran").get();
    wait_until("it is gone", || !alive(pid));
}
