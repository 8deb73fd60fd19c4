//! What else is run when a session begins and ends: beside the session, and never in its
//! way.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use monoco_tests::{
    Project, Signal, alive, children, gone, is_stopped, kill, monoco, stays, wait_until,
};
use session_core::{Liveness, Outcome, SessionId, SessionManager, Status, parse_record};
use session_worker::{Hook, Hooks, Launch, Launched, Launcher};

const LONG: Duration = Duration::from_secs(60);

fn hook(timeout: Duration, script: &str) -> Hook {
    Hook {
        command: ["sh", "-c", script].map(str::to_owned).into(),
        timeout,
    }
}

fn launch(project: &Project, agent: &str, hooks: Hooks) -> Launch {
    let (name, value) = project.mark();
    Launch {
        argv: ["sh", "-c", agent].map(Into::into).into(),
        cwd: Some("/".into()),
        env: vec![(name.into(), value.into())],
        hooks,
        ..Launch::default()
    }
}

fn start(project: &Project, launch: Launch) -> Launched {
    let manager = SessionManager::create(project.path()).expect("a new project");
    let launched = Launcher::new(monoco().into()).launch(&manager, launch);
    launched.expect("it starts")
}

fn on_start(hooks: &[Hook]) -> Hooks {
    Hooks {
        on_start: hooks.to_vec(),
        on_end: Vec::new(),
    }
}

fn on_end(hooks: &[Hook]) -> Hooks {
    Hooks {
        on_start: Vec::new(),
        on_end: hooks.to_vec(),
    }
}

fn file(project: &Project, name: &str) -> PathBuf {
    project.path().join(name)
}

fn read(project: &Project, name: &str) -> String {
    std::fs::read_to_string(file(project, name)).unwrap_or_default()
}

/// What a hook wrote into a file, once it has.
fn written(project: &Project, name: &str) -> String {
    wait_until(name, || read(project, name).ends_with('\n'));
    read(project, name).trim().to_owned()
}

fn pid(project: &Project, name: &str) -> i32 {
    written(project, name).parse().expect("a pid")
}

fn log(project: &Project, id: &SessionId) -> String {
    read(project, &format!(".monoco/logs/{id}.hooks.log"))
}

fn owner(project: &Project, id: &SessionId) -> i32 {
    let control = project.manager().control(id).expect("it has an owner");
    control.owner_pid().expect("it is near").get()
}

fn status(project: &Project, id: &SessionId) -> Status {
    let seen = project.manager().get(id).expect("it is recorded");
    seen.session.status()
}

fn stop(project: &Project, id: &SessionId) {
    let stopped = project.manager().stop(id, Duration::from_secs(5), "test");
    stopped.expect("it can be stopped");
}

#[test]
fn hooks_are_given_the_record_at_their_moment() {
    let project = Project::new();
    let hooks = Hooks {
        on_start: vec![hook(LONG, "cat > begun; pwd > where; echo >> begun")],
        on_end: vec![
            hook(
                LONG,
                "echo $MONOCO_HOOK $MONOCO_HOOK_SESSION_ID; cat > ended",
            ),
            hook(
                LONG,
                "echo $MONOCO_PROJECT $MONOCO_ISSUE_ID $MONOCO_ROLE >&2; echo > last",
            ),
        ],
    };
    let script = format!(
        "until [ -s {} ]; do sleep 0.02; done; exit 3",
        file(&project, "where").display()
    );
    let launched = start(&project, launch(&project, &script, hooks));
    let id = launched.session.id.clone();
    let ended = launched.end.take().expect("its end is told");
    written(&project, "last");
    wait_until("its owner is gone", || {
        project.manager().control(&id).is_err()
    });

    let begun = parse_record(read(&project, "begun").as_bytes()).expect("a record");
    assert_eq!((begun.status(), &begun.id), (Status::Running, &id));
    let record = parse_record(read(&project, "ended").as_bytes()).expect("a record");
    assert_eq!(record, ended);
    assert_eq!(record.outcome(), Some(&Outcome::Exited { code: 3 }));
    let place = project.path().display();
    assert_eq!(written(&project, "where"), place.to_string());
    let said = format!("on_end {id}\n{place} NEW_TASK Default\n");
    assert_eq!(log(&project, &id), said);
}

#[test]
fn a_hook_that_fails_is_noted_and_keeps_nobody() {
    let project = Project::new();
    let mut nowhere = hook(LONG, "");
    nowhere.command = vec!["nowhere/hook".to_owned()];
    let hooks = on_end(&[
        hook(LONG, "echo said; exit 3"),
        hook(LONG, "kill -9 $$"),
        nowhere,
        hook(Duration::from_millis(300), "exec sleep 1000"),
        hook(LONG, "exit 0"),
    ]);
    let launched = start(&project, launch(&project, "exit 0", hooks));
    let id = launched.session.id.clone();
    let ended = launched.end.take().expect("its end is told");
    assert_eq!(ended.status(), Status::Completed);
    wait_until("its owner is gone", || {
        project.manager().control(&id).is_err()
    });
    let expected = "said
monoco: on_end hook `sh -c echo said; exit 3`: exit 3
monoco: on_end hook `sh -c kill -9 $$`: killed by signal 9
monoco: on_end hook `nowhere/hook`: nowhere/hook: not found
monoco: on_end hook `sh -c exec sleep 1000`: timed out after 300ms
";
    assert_eq!(log(&project, &id), expected);
    let seen = project.manager().get(&id).expect("it is recorded");
    assert_eq!(seen.session, ended);

    let shown = project.run(&["show", id.as_str()]);
    let path = format!("/.monoco/logs/{id}.hooks.log");
    let named = |line: &str| line.starts_with("Hooks log ") && line.ends_with(&path);
    assert!(shown.out().lines().any(named), "{shown}");
    project.run(&["rm", id.as_str()]).ok();
    assert!(!file(&project, &format!(".monoco/logs/{id}.hooks.log")).exists());
}

#[test]
fn nothing_of_a_hook_is_left_when_its_time_is_up() {
    let project = Project::new();
    // A daemon in a session of its own, whose parent ends.
    let daemon = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &); echo $$ > hook;";
    let timed_out = format!("trap '' TERM; {daemon} sleep 1000; sleep 1000");
    let hooks = on_start(&[hook(Duration::from_millis(500), &timed_out)]);
    let launched = start(&project, launch(&project, "exec sleep 1000", hooks));
    let id = launched.session.id.clone();
    let all = [pid(&project, "daemon"), pid(&project, "hook")];
    assert!(all.iter().all(|pid| alive(*pid)));
    gone(&all);
    wait_until("it is noted", || {
        log(&project, &id).ends_with("timed out after 500ms\n")
    });
    // Its agent knows nothing of it.
    assert_eq!(status(&project, &id), Status::Running);
    stop(&project, &id);

    // One that ends in time leaves nobody either.
    std::fs::remove_file(file(&project, "daemon")).expect("it is there");
    let in_time = format!("{daemon} until [ -s daemon ]; do sleep 0.02; done");
    let launched = start(
        &project,
        launch(
            &project,
            "exec sleep 1000",
            on_start(&[hook(LONG, &in_time)]),
        ),
    );
    gone(&[pid(&project, "daemon")]);
    stop(&project, &launched.session.id);
}

/// A hook that says nothing of itself any more, nor does who is below it.
fn unmarked(timeout: Duration, script: &str) -> Hook {
    let mut hook = hook(timeout, script);
    let path = std::env::var("PATH").unwrap_or_default();
    let clear = ["env".to_owned(), "-i".to_owned(), format!("PATH={path}")];
    hook.command.splice(0..0, clear);
    hook
}

#[test]
fn a_hook_is_no_part_of_the_agents_tree() {
    let waits = "(sh -c 'echo $$ > below; exec sleep 1000' &); echo $$ > hook;
        until [ -e go ]; do sleep 0.02; done; echo > done";
    is_no_part_of_the_agents_tree(hook(LONG, waits));
}

#[test]
fn nor_is_one_that_clears_its_environment() {
    // Its child keeps its parent.
    let waits = "sh -c 'echo $$ > below; exec sleep 1000' & echo $$ > hook;
        until [ -e go ]; do sleep 0.02; done; echo > done; kill $!";
    is_no_part_of_the_agents_tree(unmarked(LONG, waits));

    let project = Project::new();
    let waits = "sh -c 'echo $$ > below; exec sleep 1000' & echo $$ > hook; wait";
    let hooks = on_start(&[unmarked(Duration::from_millis(500), waits)]);
    let launched = start(&project, launch(&project, "exec sleep 1000", hooks));
    let id = launched.session.id.clone();
    gone(&[pid(&project, "hook"), pid(&project, "below")]);
    wait_until("it is noted", || {
        log(&project, &id).ends_with("timed out after 500ms\n")
    });
    assert_eq!(status(&project, &id), Status::Running);
    stop(&project, &id);
}

fn is_no_part_of_the_agents_tree(waits: Hook) {
    let project = Project::new();
    let launched = start(
        &project,
        launch(&project, "exec sleep 1000", on_start(&[waits])),
    );
    let id = launched.session.id.clone();
    let agent = launched.session.pid().expect("it runs").get();
    let hooks = [pid(&project, "hook"), pid(&project, "below")];
    project.manager().suspend(&id).expect("it runs");
    assert!(is_stopped(agent) && !hooks.iter().any(|pid| is_stopped(*pid)));
    project.manager().resume(&id).expect("it is suspended");
    // Neither is it ended with the agent, nor does anybody wait for it.
    let begun = Instant::now();
    stop(&project, &id);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(status(&project, &id), Status::Terminated);
    assert!(!alive(agent) && hooks.iter().all(|pid| alive(*pid)));
    let answered = project
        .manager()
        .control(&id)
        .and_then(|owner| owner.ask(&session_core::control::Request::Status));
    assert_eq!(
        answered.expect("its owner lives").status(),
        Status::Terminated
    );
    std::fs::write(file(&project, "go"), "").expect("a writable project");
    written(&project, "done");
    wait_until("its owner is gone", || {
        project.manager().control(&id).is_err()
    });
    gone(&hooks);
    assert_eq!(log(&project, &id), "");
}

#[test]
fn an_owner_sleeps_while_a_hook_does() {
    let project = Project::new();
    let hooks = on_start(&[hook(LONG, "echo $$ > hook; exec sleep 1000")]);
    let launched = start(&project, launch(&project, "exec sleep 1000", hooks));
    let id = launched.session.id.clone();
    let hook = pid(&project, "hook");
    let owner = owner(&project, &id);
    assert_eq!(children(owner).len(), 2);
    wait_until("it rests", || {
        let before = monoco_tests::context_switches(owner);
        std::thread::sleep(Duration::from_millis(200));
        monoco_tests::context_switches(owner) == before
    });
    let before = monoco_tests::context_switches(owner);
    stays("nothing wakes it", Duration::from_millis(500), || {
        monoco_tests::context_switches(owner) == before
    });
    kill(hook, Signal::TERM);
    wait_until("it is noted", || {
        log(&project, &id).ends_with("killed by signal 15\n")
    });
    stop(&project, &id);
}

#[test]
fn an_owner_that_is_killed_while_a_hook_runs_has_recorded_the_end() {
    let project = Project::new();
    let hooks = on_end(&[hook(LONG, "echo $$ > hook; exec sleep 1000")]);
    let launched = start(&project, launch(&project, "exit 7", hooks));
    let id = launched.session.id.clone();
    let hook = pid(&project, "hook");
    kill(owner(&project, &id), Signal::KILL);
    assert_eq!(status(&project, &id), Status::Failed);
    wait_until("it has no owner", || {
        project.manager().control(&id).is_err()
    });
    let seen = project.manager().get(&id).expect("it is recorded");
    assert_eq!(seen.liveness, Liveness::Ended);
    kill(hook, Signal::KILL);
    gone(&[hook]);
}

#[test]
fn what_is_removed_at_its_end_waits_for_its_hooks() {
    let project = Project::new();
    let hooks = on_end(&[hook(LONG, "cat > ended; echo said")]);
    let removed = Launch {
        remove_at_end: true,
        ..launch(&project, "exit 0", hooks)
    };
    let launched = start(&project, removed);
    let id = launched.session.id.clone();
    wait_until("it is removed", || project.manager().get(&id).is_err());
    parse_record(read(&project, "ended").as_bytes()).expect("a record");
    let left = std::fs::read_dir(file(&project, ".monoco/logs")).expect("a folder");
    let left: Vec<_> = left
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, [".gitignore"]);
}
