//! One owner at a time: never two, never none by mistake, and free once it dies.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use session_core::{
    Claim, ClaimError, LeaseError, Liveness, LostCause, NewSession, Outcome, SessionId,
    SessionManager, Status, WriteError,
};

use crate::processes::{Agent, Other, alone, ended, hold, identify, until};
use crate::project::{Project, id};

/// Whether anybody could take the session now: what an observer says of it, and
/// what a taker is told.
fn check(project: &Project, id: &SessionId, owned: bool) {
    assert_eq!(project.liveness(id) == Liveness::Owned, owned);
    match SessionManager::open(project.path()).map(|m| m.claim(id)) {
        Ok(Err(ClaimError::Lease(LeaseError::Held(held)))) if owned => assert_eq!(held, *id),
        // Put back as it was found: a free lease that somebody left.
        Ok(Ok(claim)) if !owned => drop(claim.into_lease()),
        other => panic!("owned: {owned}, but {other:?}"),
    }
}

fn named(name: &str) -> NewSession {
    NewSession {
        name: Some(name.into()),
        ..NewSession::default()
    }
}

fn with_id(text: &str) -> NewSession {
    NewSession {
        id: Some(id(text)),
        ..NewSession::default()
    }
}

/// Lets go without a word, as an owner does who dies.
fn die(claim: Claim) -> SessionId {
    let id = claim.session().id.clone();
    drop(claim.into_lease());
    id
}

/// Waits until no other test's fork holds a copy of a lease that was let go of.
fn until_free(project: &Project, id: &SessionId) {
    until("the lease is free", || {
        project.liveness(id) != Liveness::Owned
    });
}

/// How many of `n` threads that begin `attempt` at once succeed. The winners
/// keep what they won until all have tried.
fn race<T: Send>(n: usize, attempt: impl Fn() -> Option<T> + Sync) -> usize {
    let (begin, over) = (Barrier::new(n), Barrier::new(n));
    std::thread::scope(|scope| {
        let run = || {
            begin.wait();
            let won = attempt();
            over.wait();
            usize::from(won.is_some())
        };
        let threads: Vec<_> = (0..n).map(|_| scope.spawn(run)).collect();
        let won = threads.into_iter().map(|thread| thread.join());
        won.map(|won| won.expect("no attempt panics")).sum()
    })
}

#[test]
fn a_session_has_one_owner() {
    let project = Project::new();
    let claim = project.claim();
    let id = claim.session().id.clone();
    check(&project, &id, true);
    claim.release().expect("the run directory goes");
    assert_eq!(project.liveness(&id), Liveness::Unclaimed);
    check(&project, &id, false);
    until_free(&project, &id);
    let claim = project.manager.claim(&id).expect("free again");
    check(&project, &id, true);
    die(claim);
    until_free(&project, &id);
    check(&project, &id, false);
}

#[test]
fn letting_go_leaves_no_run_directory() {
    let project = Project::new();
    project.claim().release().expect("pending");
    drop(project.claim());
    let mut claim = project.running(ended());
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    drop(claim);
    assert_eq!(project.names("run"), [""; 0]);
    // A running session's stays: it tells that there was an owner.
    let running = project.running(ended()).session().id.clone();
    assert_eq!(project.names("run"), [running.as_str()]);
}

#[test]
fn observers_are_never_in_a_takers_way() {
    // Alone: the forks of other tests hold a copy of each lease for a moment.
    if !alone("lease::observers_are_never_in_a_takers_way", &[]) {
        return;
    }
    let project = Project::new();
    let id = die(project.claim());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    project.observe(&id);
                }
            });
        }
        let taking = || {
            for n in 0..2000 {
                let claim = project.manager.claim(&id);
                let claim = claim.expect("nobody owns it, whoever looks");
                // Both ways to be free: with and without a run directory.
                match n % 2 {
                    0 => drop(claim.into_lease()),
                    _ => claim.release().expect("the run directory goes"),
                }
            }
        };
        let taken = scope.spawn(taking).join();
        over.store(true, Ordering::Relaxed);
        taken.expect("no false refusal");
    });
}

/// Owns the session `theirs`, whose agent is this process, until told to end.
pub(crate) fn own(project: &Path) {
    let manager = SessionManager::create(project).expect("a project");
    let mut claim = manager.claim_new(with_id("theirs")).expect("a new session");
    claim
        .start(identify(std::process::id()))
        .expect("pending → running");
    hold();
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
}

/// The session of another process, once that process runs it.
fn of_another_process(project: &Project) -> (Other, SessionId) {
    let other = Other::start("own", project.path());
    let id = id("theirs");
    until("the other process runs its session", || {
        project
            .manager
            .get(&id)
            .is_ok_and(|seen| seen.status() == Some(Status::Running))
    });
    (other, id)
}

#[test]
fn the_lease_is_free_as_soon_as_its_owner_is_killed() {
    let project = Project::new();
    let (mut other, id) = of_another_process(&project);
    check(&project, &id, true);
    other.kill();
    // Still a zombie: nobody has waited for it.
    until_free(&project, &id);
    // The lock goes before the process is all gone.
    until("the process is gone as well", || {
        project.liveness(&id) == Liveness::Lost(LostCause::OwnerDied)
    });
    check(&project, &id, false);
}

#[test]
fn an_owner_that_is_stopped_still_owns() {
    let project = Project::new();
    let (other, id) = of_another_process(&project);
    let owner = identify(other.pid());
    let handle = session_core::ProcessHandle::open(owner.pid).expect("a pidfd");
    let handle = handle.expect("it lives");
    handle.signal(19).expect("SIGSTOP");
    check(&project, &id, true);
    let report = project.manager.reconcile().expect("a project");
    assert!(report.settled.is_empty(), "{report:?}");
    handle.signal(18).expect("SIGCONT");
    other.finish();
    assert_eq!(project.observe(&id).status(), Some(Status::Completed));
}

#[test]
fn what_is_handed_over_stays_held_when_the_launcher_lets_go() {
    let project = Project::new();
    let claim = project.claim();
    let id = claim.session().id.clone();
    let lease = claim.into_lease();
    let shared = lease.file().try_clone().expect("a descriptor");
    let heir = Command::new("sleep").arg("600").stdin(shared).spawn();
    let mut heir = heir.expect("sleep");
    drop(lease);
    check(&project, &id, true);
    heir.kill().and_then(|()| heir.wait()).expect("our child");
    until_free(&project, &id);
    check(&project, &id, false);
}

#[test]
fn an_heir_goes_on_where_the_launcher_ended() {
    let project = Project::new();
    let claim = project.claim();
    let session = claim.session().clone();
    let lease = claim.into_lease();
    let inherited = OwnedFd::from(lease.file().try_clone().expect("a descriptor"));
    let heir = Claim::handed_over(project.path(), &session.id, inherited);
    let mut heir = heir.expect("it is the lease");
    drop(lease);
    assert_eq!(*heir.session(), session);
    check(&project, &session.id, true);
    heir.start(ended()).expect("pending → running");
    heir.finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    drop(heir);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn only_the_lease_itself_can_be_handed_over() {
    let project = Project::new();
    let (claim, other) = (project.claim(), project.claim());
    let id = claim.session().id.clone();
    let path = project.inside(format!("run/{id}/lease"));
    let opened_again = fs::File::options().read(true).write(true).open(path);
    let strangers = [
        fs::File::open("/dev/null").expect("it is there"),
        other.lease().file().try_clone().expect("a descriptor"),
        // The right file, but not what is locked: the launcher still owns it.
        opened_again.expect("our own file"),
    ];
    for stranger in strangers {
        let refused = Claim::handed_over(project.path(), &id, stranger.into());
        assert!(
            matches!(refused, Err(ClaimError::Lease(LeaseError::Foreign(_)))),
            "{refused:?}"
        );
    }
    check(&project, &id, true);
    let record = fs::remove_file(project.inside(format!("sessions/{id}.json")));
    record.expect("it is there");
    let shared = claim.lease().file().try_clone().expect("a descriptor");
    let refused = Claim::handed_over(project.path(), &id, shared.into());
    assert!(
        matches!(refused, Err(ClaimError::NotFound(_))),
        "{refused:?}"
    );
}

#[test]
fn no_child_inherits_a_lease() {
    let project = Project::new();
    let claim = project.running(ended());
    let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output();
    let listed = String::from_utf8(listed.expect("ls").stdout).expect("UTF-8");
    assert!(!listed.contains(".monoco"), "{listed}");
    drop(claim);
}

/// An owner finds that `accident` took its lease away: it writes nothing, and
/// what follows is `then`.
fn check_accident(accident: impl FnOnce(&Project, &SessionId), then: impl FnOnce(Claim, &Project)) {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim = project.running(agent.process());
    let id = claim.session().id.clone();
    // As the real owner has it.
    fs::write(project.inside(format!("run/{id}/control.sock")), "").expect("a writable project");
    let mut claim = claim;
    accident(&project, &id);
    let before = project.stamp(&id);
    let refused = claim.suspend();
    assert!(
        matches!(refused, Err(ClaimError::Write(WriteError::LeaseLost(_)))),
        "{refused:?}"
    );
    assert_eq!(claim.session().status(), Status::Running);
    assert_eq!(project.stamp(&id), before, "nothing was written");
    then(claim, &project);
}

/// The lease can be had again, and then the owner writes as before.
fn goes_on(mut claim: Claim, project: &Project) {
    claim.reestablish().expect("nobody has it");
    check(project, &claim.session().id, true);
    claim.suspend().expect("running → suspended");
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("suspended → completed");
    let id = claim.session().id.clone();
    drop(claim);
    assert_eq!(project.observe(&id).status(), Some(Status::Completed));
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn an_owner_whose_lease_was_removed_takes_a_new_one() {
    let remove_lease = |project: &Project, id: &SessionId| {
        fs::remove_file(project.inside(format!("run/{id}/lease"))).expect("it is there");
    };
    check_accident(remove_lease, goes_on);
    let remove_folder = |project: &Project, id: &SessionId| {
        fs::remove_dir_all(project.inside(format!("run/{id}"))).expect("it is there");
    };
    check_accident(remove_folder, goes_on);
    let remove_run = |project: &Project, _: &SessionId| {
        fs::remove_dir_all(project.inside("run")).expect("it is there");
    };
    check_accident(remove_run, goes_on);
}

#[test]
fn an_owner_whose_records_were_removed_writes_its_own_again() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    let id = claim.session().id.clone();
    fs::remove_file(project.inside(format!("sessions/{id}.json"))).expect("it is there");
    claim.rewrite().expect("its lease is untouched");
    assert_eq!(project.observe(&id).session, *claim.session());
    fs::remove_dir_all(project.inside("sessions")).expect("it is there");
    claim.suspend().expect("its lease is untouched");
    check(&project, &id, true);
    assert_eq!(project.observe(&id).session, *claim.session());
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("suspended → completed");
    assert_eq!(project.observe(&id).session, *claim.session());
}

#[test]
fn a_project_that_is_moved_keeps_its_owners() {
    let outer = tempfile::tempdir().expect("a temporary directory");
    let (old, new) = (outer.path().join("old"), outer.path().join("new"));
    fs::create_dir(&old).expect("a writable directory");
    let manager = SessionManager::create(&old).expect("an empty project");
    let claim = manager.claim_new(with_id("moved"));
    let mut claim = claim.expect("a new session");
    claim.start(ended()).expect("pending → running");
    fs::rename(&old, &new).expect("it is there");
    let manager = SessionManager::open(&new).expect("a project");
    let status = || manager.get(&id("moved")).expect("a record").status();
    claim.suspend().expect("it is the same directory");
    assert_eq!(status(), Some(Status::Suspended));
    // Another project in the old place is none of its business.
    fs::create_dir(&old).expect("a writable directory");
    let other = SessionManager::create(&old).expect("an empty project");
    claim.resume().expect("it is the same directory");
    assert_eq!(status(), Some(Status::Running));
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    claim.release().expect("the run directory goes");
    assert_eq!(status(), Some(Status::Completed));
    assert!(other.list().expect("a project").sessions.is_empty());
    let run = fs::read_dir(new.join(".monoco/run")).expect("it is there");
    assert_eq!(run.count(), 1, "only .gitignore");
}

#[test]
fn an_owner_whose_whole_project_was_removed_writes_it_again() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    fs::remove_dir_all(project.inside("")).expect("it is there");
    assert!(claim.suspend().is_err());
    claim.reestablish().expect("nobody has it");
    assert_eq!(
        project.observe(&claim.session().id).session,
        *claim.session()
    );
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
}

#[test]
fn an_owner_whose_lease_was_taken_meanwhile_stays_out() {
    let mut second = None;
    check_accident(
        |project, id| {
            fs::remove_dir_all(project.inside(format!("run/{id}"))).expect("it is there");
            second = Some(project.manager.claim(id).expect("nobody seems to own it"));
        },
        |mut claim, project| {
            let refused = claim.reestablish();
            assert!(
                matches!(refused, Err(ClaimError::Lease(LeaseError::Held(_)))),
                "{refused:?}"
            );
            let id = claim.session().id.clone();
            drop(claim);
            check(project, &id, true);
        },
    );
}

#[test]
fn an_owner_never_changes_what_somebody_else_ended_meanwhile() {
    check_accident(
        |project, id| {
            fs::remove_dir_all(project.inside(format!("run/{id}"))).expect("it is there");
            let mut second = project.manager.claim(id).expect("nobody seems to own it");
            second
                .finish(Outcome::Stopped {
                    by: "another".into(),
                    wait_status: None,
                })
                .expect("running → terminated");
        },
        |mut claim, project| {
            let id = claim.session().id.clone();
            let before = project.stamp(&id);
            let refused = claim.reestablish();
            assert!(
                matches!(refused, Err(ClaimError::Ended { .. })),
                "{refused:?}"
            );
            assert!(claim.finish(Outcome::Exited { code: 0 }).is_err());
            assert!(claim.rewrite().is_err());
            drop(claim);
            assert_eq!(project.stamp(&id), before);
            assert_eq!(project.names("run"), [""; 0]);
        },
    );
}

#[test]
fn no_session_is_named_as_another_is_identified() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    match project.manager.claim_new(named(id.as_str())) {
        Err(ClaimError::NameInUse { name, id: owner }) => {
            assert_eq!((&*name, owner), (id.as_str(), id.clone()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_two_living_sessions_share_a_name() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let claim_named = || project.manager.claim_new(named("fixer"));
    let refused = |owner: &SessionId| match claim_named() {
        Err(ClaimError::NameInUse { name, id }) => assert_eq!((&*name, &id), ("fixer", owner)),
        other => panic!("{other:?}"),
    };
    let mut claim = claim_named().expect("nobody has it");
    let first = claim.session().id.clone();
    refused(&first);
    claim.start(agent.process()).expect("pending → running");
    refused(&first);
    claim.suspend().expect("running → suspended");
    refused(&first);
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("suspended → completed");
    drop(claim);
    // An orphan lives, and keeps its name; what is lost does not.
    let mut claim = claim_named().expect("its session has ended");
    claim.start(agent.process()).expect("pending → running");
    let orphan = claim.session().id.clone();
    drop(claim);
    until_free(&project, &orphan);
    refused(&orphan);
    drop(agent);
    until("the agent is gone", || !project.observe(&orphan).may_live());
    let claim = claim_named().expect("its session is lost");
    assert_eq!(project.manager.list().expect("a project").sessions.len(), 3);
    drop(claim);
}

#[test]
fn of_all_who_race_for_one_name_one_wins() {
    let project = Project::new();
    let won = race(32, || match project.manager.claim_new(named("fixer")) {
        Ok(claim) => Some(claim),
        Err(ClaimError::NameInUse { .. }) => None,
        Err(error) => panic!("{error:?}"),
    });
    assert_eq!(won, 1);
    assert_eq!(project.names("sessions").len(), 1);
}

#[test]
fn of_all_who_race_for_one_id_one_wins() {
    let project = Project::new();
    for n in 0..10 {
        let name = format!("same-{n}");
        let won = race(32, || match project.manager.claim_new(with_id(&name)) {
            Ok(claim) => Some(claim),
            Err(ClaimError::Exists(_) | ClaimError::Lease(LeaseError::Held(_))) => None,
            Err(error) => panic!("{error:?}"),
        });
        assert_eq!(won, 1);
    }
    assert_eq!(project.names("sessions").len(), 10);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn of_all_who_race_for_a_session_without_owner_one_wins() {
    let project = Project::new();
    for left in [true, false] {
        for _ in 0..10 {
            let claim = project.claim();
            let id = match left {
                true => die(claim),
                false => {
                    let id = claim.session().id.clone();
                    claim.release().expect("the run directory goes");
                    id
                }
            };
            until_free(&project, &id);
            let won = race(32, || match project.manager.claim(&id) {
                Ok(claim) => Some(claim),
                Err(ClaimError::Lease(LeaseError::Held(_))) => None,
                Err(error) => panic!("{error:?}"),
            });
            assert_eq!(won, 1);
        }
    }
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn owners_who_come_and_go_never_remove_each_others_lease() {
    let project = Project::new();
    let id = project.claim().session().id.clone();
    let inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let claim = match project.manager.claim(&id) {
                        Ok(claim) => claim,
                        Err(ClaimError::Lease(LeaseError::Held(_))) => continue,
                        Err(error) => panic!("{error:?}"),
                    };
                    assert!(!inside.swap(true, Ordering::SeqCst), "two owners");
                    let mut claim = claim;
                    claim.rewrite().expect("its lease is its own");
                    inside.store(false, Ordering::SeqCst);
                    claim.release().expect("the run directory goes");
                }
            });
        }
    });
    assert_eq!(project.names("run"), [""; 0]);
}

/// Sessions with one name and one id, over and over, until killed.
pub(crate) fn churn(project: &Path) {
    let manager = SessionManager::create(project).expect("a project");
    let process = identify(std::process::id());
    loop {
        let new = NewSession {
            name: Some("churn".into()),
            ..with_id("churn")
        };
        let mut claim = manager.claim_new(new).expect("nothing refuses a start");
        claim.keep_reserve().expect("room");
        claim.start(process.clone()).expect("pending → running");
        claim
            .finish(Outcome::Exited { code: 0 })
            .expect("running → completed");
        drop(claim);
        manager.remove(&id("churn")).expect("it has ended");
    }
}

#[test]
fn an_owner_killed_at_any_step_leaves_nothing_in_the_way() {
    // Alone: the forks of other tests hold a copy of each lease for a moment.
    let test = "lease::an_owner_killed_at_any_step_leaves_nothing_in_the_way";
    if !alone(test, &[]) {
        return;
    }
    let project = Project::new();
    let churn = id("churn");
    for round in 0..20_u64 {
        let mut other = Other::start("churn", project.path());
        until("the other process is at it", || {
            !project.names("run").is_empty() || !project.names("sessions").is_empty()
        });
        // At another step each time; which one does not matter.
        std::thread::sleep(Duration::from_micros(round * 137 % 3000));
        other.kill();
        drop(other);
        let listing = project.manager.list().expect("a project");
        assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
        // The same id and the same name, at once and without mending first.
        let new = NewSession {
            name: Some("churn".into()),
            ..with_id("churn")
        };
        match project.manager.claim_new(new) {
            Ok(claim) => drop(claim),
            // Its record was there already: then it is settled like any other.
            Err(ClaimError::Exists(_)) => {}
            Err(error) => panic!("round {round}: {error:?}"),
        }
        let report = project.manager.reconcile().expect("a project");
        assert!(report.failed.is_empty(), "{report:?}");
        let left = project.names("run");
        assert!(left.iter().all(|name| name.starts_with('.')), "{left:?}");
        if project.manager.get(&churn).is_ok() {
            project.manager.remove(&churn).expect("it is over");
        }
        for name in left {
            let name = project.inside("run").join(name);
            fs::remove_dir_all(name).expect("litter too young to be swept");
        }
    }
}

#[test]
fn a_starter_who_died_before_its_record_is_no_obstacle() {
    // Alone: the forks of other tests hold a copy of each lease for a moment.
    let test = "lease::a_starter_who_died_before_its_record_is_no_obstacle";
    if !alone(test, &[]) {
        return;
    }
    let project = Project::new();
    let claim = project.manager.claim_new(with_id("early")).expect("new");
    let early = die(claim);
    fs::remove_file(project.inside("sessions/early.json")).expect("it is there");
    let run = fs::canonicalize(project.inside("run/early")).expect("it is there");
    // The next one may have the id ...
    let claim = project.manager.claim_new(with_id("early"));
    drop(claim.expect("nobody has it"));
    assert!(!run.exists());
    // ... and where nobody comes, the directory goes.
    project.manager.remove(&early).expect("nobody began");
    let claim = project.manager.claim_new(with_id("early")).expect("new");
    die(claim);
    fs::remove_file(project.inside("sessions/early.json")).expect("it is there");
    let report = project.manager.reconcile().expect("a project");
    assert_eq!(report.cleared, 1);
    assert_eq!(project.names("run"), [""; 0]);
}

#[test]
fn a_dead_owners_session_is_not_made_anew() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.manager.claim_new(with_id("orphan")).expect("new");
    claim.start(agent.process()).expect("pending → running");
    drop(claim);
    until_free(&project, &id("orphan"));
    let before = project.stamp(&id("orphan"));
    let refused = project.manager.claim_new(with_id("orphan"));
    assert!(matches!(refused, Err(ClaimError::Exists(_))), "{refused:?}");
    assert_eq!(project.stamp(&id("orphan")), before);
    until_free(&project, &id("orphan"));
    assert_eq!(project.liveness(&id("orphan")), Liveness::Orphan);
    assert_eq!(project.names("run"), ["orphan"]);
}

#[test]
fn what_killed_starters_left_is_swept_once_it_is_old() {
    let project = Project::new();
    let old = |name: &str| {
        let path = project.inside("run").join(name);
        fs::create_dir(&path).expect("a writable project");
        fs::write(path.join("lease"), "").expect("a writable project");
        let touched = Command::new("touch")
            .args(["-d", "2 minutes ago"])
            .arg(&path)
            .status();
        assert!(touched.expect("touch").success());
        path
    };
    old(".new-a-12345678");
    old(".old-a-12345678");
    let held = old(".new-b-12345678");
    let held = fs::File::open(held.join("lease")).expect("it is there");
    fs2::FileExt::try_lock_exclusive(&held).expect("nobody has it");
    let young = project.inside("run/.new-c-12345678");
    fs::create_dir(young).expect("a writable project");
    fs::create_dir(project.inside("run/.somebody-elses")).expect("a writable project");
    let report = project.manager.reconcile().expect("a project");
    assert_eq!(report.cleared, 2);
    let left = [".new-b-12345678", ".new-c-12345678", ".somebody-elses"];
    assert_eq!(project.names("run"), left);
    drop(held);
    until("the lease is free", || {
        project.manager.reconcile().expect("a project").cleared == 1
    });
    assert_eq!(project.names("run"), left[1..]);
}

#[test]
fn sweeping_is_never_in_a_starters_way() {
    let project = Project::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    project.manager.reconcile_seen(&[]).expect("a project");
                }
            });
        }
        let started = scope.spawn(|| {
            for _ in 0..100 {
                let claim = project.manager.claim_new(NewSession::default());
                let id = claim.expect("nothing refuses a start").session().id.clone();
                project.manager.remove(&id).expect("nobody began");
            }
        });
        let started = started.join();
        over.store(true, Ordering::Relaxed);
        started.expect("no false refusal");
    });
}

#[test]
fn what_a_dead_owner_was_writing_is_ignored_and_goes_with_the_next() {
    let project = Project::new();
    let agent = Agent::sleeping();
    let mut claim = project.running(agent.process());
    claim.keep_reserve().expect("room");
    let id = claim.session().id.clone();
    fs::write(project.inside(format!("run/{id}/record-1234abcd")), "{").expect("writable");
    drop(claim);
    until_free(&project, &id);
    assert_eq!(project.liveness(&id), Liveness::Orphan);
    let mut claim = project.manager.claim(&id).expect("nobody owns it");
    claim.keep_reserve().expect("an old reserve is no obstacle");
    for _ in 0..50 {
        claim.suspend().expect("running → suspended");
        claim.resume().expect("suspended → running");
    }
    claim
        .finish(Outcome::Exited { code: 0 })
        .expect("running → completed");
    drop(claim);
    assert_eq!(project.names("run"), [""; 0]);
    assert_eq!(project.names("sessions"), [format!("{id}.json")]);
}

#[test]
fn a_child_of_the_owner_does_not_keep_the_lease() {
    let project = Project::new();
    let claim = project.running(ended());
    let id = claim.session().id.clone();
    let child = Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .spawn();
    let mut child = child.expect("sleep");
    drop(claim);
    until_free(&project, &id);
    child.kill().and_then(|()| child.wait()).expect("our child");
}
