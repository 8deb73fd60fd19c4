//! Names that are no ids, everywhere that a name is taken; and texts that a terminal
//! would obey, everywhere that a text is shown.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use monoco_tests::{Project, RawServer};
use serde_json::json;
use session_core::{SessionId, SessionManager};

use super::corpus;
use super::looks::{agreed, at_once};
use super::terminal;
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::tree::Tree;

/// Names that no session has, as far as they can be those of files.
const NAMES: [&[u8]; 26] = [
    b"ABC",
    b"Abc",
    b"abc ",
    b" abc",
    b"abc.",
    b"abc.json",
    b"..",
    b"...",
    b"-",
    b"-abc",
    b"_abc",
    b"--help",
    b"-rf",
    b"a b",
    b"a\nb",
    b"a\tb",
    b"a%2fb",
    b"%2e%2e",
    b"a\\b",
    b"a:b",
    b"\xff\xfe",
    b"a\xc3",
    b"\xc3\xa4",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"a\x7f",
];
/// Names that no file has, for whoever gives one.
const WORDS: [&str; 12] = [
    "../canary",
    "../../canary",
    "../sessions/abc",
    "./abc",
    "abc/../abc",
    "/etc/passwd",
    "sessions/abc",
    "abc/",
    "abc.json",
    "..",
    ".",
    "/",
];
/// The same in URLs, in several spellings.
const PATHS: [&str; 16] = [
    "..%2fcanary",
    "..%2f..%2fcanary",
    "%2e%2e%2fcanary",
    "%2e%2e/canary",
    "../canary",
    "%252e%252e%252fcanary",
    "%2fetc%2fpasswd",
    "abc%00",
    "%00",
    "abc%0a",
    "%ff",
    "%c0%ae%c0%ae",
    "ABC",
    "abc.json",
    "abc%2f",
    "%",
];

/// Names of files, arguments and URLs that are no ids: listed where they stand, refused
/// where they are given; no file is touched.
pub(super) fn check_names(campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    let project = Project::in_subdirectory("project");
    SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    fs::write(
        project.path().join("../canary.json"),
        corpus::completed("canary"),
    )
    .expect("writable");
    fs::write(
        project.path().join(".monoco/canary.json"),
        corpus::completed("canary"),
    )
    .expect("writable");
    // Its twins differ from it by their case only.
    fs::write(project.record_path("abc"), corpus::completed("abc")).expect("writable");
    let mut names: Vec<OsString> = NAMES
        .map(|name| OsStr::from_bytes(name).to_owned())
        .to_vec();
    names.extend((0..30).map(|_| random_name(chance)));
    names.push("x".repeat(250).into());
    names.push("x".repeat(65).into());
    for name in &names {
        plant(&project, name);
    }
    let server = RawServer::start(&project, &[]);
    let verdicts = agreed(&project, &server, campaign)?;
    let healthy: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict)| verdict.is_none())
        .collect();
    if healthy.len() != 1
        || !verdicts
            .values()
            .flatten()
            .all(|why| why == "its name is not a session id")
    {
        return Err(format!("they were told to be {verdicts:?}"));
    }
    campaign.add("names that are no ids", verdicts.len() as u64 - 1);
    let top = project.path().join("..");
    let before = Tree::of(&top);
    for name in &names {
        refuse(&project, name, campaign)?;
    }
    for name in WORDS {
        refuse(&project, OsStr::new(name), campaign)?;
    }
    let encoded = names.iter().map(|name| encoded(name));
    for name in encoded.chain(PATHS.map(str::to_owned)) {
        for rest in ["", "/log"] {
            let path = format!("/api/v1/sessions/{name}{rest}");
            let answer = server.get(&path);
            if !matches!(answer.status, 400 | 404) {
                return Err(format!("{path}: {answer}"));
            }
        }
        let delete = format!("DELETE /api/v1/sessions/{name}?force=true");
        let answer = server.request(&delete, &[&server.bearer()], "");
        if !matches!(answer.status, 400 | 404 | 405) {
            return Err(format!("{delete}: {answer}"));
        }
        campaign.count("names refused over HTTP");
    }
    terminal::check(&project, Some("abc"), campaign)?;
    before.check_same(&Tree::of(&top))
}

/// Something of this name wherever there are names of sessions.
fn plant(project: &Project, name: &OsStr) {
    let base = project.path().join(".monoco");
    let with = |end: &str| [name.as_bytes(), end.as_bytes()].concat();
    let file = |folder: &str, name: Vec<u8>| base.join(folder).join(OsString::from_vec(name));
    // Names may be too long with their end, or may be there already.
    let _ = fs::write(file("sessions", with(".json")), corpus::completed("abc"));
    let _ = fs::write(file("logs", with(".log")), "a log\n");
    let _ = fs::create_dir(file("run", with("")));
}

/// No command takes the name for a session's.
fn refuse(project: &Project, name: &OsStr, campaign: &mut Campaign) -> Result<(), String> {
    let verbs: [&[&str]; 5] = [&["show"], &["logs"], &["stop"], &["rm", "-f"], &["wait"]];
    for verb in verbs {
        let mut args: Vec<&OsStr> = verb.iter().map(OsStr::new).collect();
        args.extend([OsStr::new("--"), name]);
        let ran = at_once(project, &args, campaign)?;
        if ran.code == 0 || !ran.stdout.is_empty() {
            return Err(format!("{args:?}: {ran}"));
        }
    }
    campaign.count("names refused");
    Ok(())
}

fn random_name(chance: &mut Chance) -> OsString {
    loop {
        let len = 1 + chance.below(12);
        let bytes = (0..len).map(|_| match chance.below(3) {
            0 => *chance.pick(b"abcABC-_. %"),
            1 => u8::try_from(128 + chance.below(128)).expect("a byte"),
            _ => u8::try_from(1 + chance.below(127)).expect("a byte"),
        });
        let name: Vec<u8> = bytes.filter(|byte| *byte != b'/').collect();
        let text = std::str::from_utf8(&name).unwrap_or_default();
        // What could be meant by a prefix is no wrong name, and hidden ones are not told.
        let could_be_meant = "abc".starts_with(text) && std::str::from_utf8(&name).is_ok();
        let is_hidden = name.first() == Some(&b'.');
        if !could_be_meant && !is_hidden && SessionId::parse(text).is_err() {
            return OsString::from_vec(name);
        }
    }
}

fn encoded(name: &OsStr) -> String {
    name.as_bytes()
        .iter()
        .map(|byte| format!("%{byte:02x}"))
        .collect()
}

/// What a terminal obeys, or what misleads whoever reads.
const CODES: [&str; 12] = [
    "\u{1b}[2J",
    "\u{1b}]0;title\u{7}",
    "\u{1b}[6n",
    "\u{1b}P1$r\u{1b}\\",
    "\u{9b}2J",
    "\u{9d}0;title\u{9c}",
    "\u{8}\u{8}\u{8}",
    "\r",
    "\n\n",
    "\u{7f}",
    "\u{e}",
    "\u{1b}c",
];

/// Texts with what a terminal obeys in every field that is free: shown, and not obeyed.
pub(super) fn check_texts(campaign: &mut Campaign, chance: &mut Chance) -> Result<(), String> {
    let project = Project::new();
    SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    let mut text = || {
        let mut text = "text".to_owned();
        for _ in 0..1 + chance.below(4) {
            text.push_str(chance.pick::<&str>(&CODES));
        }
        text
    };
    let outcomes = [
        json!({"kind": "stopped", "by": text()}),
        json!({"kind": "spawn_failed", "error": text()}),
        json!({"kind": text()}),
    ];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let id = format!("s{n}");
        let status = ["terminated", "failed", "completed"][n];
        let record = json!({
            "id": id, "issue_id": text(), "role_name": text(), "status": status,
            "branch_name": text(), "pid": null, "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z", "command": [text(), text()], "cwd": text(),
            "engine": text(), "name": text(), "labels": {text(): text()}, "outcome": outcome,
            text(): {text(): text()},
        });
        fs::write(project.record_path(&id), record.to_string()).expect("writable");
        let log: Vec<_> = (0..20).map(|_| text()).collect();
        fs::write(project.log_path(&id), log.join("\n")).expect("writable");
    }
    let odd = format!("{}.json", text().replace('/', ""));
    fs::write(project.path().join(".monoco/sessions").join(odd), "{").expect("writable");
    for id in ["s0", "s1", "s2"] {
        terminal::check(&project, Some(id), campaign)?;
    }
    for args in [
        &["ps", "-a"][..],
        &["doctor"],
        &["show", "s2"],
        &["stop", "s2"],
    ] {
        at_once(&project, args, campaign)?;
    }
    campaign.count("texts shown");
    Ok(())
}
