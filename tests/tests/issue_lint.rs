//! `monoco issue lint` on the ticket, on a folder in which each rule is broken once,
//! and on what else it may be given.

use std::path::{Path, PathBuf};

use monoco_tests::Project;
use serde_json::{Value, json};

/// The ticket that all this began with.
const TICKET: &str = include_str!("../issues/FEAT-0138.md");

/// Puts `text` into the project.
fn write(project: &Project, path: &str, text: &str) -> PathBuf {
    let path = project.path().join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
    std::fs::write(&path, text).expect("room");
    path
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("room");
    for entry in std::fs::read_dir(from).expect("it is kept there") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("room");
        }
    }
}

/// A project in which every rule is broken in a file that is called after it.
fn broken() -> Project {
    let project = Project::new();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("issues/broken");
    copy(&kept, project.path());
    project
}

/// The codes of what was found, by the name of the file.
fn found(published: &Value) -> Vec<(String, Vec<String>)> {
    let files = published.as_array().expect("an array");
    let of_file = |file: &Value| {
        let uri = file["uri"].as_str().expect("a text");
        let name = uri.rsplit('/').next().expect("a name").to_owned();
        let diagnostics = file["diagnostics"].as_array().expect("an array");
        let code = |diagnostic: &Value| diagnostic["code"].as_str().expect("a text").to_owned();
        (name, diagnostics.iter().map(code).collect())
    };
    files.iter().map(of_file).collect()
}

#[test]
fn the_ticket_passes_alone_and_in_its_place() {
    let project = Project::new();
    let alone = write(&project, "FEAT-0138.md", TICKET);
    let ran = project.run(&["issue", "lint", "FEAT-0138.md"]).ok();
    insta::assert_snapshot!(ran.out(), @"FEAT-0138.md:1:1: note[unchecked]: outside an Issues folder: whether its references and files exist is unchecked");
    assert_eq!(ran.err(), "monoco: no errors, no warnings in 1 issue\n");
    std::fs::remove_file(alone).expect("it is there");

    write(&project, "Issues/Features/closed/FEAT-0138-实现.md", TICKET);
    write(&project, "tests/daemon/test_session_api.py", "");
    for named in [
        vec![],
        vec!["FEAT-0138"],
        vec!["Issues/Features"],
        vec!["."],
    ] {
        let ran = project.run(&[vec!["issue", "lint"], named].concat()).ok();
        insta::allow_duplicates! {
            insta::assert_snapshot!(ran.out(), @"Issues/Features/closed/FEAT-0138-实现.md:18:3: warning[missing-file]: there is no file tests/features/test_session_manager_persistence.py in the project");
        }
        assert_eq!(ran.err(), "monoco: no errors, 1 warning in 1 issue\n");
    }
}

#[test]
fn every_rule_has_a_file_that_breaks_only_it() {
    let project = broken();
    let ran = project.run(&["issue", "lint", "--json"]).code(1);
    let found = found(&ran.json());
    for (name, codes) in &found {
        let rule = name
            .splitn(3, '-')
            .nth(2)
            .and_then(|rule| rule.strip_suffix(".md"));
        assert_eq!(Some(codes.join(" ").as_str()), rule, "{name}");
    }
    let help = project.run(&["issue", "lint", "--help"]).ok().out();
    let rules = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let codes = rules.map(|(code, _)| code.trim());
    let is_code =
        |code: &&str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    for code in codes.filter(is_code).filter(|code| *code != "unchecked") {
        let is_broken = found
            .iter()
            .any(|(_, codes)| codes.iter().any(|found| found == code));
        assert!(is_broken, "no file breaks {code}");
    }
}

#[test]
fn findings_are_told_with_line_and_column() {
    let project = broken();
    let ran = project.run(&["issue", "lint"]).code(1);
    let lines = ran.out().replace("Issues/Features/", "");
    insta::assert_snapshot!(lines);
    assert_eq!(ran.err(), "monoco: 21 errors, 7 warnings in 28 issues\n");
}

#[test]
fn json_is_what_editors_are_told() {
    let project = broken();
    let path = "Issues/Features/open/FEAT-0021-missing-file.md";
    let ran = project.run(&["issue", "lint", "--json", path]).ok();
    let uri = format!("file://{}/{path}", project.path().display());
    let expected = json!([{
        "uri": uri,
        "diagnostics": [{
            "range": {
                "start": {"line": 16, "character": 2},
                "end": {"line": 16, "character": 22},
            },
            "severity": 2,
            "code": "missing-file",
            "source": "monoco",
            "message": "there is no file src/持久化/not_there.py in the project",
        }],
    }]);
    assert_eq!(ran.json(), expected);
    write(&project, "src/持久化/not_there.py", "");
    let ran = project.run(&["issue", "lint", "--json", path]).ok();
    assert_eq!(ran.json(), json!([]));
}

#[test]
fn files_are_compared_with_all_of_the_folder() {
    let project = broken();
    let duplicate = "Issues/Features/backlog/FEAT-0006-duplicate-id.md";
    let ran = project.run(&["issue", "lint", duplicate]).code(1);
    assert!(
        ran.out()
            .contains("Features/open/FEAT-0006-duplicate-id.md"),
        "{}",
        ran.out()
    );
    // By its id, both are meant.
    let ran = project.run(&["issue", "lint", "FEAT-0006"]).code(1);
    assert_eq!(ran.out().lines().count(), 2, "{}", ran.out());

    let reference = "Issues/Features/open/FEAT-0020-unknown-reference.md";
    project.run(&["issue", "lint", reference]).code(1);
    let other = TICKET.replace("FEAT-0138", "FEAT-9999");
    write(
        &project,
        "Issues/Features/closed/FEAT-9999-found.md",
        &other,
    );
    project.run(&["issue", "lint", reference]).ok();
}

#[test]
fn what_is_no_issue_is_a_failure_and_no_finding() {
    let project = Project::new();
    let fails = |args: &[&str], words: &[&str]| {
        project.run(args).fails_with(words);
    };
    fails(&["issue", "lint"], &["no folder", "Issues"]);
    fails(
        &["issue", "lint", "FEAT-0001"],
        &["no such issue", "FEAT-0001"],
    );
    fails(
        &["issue", "lint", "no/such.md"],
        &["no such issue", "no/such.md"],
    );
    project.run(&["issue", "lint", "--no-such"]).code(2);
    project.run(&["issue"]).code(2);
    write(&project, "Issues/README.md", "# Nothing yet\n");
    let ran = project.run(&["issue", "lint", "--json"]).ok();
    assert_eq!(ran.json(), json!([]));
}

#[test]
fn hostile_files_are_findings() {
    let project = Project::new();
    let open = project.path().join("Issues/Features/open");
    std::fs::create_dir_all(open.join("FEAT-0007-folder.md")).expect("room");
    let write = |name: &str, bytes: &[u8]| std::fs::write(open.join(name), bytes).expect("room");
    write("FEAT-0001-empty.md", b"");
    write("FEAT-0002-large.md", &vec![b'-'; (1 << 20) + 1]);
    write(
        "FEAT-0003-\u{1b}[2J.md",
        b"---\nid: FEAT-0003\ntitle: \"\\e[2J\"\n---\n",
    );
    let mut bomb = "---\na0: &a0 [x, x]\n".to_owned();
    for n in 1..40 {
        bomb += &format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1);
    }
    write("FEAT-0004-bomb.md", (bomb + "---\n").as_bytes());
    std::os::unix::fs::symlink("/etc/passwd", open.join("FEAT-0005-link.md")).expect("a link");
    std::os::unix::fs::symlink("/", open.join("root")).expect("a link");
    let ran = project.run(&["issue", "lint"]).code(1);
    let out = ran.out();
    assert!(!out.contains('\u{1b}'), "{out}");
    for words in [
        "FEAT-0001-empty.md:1:1",
        "longer than",
        "FEAT-0003-^[[2J.md",
        "aliases",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    for words in ["FEAT-0005", "FEAT-0007", "passwd"] {
        assert!(!out.contains(words), "{words}: {out}");
    }
}
