//! Projects that were noted are listed; whatever else lies beside them is not, and
//! harms nobody.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use session_core::Registry;

use crate::processes::alone;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A registry that does not exist yet, two directories below one that does.
fn registry() -> (tempfile::TempDir, Registry) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::at(dir.path().join("state/monoco/projects"));
    (dir, registry)
}

fn note(registry: &Registry, project: impl AsRef<Path>) {
    let noted = registry.note(project.as_ref());
    noted.expect("a directory that can be written");
}

#[track_caller]
fn check(registry: &Registry, expected: &[&Path]) {
    assert_eq!(registry.projects().expect("it can be read"), expected);
}

/// The entries, sorted by name.
fn entries(registry: &Registry) -> Vec<PathBuf> {
    let entries = fs::read_dir(registry.path()).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// Makes the only entry `age` old.
fn make_old(registry: &Registry, age: Duration) {
    let entry = File::open(&entries(registry)[0]).expect("an entry");
    let then = SystemTime::now() - age;
    entry.set_modified(then).expect("it is ours");
}

/// The time of change and the inode of the only entry.
fn stamp(registry: &Registry) -> (i64, i64, u64) {
    let stat = entries(registry)[0].metadata().expect("an entry");
    (stat.mtime(), stat.mtime_nsec(), stat.ino())
}

#[test]
fn a_registry_that_does_not_exist_is_empty() {
    let (_dir, registry) = registry();
    check(&registry, &[]);
    assert!(registry.prune().expect("nothing to read").is_empty());
    assert!(!registry.path().exists(), "looking makes nothing");
}

#[test]
fn projects_are_listed_once_and_in_order() {
    let (_dir, registry) = registry();
    let strange = Path::new(OsStr::from_bytes(b"/tmp/a\nb \xff\n"));
    let (one, two) = (Path::new("/home/me/one"), Path::new("/home/me/two"));
    for project in [two, strange, one, two] {
        note(&registry, project);
    }
    check(&registry, &[one, two, strange]);
    assert_eq!(entries(&registry).len(), 3, "and nothing is left over");
    // By a name that every version finds again.
    let other = tempfile::tempdir().expect("a temporary directory");
    let registry = Registry::at(other.path());
    note(&registry, "/foobar");
    let name = entries(&registry)[0].file_name().map(OsStr::to_owned);
    assert_eq!(name.as_deref(), Some(OsStr::new("1a2bb6d76011c807")));
    let content = fs::read(&entries(&registry)[0]).expect("an entry");
    assert_eq!(content, b"/foobar\n");
}

#[test]
fn what_cannot_be_a_projects_path_is_not_noted() {
    let (_dir, registry) = registry();
    let long = format!("/{}", "x".repeat(4096));
    for path in ["", "relative", "./here", "/nul\0", &long] {
        let refused = registry.note(Path::new(path)).expect_err("no such path");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
    assert!(!registry.path().exists());
    note(&registry, &long[..4096]);
    check(&registry, &[Path::new(&long[..4096])]);
}

#[test]
fn all_of_it_is_for_its_owner_only() {
    // The umask is the whole process's.
    if !alone("registry::all_of_it_is_for_its_owner_only", &[]) {
        return;
    }
    for umask in [0, 0o777] {
        let (dir, registry) = registry();
        let before = rustix::process::umask(Mode::from_raw_mode(umask));
        note(&registry, "/p");
        rustix::process::umask(before);
        check(&registry, &[Path::new("/p")]);
        let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o7777;
        for made in ["state", "state/monoco", "state/monoco/projects"] {
            assert_eq!(mode(&dir.path().join(made)), 0o700, "{made}");
        }
        assert_eq!(mode(&entries(&registry)[0]), 0o600);
    }
}

#[test]
fn a_known_project_is_only_looked_at_and_renewed_once_a_day() {
    let (_dir, registry) = registry();
    note(&registry, "/p");
    make_old(&registry, DAY - Duration::from_secs(60));
    let before = stamp(&registry);
    note(&registry, "/p");
    assert_eq!(stamp(&registry), before);
    make_old(&registry, DAY + Duration::from_secs(60));
    let (mtime, _, inode) = stamp(&registry);
    note(&registry, "/p");
    let (renewed, _, same) = stamp(&registry);
    assert!(renewed > mtime && same == inode, "{renewed} > {mtime}");
    // A clock that was set back renews nothing.
    let entry = File::open(&entries(&registry)[0]).expect("an entry");
    let future = SystemTime::now() + DAY * 365;
    entry.set_modified(future).expect("it is ours");
    let before = stamp(&registry);
    note(&registry, "/p");
    assert_eq!(stamp(&registry), before);
}

#[test]
fn what_is_no_entry_is_left_out_and_never_waited_for() {
    let (dir, registry) = registry();
    note(&registry, "/p");
    let place = |n: u8| registry.path().join(format!("{n:016x}"));
    let plant = |n: u8, bytes: &[u8]| fs::write(place(n), bytes).expect("a directory");
    plant(1, b"");
    plant(2, b"/no-newline");
    plant(3, b"relative\n");
    plant(4, b"/nul\0\n");
    plant(5, b"\xff\xfe\n");
    plant(6, format!("/{}\n", "x".repeat(4096)).as_bytes());
    File::create(place(7))
        .and_then(|file| file.set_len(1 << 40))
        .expect("a sparse file");
    symlink(&entries(&registry)[0], place(8)).expect("a new link");
    let (kind, mode) = (FileType::Fifo, Mode::RUSR | Mode::WUSR);
    rustix::fs::mknodat(CWD, place(9), kind, mode, 0).expect("a FIFO");
    fs::create_dir(place(10)).expect("a new directory");
    let _socket = UnixListener::bind(place(11)).expect("a new socket");
    symlink(dir.path().join("nowhere"), place(12)).expect("a new link");
    for name in ["README", ".new-7", "123", "00000000000000AB"] {
        fs::write(registry.path().join(name), "/q\n").expect("a directory");
    }
    if rustix::process::geteuid().is_root() {
        plant(13, b"/foreign\n");
        std::os::unix::fs::chown(place(13), Some(4711), None).expect("root may");
    }
    check(&registry, &[Path::new("/p")]);
    let n = entries(&registry).len();
    assert!(registry.prune().expect("it can be read").is_empty());
    assert_eq!(entries(&registry).len(), n, "none of it is ours to remove");
}

#[test]
fn what_stands_in_the_place_of_an_entry_is_replaced_and_not_followed() {
    let (dir, registry) = registry();
    note(&registry, "/p");
    let place = entries(&registry).remove(0);
    let target = dir.path().join("target");
    fs::write(&target, "mine").expect("a new file");
    let junk: [&dyn Fn(); 3] = [
        &|| fs::write(&place, "").expect("as after a power loss"),
        &|| symlink(&target, &place).expect("a new link"),
        &|| {
            let (kind, mode) = (FileType::Fifo, Mode::RUSR);
            rustix::fs::mknodat(CWD, &place, kind, mode, 0).expect("a FIFO");
        },
    ];
    for plant in junk {
        fs::remove_file(&place).expect("it is there");
        plant();
        check(&registry, &[]);
        note(&registry, "/p");
        check(&registry, &[Path::new("/p")]);
    }
    assert_eq!(fs::read(&target).expect("it is there"), b"mine");
}

#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let (dir, _) = registry();
    let target = dir.path().join("target");
    fs::create_dir(&target).expect("a new directory");
    let link = dir.path().join("link");
    symlink(&target, &link).expect("a new link");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a new file");
    for path in [link, file] {
        let registry = Registry::at(path);
        assert!(registry.note(Path::new("/p")).is_err());
        assert!(registry.projects().is_err());
        assert!(registry.prune().is_err());
    }
    assert_eq!(fs::read_dir(&target).expect("a directory").count(), 0);
}

#[test]
fn only_what_is_gone_for_long_is_pruned() {
    let (dir, registry) = registry();
    let project = dir.path().join("project");
    let monoco = project.join(".monoco");
    let gone = Path::new("/no/such/project");
    let forgotten = |expected: &[&Path]| {
        assert_eq!(registry.prune().expect("it is ours"), expected);
    };
    note(&registry, gone);
    make_old(&registry, DAY * 29);
    forgotten(&[]);
    check(&registry, &[gone]);
    make_old(&registry, DAY * 31);
    forgotten(&[gone]);
    check(&registry, &[]);

    fs::create_dir_all(&monoco).expect("a new directory");
    note(&registry, &project);
    make_old(&registry, DAY * 1000);
    forgotten(&[]);
    check(&registry, &[&project]);
    fs::remove_dir(&monoco).expect("it is empty");
    forgotten(&[&project]);
    check(&registry, &[]);

    // A file where the project was.
    fs::remove_dir(&project).expect("it is empty");
    fs::write(&project, "").expect("a new file");
    note(&registry, &project);
    make_old(&registry, DAY * 31);
    forgotten(&[&project]);

    let left = registry.path().join(".new-0");
    File::create(&left)
        .and_then(|file| file.set_modified(SystemTime::now() - DAY * 2))
        .expect("it is ours");
    forgotten(&[]);
    assert!(!left.exists(), "its writer died");
}

#[test]
fn many_who_note_at_once_lose_nothing() {
    let (_dir, registry) = registry();
    let path = |n: usize| PathBuf::from(format!("/p{n:02}"));
    std::thread::scope(|scope| {
        for first in 0..4 {
            let registry = &registry;
            scope.spawn(move || (0..20).for_each(|n| note(registry, path((first + n) % 20))));
        }
    });
    let all: Vec<_> = (0..20).map(path).collect();
    assert_eq!(registry.projects().expect("it can be read"), all);
    assert_eq!(entries(&registry).len(), 20);
}
