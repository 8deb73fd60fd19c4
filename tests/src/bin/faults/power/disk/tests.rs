use std::collections::BTreeSet;

use super::*;
use crate::chance::Chance;
use crate::power::states::{Coverage, each_state};

const RECORD: &str = ".monoco/sessions/a.json";

/// What may be left of the record after `ops` in a project whose record says
/// `before`: each text, or that there is none, or not even a directory for it.
#[track_caller]
fn check(before: Option<&str>, ops: &[Op], expected: &[&str]) {
    let record = before.map(|text| ("a.json".to_owned(), Tree::File(text.into())));
    let sessions = Tree::Folder(record.into_iter().collect());
    let run = Tree::Folder(BTreeMap::new());
    let base = BTreeMap::from([("sessions".to_owned(), sessions), ("run".to_owned(), run)]);
    check_disk(Disk::durable(Some(Tree::Folder(base))), ops, expected);
}

#[track_caller]
fn check_disk(mut disk: Disk, ops: &[Op], expected: &[&str]) {
    for op in ops {
        disk.apply(op).expect("it can be done");
    }
    let mut left = BTreeSet::new();
    let coverage = each_state(&disk, &mut Chance::of(1, "test", 0), |tree| {
        let sessions = tree.as_ref().and_then(|tree| tree.get("sessions"));
        left.insert(match sessions.map(|sessions| sessions.get("a.json")) {
            None => "no way".to_owned(),
            Some(Some(Tree::File(bytes))) => String::from_utf8_lossy(bytes).into_owned(),
            Some(_) => "none".to_owned(),
        });
        Ok(())
    });
    assert_eq!(coverage, Ok(Coverage::Whole));
    let expected = expected.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(left, expected);
}

fn write(text: &str) -> Vec<Op> {
    let path = || ".monoco/run/r".to_owned();
    let bytes = text.as_bytes().to_vec();
    let write = Op::Write {
        path: path(),
        at: Some(0),
        bytes,
    };
    vec![Op::File(path()), write]
}

fn sync(path: &str) -> Vec<Op> {
    vec![Op::Sync {
        path: path.to_owned(),
        covers: usize::MAX,
    }]
}

fn rename() -> Vec<Op> {
    vec![Op::Rename {
        from: ".monoco/run/r".to_owned(),
        to: RECORD.to_owned(),
    }]
}

const TORN: [&str; 4] = ["", "ne", "\0\0\0\0", "ne\0\0"];

#[test]
fn a_durable_write_leaves_the_new_record() {
    let ops = [
        write("new!"),
        sync(".monoco/run/r"),
        rename(),
        sync(".monoco/sessions"),
    ];
    check(Some("old"), &ops.concat(), &["new!"]);
    check(None, &ops.concat(), &["new!"]);
}

#[test]
fn without_its_directory_synced_old_or_new_is_left() {
    let ops = [write("new!"), sync(".monoco/run/r"), rename()].concat();
    check(Some("old"), &ops, &["old", "new!"]);
    check(None, &ops, &["none", "new!"]);
}

#[test]
fn without_its_file_synced_the_record_is_torn() {
    let ops = [write("new!"), rename(), sync(".monoco/sessions")].concat();
    // What stands between nothing and the whole shows as NULs behind a beginning,
    // and as the end behind nothing, which has no length there.
    let expected = [&TORN[..], &["new!", "w!"]].concat();
    check(Some("old"), &ops, &expected);
}

#[test]
fn a_file_that_is_overwritten_holds_old_and_new() {
    let path = RECORD.to_owned();
    let over = Op::Write {
        path,
        at: Some(0),
        bytes: b"new!".to_vec(),
    };
    let expected = [&TORN[1..], &["old!", "new!", "ned!", "olw!"]].concat();
    check(Some("old!"), &[over], &expected);
}

#[test]
fn a_name_holds_any_of_what_it_held() {
    let again = [write("2nd"), sync(".monoco/run/r"), rename()].concat();
    let ops = [
        write("1st"),
        sync(".monoco/run/r"),
        rename(),
        again,
        vec![Op::Remove(RECORD.to_owned())],
    ];
    check(Some("old"), &ops.concat(), &["old", "1st", "2nd", "none"]);
    let ops = [ops.concat(), sync(".monoco/sessions")].concat();
    check(Some("old"), &ops, &["none"]);
}

#[test]
fn a_sync_that_began_earlier_does_not_cover_a_rename() {
    let ops = [write("new!"), sync(".monoco/run/r"), rename()].concat();
    let early = Op::Sync {
        path: ".monoco/sessions".to_owned(),
        covers: ops.len() - 1,
    };
    check(Some("old"), &[ops, vec![early]].concat(), &["old", "new!"]);
}

#[test]
fn a_new_directory_is_lost_with_all_that_is_in_it() {
    let folders = [".monoco", ".monoco/sessions", ".monoco/run"];
    let folders = folders.map(|path| Op::Folder(path.to_owned()));
    let ops = [
        folders.to_vec(),
        write("new!"),
        sync(".monoco/run/r"),
        rename(),
        sync(".monoco/sessions"),
    ];
    let ops = ops.concat();
    check_disk(Disk::durable(None), &ops, &["no way", "new!"]);
    let half = [&ops[..], &sync("")].concat();
    check_disk(Disk::durable(None), &half, &["no way", "new!"]);
    let whole = [half, sync(".monoco")].concat();
    check_disk(Disk::durable(None), &whole, &["new!"]);
}

#[test]
fn both_names_of_a_moved_file_may_be_left_or_none() {
    let mut disk = Disk::durable(Some(Tree::Folder(BTreeMap::new())));
    let folder = |path: &str| Op::Folder(path.to_owned());
    let before = [
        folder(".monoco/run"),
        folder(".monoco/run/new"),
        Op::File(".monoco/run/new/lease".to_owned()),
    ];
    let moved = Op::Rename {
        from: ".monoco/run/new".to_owned(),
        to: ".monoco/run/a".to_owned(),
    };
    let syncs = [
        sync(".monoco"),
        sync(".monoco/run"),
        sync(".monoco/run/new"),
    ];
    for op in before.iter().chain(&syncs.concat()).chain([&moved]) {
        disk.apply(op).expect("it can be done");
    }
    let mut left = BTreeSet::new();
    let coverage = each_state(&disk, &mut Chance::of(1, "test", 0), |tree| {
        let tree = tree.ok_or("it was durable")?;
        let has = |path| tree.get(path).is_some();
        left.insert((has("run/new/lease"), has("run/a/lease")));
        Ok(())
    });
    assert_eq!(coverage, Ok(Coverage::Whole));
    let all = [(false, false), (false, true), (true, false), (true, true)];
    assert_eq!(left, BTreeSet::from(all));
}
