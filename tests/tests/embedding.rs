//! Starting sessions from a program that is not monoco: it names the executable
//! whose supervisors it wants, and keeps its own threads, children and signals.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monoco_tests::{
    Project, Signal, agent, alive, everybody, executes, gone, kill, monoco, wait_until,
};
use session_core::{
    Liveness, NewSession, Outcome, RuntimeError, SessionId, SessionManager, Status, WaitStatus,
};
use session_worker::{Adoption, AgentStdin, Launch, LaunchError, Launched, Launcher};

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
        cwd: None,
        env: vec![(name.into(), value.into())],
        env_remove: Vec::new(),
        leave_children: false,
        remove_at_end: false,
        grace: Duration::from_secs(10),
        ..Launch::default()
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
        .adopt(&manager, &id, Adoption::default())
        .expect("an orphan can be adopted");
    assert_eq!(adopted.status(), Status::Running);
    assert_eq!(
        manager.get(&id).expect("it is recorded").liveness,
        Liveness::Owned
    );
    assert!(matches!(
        launcher().adopt(&manager, &id, Adoption::default()),
        Err(LaunchError::NotAnOrphan { .. })
    ));
}

#[test]
fn launches_from_many_threads_leave_no_children_behind() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let launcher = launcher();
    let agents: Vec<i32> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let launched = launcher.launch(&manager, launch(&project, &["sleep"]));
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
    // Nor does what was between us and them; another test may be launching now.
    wait_until("no zombie is left", || {
        own_children().into_iter().all(alive)
    });
}

#[test]
fn a_launcher_can_be_shared_by_threads() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    check(&launcher());
}

/// `path` as it is found from the directory that this test runs in.
fn relative(path: &Path) -> PathBuf {
    let cwd = std::env::current_dir().expect("it exists");
    let up = cwd.components().skip(1).map(|_| "..");
    let up: PathBuf = up.collect();
    up.join(path.strip_prefix("/").expect("an absolute path"))
}

#[test]
fn an_agent_runs_in_the_directory_that_it_is_given() {
    let project = Project::new();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let elsewhere = elsewhere.path().canonicalize().expect("it exists");
    let link = project.path().join("link");
    std::os::unix::fs::symlink(&elsewhere, &link).expect("a new link");
    // What is relative is meant from here, not from there.
    let manager = SessionManager::create(relative(project.path())).expect("a new project");
    let launcher = Launcher::new(relative(monoco().as_ref()));
    let launch = Launch {
        cwd: Some(link),
        ..launch(&project, &["sleep"])
    };
    let launched = launcher.launch(&manager, launch).expect("it starts");
    let session = launched.session;
    assert_eq!(session.cwd.as_deref(), Some(elsewhere.as_path()));
    let agent = session.pid().expect("it runs").get();
    let cwd = std::fs::read_link(format!("/proc/{agent}/cwd")).expect("it lives");
    assert_eq!(cwd, elsewhere);
    assert_eq!(variable(agent, "PWD"), elsewhere.to_str().map(String::from));
    let told = variable(agent, "MONOCO_PROJECT").expect("it is told");
    let told = Path::new(&told).canonicalize().expect("it exists");
    assert_eq!(told, project.path());
}

#[test]
fn a_directory_that_cannot_be_used_is_told_before_anything_is_recorded() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let inside = |name: &str| project.path().join(name);
    std::fs::write(inside("file"), "").expect("a new file");
    let mut unusable = vec![inside("missing"), inside("file")];
    if !rustix::process::geteuid().is_root() {
        let closed = inside("closed");
        std::fs::create_dir(&closed).expect("a new directory");
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o600)).expect("it is ours");
        unusable.push(closed);
    }
    for directory in unusable {
        let launch = Launch {
            cwd: Some(directory.clone()),
            ..launch(&project, &["sleep"])
        };
        match launcher().launch(&manager, launch) {
            Err(LaunchError::WorkingDirectory { path, .. }) => assert_eq!(path, directory),
            other => panic!("{other:?}"),
        }
    }
    assert!(manager.list().expect("a project").sessions.is_empty());
}

/// A variable in the environment that `pid` was started with.
fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("it lives");
    let environment = String::from_utf8_lossy(&environment);
    let prefix = format!("{name}=");
    let mut values = environment
        .split('\0')
        .filter_map(|line| line.strip_prefix(&prefix));
    values.next().map(str::to_owned)
}

#[test]
fn what_is_removed_from_the_environment_nobody_gets() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let mut launch = launch(&project, &["sleep"]);
    launch.env_remove = vec!["PATH".into(), "HOME".into()];
    launch.env.push(("HOME".into(), "/elsewhere".into()));
    assert!(std::env::var_os("PATH").is_some(), "there is one to remove");
    let launched = launcher().launch(&manager, launch).expect("it starts");
    let agent = launched.session.pid().expect("it runs").get();
    for pid in [agent, supervisor(&manager, &launched.session.id)] {
        assert_eq!(variable(pid, "PATH"), None);
        assert_eq!(variable(pid, "HOME").as_deref(), Some("/elsewhere"));
    }
}

#[test]
fn a_supervisor_may_be_executed_by_another_program() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let mut launch = launch(&project, &["sleep"]);
    launch.cwd = Some("/usr".into());
    // The program is ours to find, not the agent's.
    launch.env_remove = vec!["PATH".into()];
    let behind =
        Launcher::new(relative(monoco().as_ref())).behind(vec!["env".into(), "BEHIND=env".into()]);
    let launched = behind.launch(&manager, launch).expect("it starts");
    let id = &launched.session.id;
    let supervisor = supervisor(&manager, id);
    let agent = launched.session.pid().expect("it runs").get();
    for pid in [agent, supervisor] {
        assert_eq!(variable(pid, "BEHIND").as_deref(), Some("env"));
    }
    let words = std::fs::read(format!("/proc/{supervisor}/cmdline")).expect("it lives");
    let words = String::from_utf8(words).expect("plain names");
    let words: Vec<_> = words.trim_end_matches('\0').split('\0').collect();
    let executable = Path::new(words[0]);
    assert!(executable.is_absolute(), "{words:?}");
    assert_eq!(
        executable.canonicalize().ok(),
        Path::new(monoco()).canonicalize().ok()
    );
    assert_eq!(words[1..], ["__supervise", id.as_str()]);
    manager
        .stop(id, Duration::ZERO, "a test")
        .expect("its owner does it");
    assert!(launched.end.take().is_some());
}

#[test]
fn a_program_before_the_supervisor_that_fails_is_told_and_recorded() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let fail = |program: &str| {
        let behind = launcher().behind(vec![program.into()]);
        behind
            .launch(&manager, launch(&project, &["sleep"]))
            .expect_err("no supervisor starts")
    };
    let missing = fail("no-such-program-anywhere");
    assert_eq!(
        missing.to_string(),
        "cannot start the supervisor no-such-program-anywhere"
    );
    assert!(matches!(missing, LaunchError::Supervisor { .. }));
    let failed = fail("false");
    assert!(
        matches!(failed, LaunchError::SupervisorDied(_)),
        "{failed:?}"
    );
    let sessions = manager.list().expect("a project").sessions;
    assert_eq!(sessions.len(), 2);
    for seen in sessions {
        assert_eq!(seen.session.status(), Status::Failed);
        assert_eq!(seen.liveness, Liveness::Ended);
    }
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
fn of_a_start_that_is_refused_nobody_is_left() {
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let directory = project.path().canonicalize().expect("it is there");
    let there = Launch {
        cwd: Some(directory.clone()),
        ..launch(&project, &["sleep"])
    };
    let launched = launcher().launch(&manager, there).expect("it starts");
    let refused = |session| {
        let cwd = Some(directory.clone());
        let launch = Launch {
            session,
            cwd,
            ..launch(&project, &["sleep"])
        };
        let refusal = launcher().launch(&manager, launch);
        assert!(matches!(refusal, Err(LaunchError::Claim(_))), "{refusal:?}");
        // A supervisor that owns its session is in no directory of anybody's.
        let is_there = |pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
        let left = everybody(|pid| {
            is_there(pid).is_some_and(|cwd| cwd == directory) && executes(pid, monoco())
        });
        assert!(left.is_empty(), "{left:?}");
    };
    for _ in 0..20 {
        refused(NewSession {
            id: Some(launched.session.id.clone()),
            ..NewSession::default()
        });
    }
    let id = &launched.session.id;
    manager
        .stop(id, Duration::ZERO, "a test")
        .expect("it is owned");
    assert!(launched.end.take().is_some());
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
