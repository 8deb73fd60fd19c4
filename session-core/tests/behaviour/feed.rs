//! What changes is told, by whoever it was changed; where it cannot be told,
//! that is said.

use std::fs;
use std::time::Duration;

use session_core::{Change, Feed, Outcome, SessionId};

use crate::processes::{alone, ended, until};
use crate::project::{Project, id};

/// Long enough; what happened before is told at once.
const SOON: Option<Duration> = Some(Duration::from_secs(10));
const NOW: Option<Duration> = Some(Duration::ZERO);

/// `change` is told, in so many words.
fn check(feed: &mut Feed, change: impl FnOnce(), expected: &Change) {
    check_quiet(feed);
    change();
    let mut told = Vec::new();
    until("it is told", || {
        told.extend(feed.next(SOON).expect("poll"));
        told.contains(expected)
    });
    if *expected != Change::Rescan {
        assert!(told.iter().all(|change| change == expected), "{told:?}");
    }
}

/// Nothing is left to be told.
fn check_quiet(feed: &mut Feed) {
    until("it is quiet", || feed.next(NOW).expect("poll").is_empty());
}

fn of(id: &SessionId) -> Change {
    Change::Session(id.clone())
}

#[test]
fn nothing_is_told_where_nothing_changes() {
    let project = Project::new();
    project.claim();
    let mut feed = project.manager.feed().expect("a project");
    assert_eq!(feed.next(NOW).expect("poll"), []);
    assert_eq!(
        feed.next(Some(Duration::from_millis(20))).expect("poll"),
        []
    );
    // Looking is no change.
    project.manager.list().expect("a project");
    project.manager.reconcile().expect("a project");
    assert_eq!(feed.next(NOW).expect("poll"), []);
    assert!(feed.as_fd().is_some());
}

#[test]
fn a_session_is_told_through_its_life() {
    let project = Project::new();
    let mut feed = project.manager.feed().expect("a project");
    let new = session_core::NewSession {
        id: Some(id("watched")),
        ..Default::default()
    };
    let watched = of(&id("watched"));
    let mut claim = None;
    let make = || claim = Some(project.manager.claim_new(new).expect("new"));
    check(&mut feed, make, &watched);
    let mut claim = claim.expect("it was made");
    check(
        &mut feed,
        || claim.start(ended()).expect("pending → running"),
        &watched,
    );
    check(
        &mut feed,
        || claim.suspend().expect("running → suspended"),
        &watched,
    );
    check(
        &mut feed,
        || claim.resume().expect("suspended → running"),
        &watched,
    );
    let end = || {
        claim
            .finish(Outcome::Exited { code: 0 })
            .expect("running → completed")
    };
    check(&mut feed, end, &watched);
    // Its owner goes.
    check(&mut feed, || drop(claim), &watched);
    let remove = || {
        project
            .manager
            .remove(&id("watched"))
            .expect("it has ended")
    };
    check(&mut feed, remove, &watched);
}

#[test]
fn what_another_program_writes_in_place_is_told() {
    let project = Project::new();
    let session = project.claim().session().id.clone();
    let record = project.record(&session);
    let mut feed = project.manager.feed().expect("a project");
    let write = || {
        project.plant(session.as_str(), &record);
    };
    check(&mut feed, write, &of(&session));
    let make = || {
        project.plant("made-by-python", &record);
    };
    check(&mut feed, make, &of(&id("made-by-python")));
    let remove = || {
        fs::remove_file(project.inside("sessions/made-by-python.json")).expect("it is there");
    };
    check(&mut feed, remove, &of(&id("made-by-python")));
}

#[test]
fn what_is_no_session_is_not_told() {
    let project = Project::new();
    let mut feed = project.manager.feed().expect("a project");
    for name in [
        "sessions/README",
        "sessions/.swp",
        "run/.new-x-1",
        "sessions/.A.json",
    ] {
        fs::write(project.inside(name), "").expect("a writable project");
    }
    assert_eq!(feed.next(NOW).expect("poll"), []);
    // A record that is nobody's is found by whoever looks at all.
    fs::write(project.inside("sessions/A.json"), "").expect("a writable project");
    assert_eq!(feed.next(NOW).expect("poll"), [Change::Rescan]);
}

#[test]
fn who_waits_is_woken() {
    let project = Project::new();
    let mut feed = project.manager.feed().expect("a project");
    let waiting = std::thread::spawn(move || feed.next(None).expect("poll"));
    let claim = project.claim();
    let told = waiting.join().expect("no panic");
    assert_eq!(told, [of(&claim.session().id)]);
}

#[test]
fn folders_that_are_replaced_are_to_be_read_again() {
    for folder in ["sessions", "run", ""] {
        let project = Project::new();
        let mut feed = project.manager.feed().expect("a project");
        let old = project.inside(folder);
        let old = old.components().as_path();
        let aside = project.path().join("aside");
        let replace = || {
            fs::rename(old, &aside).expect("it is there");
            session_core::SessionManager::create(project.path()).expect("a project");
        };
        check(&mut feed, replace, &Change::Rescan);
        // And what happens in the new one is told as before.
        let claim = project.claim();
        let mut told = Vec::new();
        until("it is told", || {
            told.extend(feed.next(SOON).expect("poll"));
            told.contains(&of(&claim.session().id))
        });
        fs::remove_dir_all(old).expect("it is there");
        let mut told = Vec::new();
        until("it is told", || {
            told.extend(feed.next(SOON).expect("poll"));
            told.contains(&Change::Rescan)
        });
        // A folder is told of by the one that it was in, which may be gone as well.
        assert_eq!(feed.as_fd().is_none(), folder.is_empty(), "{folder}");
    }
}

#[test]
fn a_project_without_folders_tells_when_they_come() {
    let project = Project::new();
    fs::remove_dir_all(project.inside("run")).expect("it is there");
    let mut feed = project.manager.feed().expect("a project");
    assert_eq!(feed.deadline(), None);
    assert_eq!(feed.next(NOW).expect("poll"), []);
    let claim = project.claim();
    let told = feed.next(SOON).expect("poll");
    assert!(told.contains(&Change::Rescan), "{told:?}");
    while !feed.next(NOW).expect("poll").is_empty() {}
    check(
        &mut feed,
        || drop(claim),
        &of(&project.names("sessions")[0]
            .strip_suffix(".json")
            .map(id)
            .expect("a record")),
    );
}

#[test]
fn too_many_changes_are_to_be_read_again() {
    let project = Project::new();
    let mut feed = project.manager.feed().expect("a project");
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let limit: usize = limit.expect("/proc").trim().parse().expect("a number");
    // Two names in turn: only equal events in a row count once. A few more, where
    // another test's fork closes a file later than we do.
    for n in 0..limit + 1000 {
        let path = project.inside(format!("sessions/{}.json", ["a", "b"][n % 2]));
        fs::write(path, "").expect("a writable project");
    }
    let told = feed.next(NOW).expect("poll");
    assert!(told.contains(&Change::Rescan), "{told:?}");
    assert!(told.len() <= 3, "each is told once: {told:?}");
    check_quiet(&mut feed);
}

#[test]
fn where_nothing_notifies_everything_is_to_be_read_again() {
    let test = "feed::where_nothing_notifies_everything_is_to_be_read_again";
    // Every user may have so many instances and no more.
    if !alone(test, &[]) {
        return;
    }
    let project = Project::new();
    let mut feeds = Vec::new();
    until("there are no more instances", || {
        feeds.push(project.manager.feed().expect("a project"));
        feeds.last().is_some_and(|feed| feed.as_fd().is_none())
    });
    let mut deaf = feeds.pop().expect("one at least");
    assert!(deaf.deadline().is_some());
    assert_eq!(deaf.next(NOW).expect("a rest"), []);
    assert_eq!(deaf.next(SOON).expect("a rest"), [Change::Rescan]);
}
