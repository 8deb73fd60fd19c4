//! Records that were damaged by design: every cut of every golden record, a wrong byte
//! at every place, every key twice, every field with every type.

use monoco_tests::fuzz::seeds;
use serde_json::Value;

/// Stands for the id, which is that of the file in the end.
const ID: &str = "@@@@@@";
/// Bytes that no text holds, each wrong in another way, and one that no JSON holds.
const WRONG: [&[u8]; 6] = [
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\0",
];
/// What no field takes in the place of what it holds, or only some.
const VALUES: [&str; 22] = [
    "null",
    "true",
    "0",
    "1",
    "-1",
    "1.5",
    "1e400",
    "-0",
    "2147483648",
    "4294967296",
    "18446744073709551616",
    "\"\"",
    "\"x\"",
    "\"../x\"",
    "\"\\u0000\"",
    "\"\\u001b[2J\"",
    "\"\\ud800\"",
    "[]",
    "{}",
    "[[[]]]",
    "[null]",
    "{\"a\":{\"a\":1},\"a\":2}",
];
/// How deep nesting is tried.
const DEPTHS: [usize; 4] = [127, 1000, 100_000, 500_000];

/// What must be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Healthy,
    Damaged,
    /// It depends on the field; all agree all the same.
    Either,
}

/// One record to be.
#[derive(Debug)]
pub(super) struct Case {
    bytes: Vec<u8>,
    pub(super) expected: Expected,
}

impl Case {
    fn new(bytes: impl Into<Vec<u8>>, expected: Expected) -> Self {
        Self {
            bytes: bytes.into(),
            expected,
        }
    }

    /// The record's bytes in the place of the session `id`, six characters long.
    pub(super) fn bytes(&self, id: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(at) = bytes
            .windows(ID.len())
            .position(|found| found == ID.as_bytes())
        {
            bytes.splice(at..at + ID.len(), id.bytes());
        }
        bytes
    }
}

/// The golden records, with a place for the id.
pub(super) fn golden() -> Vec<String> {
    let seeds = seeds("record").into_iter();
    let texts = seeds.map(|seed| String::from_utf8(seed).expect("a record"));
    let golden = texts.map(|text| {
        let record: Value = serde_json::from_str(&text).expect("a record");
        let id = format!("\"id\": {}", record["id"]);
        text.replacen(&id, &format!("\"id\": \"{ID}\""), 1)
    });
    golden.collect()
}

/// The healthy ones.
pub(super) fn healthy() -> Vec<Case> {
    let cases = golden()
        .into_iter()
        .map(|text| Case::new(text, Expected::Healthy));
    cases.collect()
}

/// Those of sessions that have ended.
pub(super) fn ended() -> Vec<Case> {
    let has_ended = |text: &String| {
        let record: Value = serde_json::from_str(text).expect("a record");
        !matches!(
            record["status"].as_str(),
            Some("pending" | "running" | "suspended")
        )
    };
    let cases = golden().into_iter().filter(has_ended);
    cases
        .map(|text| Case::new(text, Expected::Healthy))
        .collect()
}

/// All of them, the like beside each other.
pub(super) fn all() -> Vec<Case> {
    let golden = golden();
    let mut cases = Vec::new();
    for text in &golden {
        cuts(text, &mut cases);
        wrong_bytes(text, &mut cases);
        twice(text, &mut cases);
        values(text, &mut cases);
        surroundings(text, &mut cases);
    }
    deep(&golden[0], &mut cases);
    large(golden.last().expect("there are some"), &mut cases);
    cases
}

fn cuts(text: &str, cases: &mut Vec<Case>) {
    let whole = text.trim_end().len();
    let cut = |len| {
        let expected = if len == whole {
            Expected::Healthy
        } else {
            Expected::Damaged
        };
        Case::new(&text.as_bytes()[..len], expected)
    };
    cases.extend((0..=whole).map(cut));
}

/// Also in fields that nobody knows, which nobody need read.
fn wrong_bytes(text: &str, cases: &mut Vec<Case>) {
    let text = with_member(text, "\"theirs\": {\"a\": [\"x\", {}]}");
    let places = 0..=text.trim_end().len();
    let insert = |(n, at): (usize, usize)| {
        let mut bytes = text.clone().into_bytes();
        bytes.splice(at..at, WRONG[n % WRONG.len()].iter().copied());
        Case::new(bytes, Expected::Damaged)
    };
    cases.extend(places.enumerate().map(insert));
}

/// `text` with one more field at its end.
fn with_member(text: &str, member: &str) -> String {
    let end = text.rfind('}').expect("an object");
    format!("{},\n  {member}\n}}\n", text[..end].trim_end())
}

fn twice(text: &str, cases: &mut Vec<Case>) {
    let text = &with_member(text, "\"theirs\": 1");
    let record: Value = serde_json::from_str(text).expect("a record");
    for (key, value) in record.as_object().expect("an object") {
        let escaped = format!("\\u{:04x}{}", u32::from(key.as_bytes()[0]), &key[1..]);
        for member in [
            format!("\"{key}\": {value}"),
            format!("\"{key}\": null"),
            format!("\"{key}\": \"other\""),
            format!("\"{escaped}\": {value}"),
        ] {
            cases.push(Case::new(with_member(text, &member), Expected::Damaged));
            let first = text.replacen('{', &format!("{{{member},"), 1);
            cases.push(Case::new(first, Expected::Damaged));
        }
        for (inner, value) in value.as_object().into_iter().flatten() {
            for value in [value, &Value::Null, &Value::from("other")] {
                let place = format!("\"{key}\": {{");
                let nested = text.replacen(&place, &format!("{place}\"{inner}\": {value},"), 1);
                cases.push(Case::new(nested, Expected::Damaged));
            }
        }
    }
}

fn values(text: &str, cases: &mut Vec<Case>) {
    let record: Value = serde_json::from_str(text).expect("a record");
    for key in record.as_object().expect("an object").keys() {
        for value in VALUES {
            let mut changed = record.clone();
            changed[key] = Value::from(ID);
            let mark = format!("\"{key}\":\"{ID}\"");
            // Values that are no JSON for everybody are put in as text.
            let changed = changed
                .to_string()
                .replacen(&mark, &format!("\"{key}\":{value}"), 1);
            cases.push(Case::new(changed, Expected::Either));
        }
    }
    for key in [
        "id",
        "issue_id",
        "role_name",
        "status",
        "branch_name",
        "created_at",
        "updated_at",
    ] {
        let missing = text.replacen(&format!("\"{key}\""), "\"their_own\"", 1);
        cases.push(Case::new(missing, Expected::Damaged));
    }
    let later = with_member(text, "\"theirs\": {\"x\": 1.50, \"x\": 2}");
    let later = later.replacen("\"schema\": 1", "\"schema\": 999", 1);
    cases.push(Case::new(later, Expected::Healthy));
}

fn surroundings(text: &str, cases: &mut Vec<Case>) {
    for (before, after) in [
        ("\u{feff}", ""),
        ("", "\0"),
        ("", "x"),
        ("", "{}"),
        ("", text),
        ("[", "]"),
        ("\u{b}", ""),
        ("", "\u{1a}"),
        ("//\n", ""),
        ("", ","),
    ] {
        cases.push(Case::new(
            format!("{before}{text}{after}"),
            Expected::Damaged,
        ));
    }
    cases.push(Case::new(
        format!(" \r\n\t{text} \r\n\t"),
        Expected::Healthy,
    ));
    cases.push(Case::new(text.replace(ID, "another"), Expected::Damaged));
    cases.push(Case::new(text.replace(ID, "@@@@@@ "), Expected::Damaged));
    let zeroes = vec![0; text.len()];
    cases.push(Case::new(zeroes, Expected::Damaged));
}

/// In every field, known or not, and in none.
fn deep(text: &str, cases: &mut Vec<Case>) {
    for depth in DEPTHS {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let closed = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let open = open.repeat(depth.min(200_000));
            for value in [closed, open] {
                for key in ["theirs", "labels", "outcome", "process", "command"] {
                    let member = format!("\"{key}\": {value}");
                    cases.push(Case::new(with_member(text, &member), Expected::Damaged));
                }
                cases.push(Case::new(value, Expected::Damaged));
            }
        }
    }
    let million = "[".repeat(1_000_000);
    cases.push(Case::new(million, Expected::Damaged));
    for key in ["process", "outcome"] {
        let deep = format!(
            "\"{key}\": {{\"theirs\": {}{}}}",
            "[".repeat(5000),
            "]".repeat(5000)
        );
        cases.push(Case::new(with_member(text, &deep), Expected::Damaged));
    }
}

fn large(text: &str, cases: &mut Vec<Case>) {
    let max = session_core::MAX_RECORD_LEN;
    let padded = |len: usize| format!("{text}{}", " ".repeat(len - text.len()));
    cases.push(Case::new(padded(max), Expected::Healthy));
    cases.push(Case::new(padded(max + 1), Expected::Damaged));
}

/// The record of a session that has ended.
pub(super) fn completed(id: &str) -> String {
    let golden = golden();
    let mut completed = golden
        .iter()
        .filter(|text| text.contains("\"kind\": \"exited\""));
    let text = completed.find(|text| text.contains("\"completed\""));
    text.expect("there is one of each status").replace(ID, id)
}
