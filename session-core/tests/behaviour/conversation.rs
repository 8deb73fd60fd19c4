//! No conversation is held by two living sessions, in whatever projects they are.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use session_core::{ConversationError, ConversationLease, Outcome, SessionId, SessionManager};

use crate::observe::{left_elsewhere, left_running};
use crate::processes::{Agent, ended};
use crate::project::{Project, id};

fn take(dir: &Path, project: &Project, id: &SessionId) -> Result<ConversationLease, String> {
    ConversationLease::take(dir, "claude", "7f:1", project.path(), id).map_err(|e| e.to_string())
}

/// A directory that is not there yet, two levels deep.
fn leases(project: &Project) -> PathBuf {
    project.path().join("state/conversations")
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn who_comes_second_hears_who_holds_it() {
    let (project, other) = (Project::new(), Project::new());
    let dir = leases(&project);
    let claim = project.running(crate::processes::identify(std::process::id()));
    let holder = &claim.session().id;
    let lease = take(&dir, &project, holder).expect("nobody holds it");
    let error = take(&dir, &other, &id("second")).expect_err("it is held");
    let place = project.path().display();
    let words = format!("the conversation 7f:1 is held by session {holder} of {place}");
    assert!(error.starts_with(&words), "{error}");
    // Another engine's conversation is another one, whatever its id.
    let codex = ConversationLease::take(&dir, "codex", "7f:1", other.path(), &id("second"));
    codex.expect("nobody holds it").release().expect("ours");
    lease.release().expect("ours");
    assert_eq!(names(&dir), [] as [PathBuf; 0]);
    take(&dir, &other, &id("second")).expect("nobody holds it any more");
}

#[test]
fn who_shares_the_open_file_holds_it_on() {
    let project = Project::new();
    let dir = leases(&project);
    let lease = take(&dir, &project, &id("first")).expect("nobody holds it");
    let shared = || OwnedFd::from(lease.file().try_clone().expect("a descriptor"));
    let handed = ConversationLease::handed_over(&dir, "claude", "7f:1", shared());
    let handed = handed.expect("the same open file");
    let wrong = ConversationLease::handed_over(&dir, "claude", "7f:2", shared());
    assert!(
        matches!(wrong, Err(ConversationError::Io { .. })),
        "{wrong:?}"
    );
    drop(lease);
    // One that is not recorded yet has no name that anybody could look for.
    let error = take(&dir, &project, &id("second")).expect_err("it is held");
    assert!(
        error.ends_with("is held by a session that is being started"),
        "{error}"
    );
    drop(handed);
    take(&dir, &project, &id("second")).expect("nobody holds it any more");
}

#[test]
fn an_agent_that_outlived_its_owner_holds_it_still() {
    let (project, other) = (Project::new(), Project::new());
    let dir = leases(&project);
    let agent = Agent::sleeping();
    let orphan = left_running(&project, agent.process());
    let elsewhere = left_elsewhere(&project, &agent, "host");
    for who in [&orphan, &elsewhere] {
        drop(take(&dir, &project, who).expect("nobody else holds it"));
        let error = take(&dir, &other, &id("second")).expect_err("it may live");
        assert!(error.contains(who.as_str()), "{error}");
        // Whoever adopts it takes it again.
        drop(take(&dir, &project, who).expect("it is the same session"));
        fs::remove_file(&names(&dir)[0]).expect("the lease");
    }
    let lost = left_running(&project, ended());
    drop(take(&dir, &project, &lost).expect("nobody else holds it"));
    take(&dir, &other, &id("second")).expect("who is lost holds nothing");
}

#[test]
fn what_a_dead_owner_left_is_in_nobodys_way() {
    let project = Project::new();
    let dir = leases(&project);
    drop(take(&dir, &project, &id("unrecorded")).expect("free"));
    drop(take(&dir, &project, &id("first")).expect("it was never recorded"));
    fs::write(&names(&dir)[0], "torn").expect("writable");
    drop(take(&dir, &project, &id("second")).expect("it tells of nobody"));
    let content = fs::read_to_string(&names(&dir)[0]).expect("a lease");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("it is told");
    let place = project.path().display();
    assert_eq!(content, format!("second\n{place}\n{boot}"));
}

#[test]
fn a_living_agent_holds_it_wherever_its_project_was_moved() {
    let (place, other) = (tempfile::tempdir().expect("a directory"), Project::new());
    let dir = leases(&other);
    let (before, after) = (place.path().join("before"), place.path().join("after"));
    let take_from = |project: &Path, id: &SessionId| {
        ConversationLease::take(&dir, "claude", "7f:1", project, id)
    };
    fs::create_dir(&before).expect("writable");
    SessionManager::create(&before).expect("an empty directory");
    drop(take_from(&before, &id("first")).expect("nobody holds it"));
    fs::rename(&before, &after).expect("writable");
    let error = take(&dir, &other, &id("second")).expect_err("it may live");
    let lease = names(&dir).remove(0);
    let words = format!(
        "if it was removed, and its agent is gone, remove {}",
        lease.display()
    );
    assert!(error.ends_with(&words), "{error}");

    // No agent lives since before this machine was started.
    let content = fs::read_to_string(&lease).expect("a lease");
    let boot = content.lines().last().expect("the boot");
    let earlier = content.replace(boot, "00000000-0000-4000-8000-000000000000");
    fs::write(&lease, earlier).expect("writable");
    take(&dir, &other, &id("second")).expect("its agent is gone");
}

#[test]
fn who_cannot_be_read_holds_it_and_what_to_do_is_said() {
    let (project, other) = (Project::new(), Project::new());
    let dir = leases(&project);
    let damaged = project.plant("damaged", "{");
    drop(take(&dir, &project, &damaged).expect("nobody holds it"));
    let error = take(&dir, &other, &id("second")).expect_err("it may live");
    let record = project.inside("sessions/damaged.json");
    for path in [&record, &names(&dir)[0]] {
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn who_has_ended_holds_it_until_its_owner_goes() {
    let (project, other) = (Project::new(), Project::new());
    let dir = leases(&project);
    let mut claim = project.running(ended());
    let holder = claim.session().id.clone();
    let lease = take(&dir, &project, &holder).expect("nobody holds it");
    claim.finish(Outcome::Exited { code: 0 }).expect("it ends");
    let at_once =
        ConversationLease::take_at_once(&dir, "claude", "7f:1", other.path(), &id("second"));
    let error = at_once.expect_err("its owner is not through").to_string();
    let words = format!(
        "session {holder} of {}, which has ended",
        project.path().display()
    );
    assert!(error.contains(&words), "{error}");
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| take(&dir, &other, &id("second")));
        // For longer than another session is waited for.
        std::thread::sleep(std::time::Duration::from_millis(800));
        assert!(!taken.is_finished());
        lease.release().expect("ours");
        let taken = taken.join().expect("no panic");
        taken.expect("nobody holds it any more");
    });
}

#[test]
fn one_of_many_takers_gets_it() {
    let project = Project::new();
    let dir = leases(&project);
    let takers: Vec<_> = (0..8).map(|n| id(&format!("taker-{n}"))).collect();
    let taken = std::thread::scope(|scope| {
        let threads = takers
            .iter()
            .map(|taker| scope.spawn(|| take(&dir, &project, taker)));
        let threads: Vec<_> = threads.collect();
        let taken = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        taken.collect::<Vec<_>>()
    });
    assert_eq!(
        taken.iter().filter(|taken| taken.is_ok()).count(),
        1,
        "{taken:?}"
    );
}

#[test]
fn what_would_be_another_file_is_refused() {
    let project = Project::new();
    let dir = leases(&project);
    let take = |engine: &str, conversation: &str| {
        let taken = ConversationLease::take(&dir, engine, conversation, project.path(), &id("a"));
        taken.expect_err("no name").to_string()
    };
    assert!(take("claude", "../x").contains("not a conversation's id"));
    assert!(take("../x", "a").contains("cannot be an engine's name"));
    assert!(take(&"e".repeat(65), "a").contains("cannot be an engine's name"));
    assert!(!dir.exists());
    fs::create_dir_all(&dir).expect("writable");
    std::os::unix::fs::symlink("/dev/null", dir.join("claude@a")).expect("writable");
    assert!(take("claude", "a").starts_with("cannot open"));
}
