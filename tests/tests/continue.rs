//! Conversations go on in other sessions, with a stub of claude that remembers them: the
//! scenarios that `cargo xtask agents` runs with real agents.

use monoco_tests::continued::{
    Model, Recovery, Stage, Stub, completes_and_is_resumed, is_rate_limited, is_resumed_by_one,
    recovers,
};
use monoco_tests::{Daemon, Signal, wait_until};

/// Sessions that were in the midst of an answer when the power went.
const TEN: [&str; 10] = ["claude"; 10];

fn check(scenario: impl FnOnce(&Stage, &Stub)) {
    let stub = Stub::new();
    let stage = Stage::new(stub.env());
    scenario(&stage, &stub);
    assert!(!stub.was_held_twice(), "two held one conversation");
}

#[test]
fn a_run_ends_well_and_its_conversation_goes_on_in_another_session() {
    check(|stage, stub| completes_and_is_resumed(stage, stub, "claude"));
}

#[test]
fn a_limit_is_told_though_the_exit_code_is_that_of_a_success() {
    check(|stage, stub| {
        is_rate_limited(stage, stub, "claude", true);
        let ids = stage.project().ids(&["-a"]);
        assert_eq!(stage.ended(&ids[0])["outcome"]["code"], 0);
    });
}

#[test]
fn of_two_that_resume_one_conversation_one_does_and_the_other_says_who() {
    check(|stage, stub| is_resumed_by_one(stage, stub, "claude"));
}

#[test]
fn after_a_loss_of_power_every_session_goes_on() {
    check(|stage, stub| recovers(stage, stub, &TEN, Recovery::Once));
}

#[test]
fn a_recovery_that_is_killed_is_taken_up_where_it_was() {
    check(|stage, stub| recovers(stage, stub, &TEN, Recovery::KilledAndAgain));
}

#[test]
fn two_recoveries_at_once_continue_each_session_once() {
    check(|stage, stub| recovers(stage, stub, &TEN, Recovery::TwoAtOnce));
}

#[test]
fn a_conversation_that_the_agent_has_forgotten_is_not_begun_anew() {
    check(|stage, stub| {
        let id = stage.start("claude", "the first prompt");
        let conversation = stage.conversation(&id);
        stage.ended_as("succeeded", &id);
        stub.forget();
        let ran = stage.run(&["resume", &id, "the next prompt"]);
        assert_ne!(ran.code, 0, "{ran}");
        let said = ran.out() + &ran.err();
        assert!(said.contains(&conversation), "it is not told which: {said}");
        assert_eq!(stub.heard().len(), 1, "it was begun anew");
    });
}

#[test]
fn a_daemon_that_is_told_to_recovers_at_its_start_and_once() {
    check(|stage, stub| {
        stub.be("hangs");
        let id = stage.start("claude", "the work");
        wait_until("the model is asked", || !stub.heard().is_empty());
        stage.lose_power();
        // The machine was off for long.
        stage.project().forge(&id, |record| {
            for time in ["created_at", "started_at", "updated_at"] {
                record[time] = "2026-01-02T03:04:05Z".into();
            }
        });
        stub.be("answers");
        let serve = |options: &[&str]| {
            let words = [&["serve", "--listen", "127.0.0.1:0"], options].concat();
            Daemon::spawn(stage.project(), stage.monoco(&words))
        };
        serve(&[]).end(Signal::TERM);
        assert!(stage.continuations().is_empty(), "nobody asked for it");
        for _ in 0..2 {
            let daemon = serve(&["--recover"]);
            let next = stage.continuation(&id);
            stage.ended_as("succeeded", &next);
            daemon.end(Signal::TERM);
        }
    });
}

/// A session of the stub that has ended well, and its id.
fn ended(stage: &Stage, stub: &Stub, name: &str) -> String {
    stub.be("answers");
    let ran = stage.run(&["run", "-e", "claude", "--name", name, "the first prompt"]);
    ran.ok();
    let ids = stage.project().ids(&["-a"]);
    ids.into_iter()
        .find(|id| stage.project().record(id)["name"] == name)
        .expect("it is recorded")
}

#[test]
fn a_list_of_sessions_is_never_a_prompt() {
    check(|stage, stub| {
        let id = ended(stage, stub, "first");
        ended(stage, stub, "other");
        let gone = "36f675cc-81e7-4ef5-a8e2-5d940ed90475";
        for others in [&[gone][..], &["36f675cc"], &["other"], &["other", gone]] {
            let words = [&["resume", id.as_str()], others].concat();
            let told = stage.run(&words).code(125).err();
            assert!(told.contains("name it alone"), "{told}");
            let words = [&["resume", "-d", id.as_str()], others].concat();
            stage.run(&words).complains(2, &["name it alone"]);
        }
        assert!(stage.continuations().is_empty());
        stage.run(&["resume", &id, "-p", "other"]).ok();
        assert!(
            stub.heard()
                .iter()
                .any(|said| said.contains(&"other".to_owned()))
        );
    });
}

#[test]
fn arguments_that_were_typed_are_told_where_they_are_not_said_again() {
    check(|stage, stub| {
        stub.be("hangs");
        let words = ["run", "-d", "-e", "claude", "work", "--", "--model", "x"];
        let id = stage.run(&words).ok().out().trim_end().to_owned();
        wait_until("the model is asked", || !stub.heard().is_empty());
        stage.lose_power();
        stub.be("answers");
        let planned = stage.run(&["recover"]).ok();
        assert!(planned.out().contains("--model x"), "{planned}");
        stage.run(&["recover", "--yes"]).fails_with(&["--model x"]);
        assert!(stage.continuations().is_empty());
        let next = stage.run(&["resume", "-d", &id, "go on", "--", "--model", "x"]);
        next.ok();
        stage.ended_as("succeeded", &stage.continuation(&id));
    });
}

#[test]
fn a_name_that_another_session_has_by_now_stops_nobody() {
    check(|stage, stub| {
        let id = ended(stage, stub, "taken");
        let words = ["run", "-d", "--name", "taken", "--", "sleep", "600"];
        let other = stage.run(&words).ok().out();
        stage.run(&["resume", &id, "go on"]).ok();
        let next = stage.project().record(&stage.continuation(&id));
        assert!(next["name"].is_null(), "{next}");
        stage.run(&["kill", other.trim_end()]).ok();
    });
}

#[test]
fn a_lost_session_keeps_its_name_where_it_goes_on() {
    check(|stage, stub| {
        for (name, words) in [
            ("recovered", &["recover", "--yes"][..]),
            ("resumed", &["resume", "resumed", "go on"]),
        ] {
            stub.be("hangs");
            let words_of_start = ["run", "-d", "-e", "claude", "--name", name, name];
            let id = stage.run(&words_of_start).ok().out().trim_end().to_owned();
            wait_until("the model is asked", || {
                stub.heard().iter().flatten().any(|said| said == name)
            });
            stage.lose_power();
            stub.be("answers");
            stage.run(words).ok();
            let next = stage.continuation(&id);
            assert_eq!(stage.ended_as("succeeded", &next)["name"], name);
        }
    });
}

#[test]
fn a_living_session_is_not_given_a_prompt() {
    check(|stage, stub| {
        stub.be("hangs");
        let words = ["run", "-d", "-e", "claude", "--name", "busy", "work"];
        stage.run(&words).ok();
        stage.run(&["suspend", "busy"]).ok();
        for words in [&["resume", "busy", "more"][..], &["resume", "-d", "busy"]] {
            stage
                .run(words)
                .complains(125, &["`busy` is suspended", "without a prompt"]);
        }
        assert_eq!(stage.project().ids(&["--status", "suspended"]).len(), 1);
        stage.run(&["kill", "busy"]).ok();
    });
}
