//! What an agent is heard to say comes into its record: its conversation while it runs,
//! its verdict with its end. And no conversation is held by two living sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use monoco_tests::{
    Project, Signal, context_switches, kill, monoco, skip, stays, wait_until, works,
};
use session_core::{
    ConversationError, ConversationLease, Liveness, NewSession, Observation, Outcome, Session,
    SessionId, SessionManager, VerdictKind,
};
use session_worker::{Adoption, Launch, LaunchError, Launched, Launcher, Reading};

fn reading() -> Reading {
    let rules = r#"{
        "conversation": [{ "when": { "/type": "begun" }, "at": "/id" }],
        "verdicts": [
            { "when": { "/type": "end", "/text": { "contains": "limit" } },
              "verdict": "rate_limited", "until": "/text", "turns": "/turns" },
            { "when": { "/type": "end" }, "verdict": "succeeded", "cost_usd": "/cost" }
        ]
    }"#;
    serde_json::from_str(rules).expect("rules")
}

/// A shell script as the agent of an engine, in the project's directory.
fn agent(project: &Project, script: &str) -> Launch {
    let (name, value) = project.mark();
    Launch {
        session: NewSession {
            engine: Some("fake".to_owned()),
            ..NewSession::default()
        },
        argv: ["sh", "-c", script].map(Into::into).into(),
        cwd: Some(project.path().to_owned()),
        env: vec![(name.into(), value.into())],
        reading: Some(reading()),
        conversations: Some(conversations(project)),
        ..Launch::default()
    }
}

/// The same, that is told which conversation to hold.
fn holding(project: &Project, conversation: &str, script: &str) -> Launch {
    let mut launch = agent(project, script);
    launch.session.conversation_id = Some(conversation.to_owned());
    launch
}

fn conversations(project: &Project) -> PathBuf {
    project.state_home().join("monoco/conversations")
}

fn start(project: &Project, launch: Launch) -> Result<Launched, LaunchError> {
    let manager = SessionManager::create(project.path()).expect("a new project");
    Launcher::new(monoco().into()).launch(&manager, launch)
}

fn run(project: &Project, launch: Launch) -> Session {
    let launched = start(project, launch).expect("it starts");
    launched.end.take().expect("its end is told")
}

fn look(project: &Project, id: &SessionId) -> Observation {
    project.manager().get(id).expect("it is recorded")
}

fn kill_owner(project: &Project, id: &SessionId) {
    kill(owner(project, id), Signal::KILL);
    wait_until("its lease is free", || {
        look(project, id).liveness == Liveness::Orphan
    });
}

fn stop(project: &Project, id: &SessionId) {
    let stopped = project.manager().stop(id, Duration::from_secs(5), "test");
    stopped.expect("it can be stopped");
}

fn leases(project: &Project) -> usize {
    std::fs::read_dir(conversations(project)).map_or(0, Iterator::count)
}

#[test]
fn what_the_agent_said_last_stands_beside_its_exit_code() {
    let project = Project::new();
    let limited = r#"{"type":"end","text":"usage limit|4102444800","turns":3}"#;
    let script = format!("echo '{limited}'; echo 'cleaning up' >&2; exit 0");
    let session = run(&project, agent(&project, &script));
    assert_eq!(session.outcome(), Some(&Outcome::Exited { code: 0 }));
    let verdict = session.verdict().expect("it said something");
    let VerdictKind::RateLimited { until: Some(until) } = verdict.kind else {
        panic!("{verdict:?}");
    };
    assert_eq!((until.as_second(), verdict.turns), (4_102_444_800, Some(3)));
    assert_eq!(look(&project, &session.id).session, session);

    let silent = run(&project, agent(&project, "echo '{'; exit 3"));
    let kind = silent.verdict().map(|verdict| verdict.kind);
    assert_eq!(kind, Some(VerdictKind::Unknown));

    let mut unread = agent(&project, &script);
    unread.reading = None;
    assert_eq!(run(&project, unread).verdict(), None);

    let missing = Launch {
        argv: vec!["/nowhere/agent".into()],
        ..holding(&project, "7f", "")
    };
    start(&project, missing).expect_err("there is no such program");
    assert_eq!(leases(&project), 0);
    let failed = project.manager().list().expect("a project").sessions;
    let mut failed = failed.iter().map(|seen| &seen.session);
    let failed = failed.find(|session| session.process().is_none());
    assert_eq!(failed.expect("it is recorded").verdict(), None);
}

#[test]
fn who_is_stopped_or_killed_at_work_has_told_no_verdict() {
    let project = Project::new();
    let works = r#"echo '{"type":"end"}'; echo '{"type":"works"}'"#;
    let told = |session: Session| session.verdict().map(|verdict| verdict.kind);
    let killed = run(
        &project,
        agent(&project, &format!("{works}; kill -SEGV $$")),
    );
    assert!(matches!(killed.outcome(), Some(Outcome::Signaled { .. })));
    assert_eq!(told(killed), Some(VerdictKind::Unknown));

    let script = format!("{works}; touch at-work; exec sleep 1000");
    let launched = start(&project, agent(&project, &script)).expect("it starts");
    let at_work = project.path().join("at-work");
    wait_until("it is at work", || at_work.exists());
    stop(&project, &launched.session.id);
    let stopped = look(&project, &launched.session.id).session;
    assert!(matches!(stopped.outcome(), Some(Outcome::Stopped { .. })));
    assert_eq!(told(stopped), Some(VerdictKind::Unknown));
}

#[test]
fn a_conversation_that_the_agent_makes_up_is_known_while_it_runs() {
    let project = Project::new();
    let script = r#"echo 'hello'; printf '{"type":"begun","id":'; sleep 0.1; echo '"ses_7"}'
        echo '{"type":"begun","id":"ses_8"}'; exec sleep 1000"#;
    let launched = start(&project, agent(&project, script)).expect("it starts");
    let id = &launched.session.id;
    let known = || look(&project, id).session.conversation_id;
    wait_until("it is known", || known().is_some());
    assert_eq!(known().as_deref(), Some("ses_7"));
    // It is held from then on.
    wait_until("it is held", || leases(&project) == 1);
    let error = start(&project, holding(&project, "ses_7", "exit")).expect_err("it is held");
    assert!(error.to_string().contains(id.as_str()), "{error}");
    stop(&project, id);
    let ended = look(&project, id).session;
    assert_eq!(ended.conversation_id.as_deref(), Some("ses_7"));
    assert_eq!(ended.verdict().map(|v| v.kind), Some(VerdictKind::Unknown));
    wait_until("it is let go of", || leases(&project) == 0);
    run(&project, holding(&project, "ses_7", "exit"));
}

/// An agent that makes up `ses_7`, and goes on.
const LEARNING: &str = r#"echo '{"type":"begun","id":"ses_7"}'; exec sleep 1000"#;

fn known(project: &Project, id: &SessionId) -> Option<String> {
    look(project, id).session.conversation_id
}

fn owner(project: &Project, id: &SessionId) -> i32 {
    let control = project.manager().control(id).expect("it has an owner");
    control.owner_pid().expect("it is near").get()
}

#[test]
fn of_two_that_make_up_the_same_conversation_one_has_it_while_both_live() {
    let project = Project::new();
    let first = start(&project, agent(&project, LEARNING)).expect("it starts");
    let first = &first.session.id;
    wait_until("it is known", || known(&project, first).is_some());
    let second = start(&project, agent(&project, LEARNING)).expect("it starts");
    let second = &second.session.id;
    let owner = owner(&project, second);
    let before = at_rest(owner);
    stays("the first one's", Duration::from_millis(500), || {
        known(&project, second).is_none() && context_switches(owner) == before
    });
    // One that ends meanwhile has not held it.
    let third = start(&project, agent(&project, LEARNING)).expect("it starts");
    let third = &third.session.id;
    wait_until("it has spoken", || {
        let log = format!(".monoco/logs/{third}.log");
        std::fs::read_to_string(project.path().join(log)).is_ok_and(|log| log.contains("ses_7"))
    });
    stop(&project, third);
    assert_eq!(known(&project, third), None);

    stop(&project, first);
    wait_until("it is let go of", || leases(&project) == 0);
    stop(&project, second);
    assert_eq!(known(&project, second).as_deref(), Some("ses_7"));
}

#[test]
fn what_cannot_be_held_or_recorded_now_is_tried_again() {
    let project = Project::new();
    let dir = conversations(&project);
    std::fs::create_dir_all(dir.parent().expect("it has one")).expect("a writable project");
    std::fs::write(&dir, "in the way").expect("a writable project");
    let launched = start(&project, agent(&project, LEARNING)).expect("it starts");
    let id = &launched.session.id;
    stays("it is not held", Duration::from_millis(500), || {
        known(&project, id).is_none()
    });
    std::fs::remove_file(&dir).expect("a writable project");
    wait_until("it is known", || known(&project, id).is_some());
    assert_eq!(leases(&project), 1);
    stop(&project, id);

    let script = format!("until [ -e go ]; do sleep 0.02; done; {LEARNING}");
    let launched = start(&project, agent(&project, &script)).expect("it starts");
    let id = &launched.session.id;
    let owner = owner(&project, id);
    let limit = |bytes: &str| {
        let fsize = format!("--fsize={bytes}:");
        let pid = owner.to_string();
        assert!(works(&["prlimit", &fsize, "--pid", &pid]), "{bytes}");
    };
    // The lease fits into it, the record does not.
    limit("200");
    std::fs::write(project.path().join("go"), "").expect("a writable project");
    stays("it is not recorded", Duration::from_millis(500), || {
        known(&project, id).is_none()
    });
    assert_eq!(leases(&project), 1);
    limit("unlimited");
    wait_until("it is known", || known(&project, id).is_some());
    stop(&project, id);
}

#[test]
fn where_a_user_has_no_watch_left_a_conversation_is_known_all_the_same() {
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let behind = ["unshare", "-Ur", "sh", "-c", script, "sh"];
    if !works(&[&behind[..], &["true"]].concat()) {
        skip("it needs unshare(1), and a user namespace");
        return;
    }
    let project = Project::new();
    let manager = SessionManager::create(project.path()).expect("a new project");
    let launcher = Launcher::new(monoco().into()).behind(behind.map(Into::into).into());
    let launched = launcher.launch(&manager, agent(&project, LEARNING));
    let id = launched.expect("it starts").session.id;
    wait_until("it is known", || known(&project, &id).is_some());
    stop(&project, &id);
}

/// The owner's context switches, once it rests.
fn at_rest(owner: i32) -> u64 {
    let mut before = 0;
    wait_until("it rests", || {
        before = context_switches(owner);
        std::thread::sleep(Duration::from_millis(200));
        context_switches(owner) == before
    });
    before
}

#[test]
fn an_owner_sleeps_while_nothing_is_said_and_once_it_knows_enough() {
    let project = Project::new();
    let script = r#"until [ -e go ]; do sleep 0.05; done; echo '{"type":"begun","id":"a"}'
        while true; do echo more; sleep 0.02; done"#;
    let launched = start(&project, agent(&project, script)).expect("it starts");
    let id = &launched.session.id;
    let owner = owner(&project, id);
    let before = at_rest(owner);
    stays("nothing wakes it", Duration::from_millis(300), || {
        context_switches(owner) == before
    });
    std::fs::write(project.path().join("go"), "").expect("a writable project");
    wait_until("it is known", || {
        look(&project, id).session.conversation_id.is_some()
    });
    let before = at_rest(owner);
    stays("nothing wakes it", Duration::from_millis(300), || {
        context_switches(owner) == before
    });
    stop(&project, id);
}

#[test]
fn what_was_told_only_at_the_end_is_known_too() {
    let project = Project::new();
    // No newline; an id that could be a flag before it.
    let script = r#"echo '{"type":"begun","id":"--yes"}'; printf '{"type":"begun","id":"a"}'"#;
    let session = run(&project, agent(&project, script));
    assert_eq!(session.conversation_id.as_deref(), Some("a"));
}

#[test]
fn who_says_much_and_no_conversation_is_not_listened_to_for_ever() {
    let project = Project::new();
    let script = r#"head -c 1100000 /dev/zero | tr '\0' x; echo
        echo '{"type":"begun","id":"late"}'; echo '{"type":"end"}'"#;
    let session = run(&project, agent(&project, script));
    assert_eq!(session.conversation_id, None);
    let kind = session.verdict().map(|verdict| verdict.kind);
    assert_eq!(kind, Some(VerdictKind::Succeeded));
}

#[test]
fn of_two_starts_in_one_conversation_the_second_hears_who_holds_it() {
    let (project, other) = (Project::new(), Project::new());
    let first = start(&project, holding(&project, "7f", "exec sleep 1000")).expect("it is free");
    let id = first.session.id.clone();
    let second = |dir: &Path| {
        let mut launch = holding(&other, "7f", "exec sleep 1000");
        launch.conversations = Some(dir.to_owned());
        start(&other, launch)
    };
    let dir = conversations(&project);
    let held = |dir: &Path| match second(dir) {
        Err(LaunchError::Conversation(ConversationError::Held { by, .. })) => by,
        other => panic!("{other:?}"),
    };
    let by = held(&dir).expect("it has said who it is");
    assert_eq!((&by.session, &*by.project), (&id, project.path()));
    // Nothing was recorded, as for a start that was never asked for.
    let listing = other.manager().list().expect("a project");
    assert!(listing.sessions.is_empty(), "{listing:?}");

    // Its agent may go on for ever without its owner.
    kill_owner(&project, &id);
    assert_eq!(held(&dir), Some(by.clone()));
    let adoption = Adoption {
        reading: Some(reading()),
        conversations: Some(dir.clone()),
        ..Adoption::default()
    };
    let launcher = Launcher::new(monoco().into());
    let adopted = launcher.adopt(&project.manager(), &id, adoption);
    assert_eq!(adopted.expect("an orphan").verdict(), None);
    assert_eq!(held(&dir), Some(by));
    stop(&project, &id);
    let launched = second(&dir).expect("nobody holds it any more");
    stop(&other, &launched.session.id);
}

#[test]
fn an_agent_and_its_owner_that_are_killed_hold_nothing() {
    let project = Project::new();
    let launched = start(&project, holding(&project, "7f", "exec sleep 1000"));
    let session = launched.expect("it is free").session;
    kill_owner(&project, &session.id);
    let agent = session.pid().expect("it runs").get();
    kill(agent, Signal::KILL);
    wait_until("it is lost", || {
        matches!(look(&project, &session.id).liveness, Liveness::Lost(_))
    });
    run(&project, holding(&project, "7f", "exit"));
    wait_until("it is let go of", || leases(&project) == 0);
}

#[test]
fn who_goes_on_where_another_has_just_ended_waits_until_nothing_is_left_of_it() {
    let project = Project::new();
    let stays = "trap '' TERM; (trap '' TERM; echo > trapped; sleep 1000; sleep 1000) &
        until [ -e trapped ]; do sleep 0.02; done";
    let mut launch = holding(&project, "7f", stays);
    launch.grace = Duration::from_secs(2);
    let launched = start(&project, launch).expect("it is free");
    launched.end.take().expect("its end is told");
    assert_eq!(leases(&project), 1);
    run(&project, holding(&project, "7f", "exit"));
}

#[test]
fn a_start_that_fails_leaves_no_lease_that_it_was_given() {
    let project = Project::new();
    for cwd in ["nowhere", "here"] {
        let mut launch = holding(&project, "7f", "exit");
        let id = SessionId::random();
        launch.session.id = Some(id.clone());
        launch.cwd = Some(project.path().join(cwd));
        let dir = conversations(&project);
        let lease = ConversationLease::take(&dir, "fake", "7f", project.path(), &id);
        launch.conversation = Some(lease.expect("it is free"));
        start(&project, launch).expect_err("there is no such directory");
        assert_eq!(leases(&project), 0, "{cwd}");
        std::fs::write(project.path().join("here"), "").expect("a writable project");
    }
}

#[test]
fn an_orphan_that_is_adopted_is_heard_from_the_beginning() {
    let project = Project::new();
    let script = r#"until [ -e go ]; do sleep 0.02; done; echo '{"type":"begun","id":"a"}'
        until [ -e end ]; do sleep 0.02; done; echo '{"type":"end","cost":0.5}'"#;
    let launched = start(&project, agent(&project, script)).expect("it starts");
    let id = &launched.session.id;
    kill_owner(&project, id);
    std::fs::write(project.path().join("go"), "").expect("a writable project");
    let adoption = Adoption {
        reading: Some(reading()),
        ..Adoption::default()
    };
    let launcher = Launcher::new(monoco().into());
    let adopted = launcher.adopt(&project.manager(), id, adoption);
    adopted.expect("an orphan");
    wait_until("its conversation is known", || {
        look(&project, id).session.conversation_id.as_deref() == Some("a")
    });
    std::fs::write(project.path().join("end"), "").expect("a writable project");
    wait_until("it has ended", || {
        look(&project, id).liveness == Liveness::Ended
    });
    let ended = look(&project, id).session;
    // On a kernel that does not tell how the agent of another ended, it is lost.
    if !matches!(ended.outcome(), Some(Outcome::Lost { .. })) {
        assert_eq!(ended.verdict().and_then(|v| v.cost_usd), Some(0.5));
    }
}

#[test]
fn people_and_programs_are_told() {
    let project = Project::new();
    let run =
        |conversation: &str, script: &str| run(&project, holding(&project, conversation, script));
    let limited = r#"{"type":"end","text":"limit|4102444800","turns":3}"#;
    let limited = run("7f", &format!("echo '{limited}'"));
    let fine = r#"{"type":"end","cost":0.5}"#;
    let fine = run("80", &format!("echo '{fine}'"));
    let contrary = run("81", r#"echo '{"type":"end"}'; exit 9"#);
    let table = project.run(&["ps", "-a"]);
    let row = |session: &Session| {
        let out = table.out();
        let row = out.lines().find(|row| row.starts_with(session.id.short()));
        row.unwrap_or_else(|| panic!("{table}")).to_owned()
    };
    // The time is that of the place where the test runs.
    assert!(
        row(&limited).contains(" completed (rate_limited until 2"),
        "{table}"
    );
    assert!(row(&fine).contains(" completed  "), "{table}");
    assert!(
        row(&contrary).contains(" failed (exit 9, says succeeded) "),
        "{table}"
    );

    let shown = project.run(&["show", limited.id.as_str()]);
    for line in [
        "Verdict      rate_limited until 2100-01-01T00:00:00+00:00; 3 turns",
        "Engine       fake",
        "Conversation 7f",
    ] {
        assert!(shown.out().lines().any(|shown| shown == line), "{shown}");
    }
    let shown = project.run(&["show", "--json", fine.id.as_str()]);
    let json = shown.json();
    assert_eq!(json[0]["conversation_id"], "80");
    let verdict = serde_json::json!({ "kind": "succeeded", "cost_usd": 0.5 });
    assert_eq!(json[0]["verdict"], verdict);
    let listed = project.run(&["ps", "-a", "--json"]);
    let json = listed.json();
    let verdicts: Vec<_> = json
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| &s["verdict"])
        .collect();
    assert_eq!(verdicts.len(), 3);
    assert!(verdicts.contains(&&verdict), "{listed}");
}
