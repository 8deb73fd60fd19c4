//! What the user, the project and the environment set: which of them wins, what a
//! project may not say, and that damage stops nobody who only looks or ends.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use monoco_tests::{Project, Ran, finish, monoco, skip, works};
use serde_json::{Value, json};

/// Writes the user's file.
fn user_sets(project: &Project, toml: &str) -> PathBuf {
    project.put(project.home().join(".config/monoco/config.toml"), toml)
}

/// Writes the project's file.
fn project_sets(project: &Project, toml: &str) -> PathBuf {
    project.put(".monoco/config.toml", toml)
}

/// Runs `monoco` with variables.
fn run_with(project: &Project, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = project.monoco(args);
    command.envs(variables.iter().copied());
    finish(command.spawn().expect("monoco can be executed"))
}

/// `key` as `monoco config --json` tells it.
fn setting(told: &Value, key: &str) -> Value {
    let settings = told["settings"].as_array().expect("an array");
    let found = settings.iter().find(|setting| setting["key"] == key);
    found
        .unwrap_or_else(|| panic!("no {key} in {told}"))
        .clone()
}

#[test]
fn without_any_file_everything_has_its_default() {
    let project = Project::new();
    let ran = project.run(&["config"]).ok();
    let out = ran.out();
    let rows: Vec<_> = out.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(rows.join("\n"), @"
    KEY                 SOURCE   VALUE
    run.role            default  Default
    run.timeout         not set
    run.grace           default  10s
    run.leave_children  default  false
    hooks.on_start      not set
    hooks.on_end        not set
    hooks.timeout       default  10s
    resume.prompt       default  Continue where you left off.
    serve.recover       default  false
    trust.projects      not set
    ");
    let user = project.home().join(".config/monoco/config.toml");
    let words = format!("monoco: there is no {}\n", user.display());
    assert_eq!(ran.err(), words, "there is no project either");
}

#[test]
fn each_value_is_told_with_its_source() {
    let project = Project::new();
    let user = user_sets(
        &project,
        "[run]\nrole = \"Mine\"\ntimeout = 90\ngrace = \"1s\"\n",
    );
    let own = project_sets(&project, "run.role = \"Theirs\"\nrun.timeout = \"2h\"\n");
    let variables = [("MONOCO_RUN_ROLE", "Variable")];
    let told = run_with(&project, &variables, &["config", "--json"]).ok();
    let told = told.json();
    let file =
        |path: &PathBuf, line| json!({"kind": "file", "path": path, "line": line, "column": 1});
    let variable = json!({"kind": "environment", "variable": "MONOCO_RUN_ROLE"});
    for (key, value, source) in [
        ("run.role", json!("Variable"), variable),
        ("run.grace", json!("1s"), file(&user, 4)),
        (
            "run.leave_children",
            json!(false),
            json!({"kind": "default"}),
        ),
    ] {
        let expected = json!({"key": key, "value": value, "source": source});
        assert_eq!(setting(&told, key), expected);
    }
    let timeout = setting(&told, "run.timeout");
    assert_eq!(
        (&timeout["value"], &timeout["source"]["line"]),
        (&json!("2h"), &json!(2))
    );
    let files = json!([{"path": user, "found": true}, {"path": own, "found": true}]);
    assert_eq!(told["files"], files);
    let table = run_with(&project, &variables, &["config"]).ok().out();
    let rows: Vec<_> = table.lines().take(4).collect();
    insta::assert_snapshot!(rows.join("\n"), @"
    KEY                 SOURCE                            VALUE
    run.role            MONOCO_RUN_ROLE                   Variable
    run.timeout         .monoco/config.toml:2:5           2h
    run.grace           ~/.config/monoco/config.toml:4:1  1s
    ");
}

#[test]
fn one_value_is_printed_alone() {
    let project = Project::new();
    user_sets(&project, "engines.claude.args = [\"--a\", \"b c\"]");
    let printed = |key: &str| project.run(&["config", key]).ok().out();
    assert_eq!(printed("run.grace"), "10s\n");
    assert_eq!(printed("engines.claude.args"), "[\"--a\",\"b c\"]\n");
    let ran = project.run(&["config", "run.timeout"]).code(1);
    assert_eq!((ran.out(), ran.err()), (String::new(), String::new()));
    let ran = project.run(&["config", "run.timout"]).code(2);
    assert!(ran.err().contains("did you mean `run.timeout`?"), "{ran}");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let project = Project::new();
    let check = |toml: &str, expected: &str| {
        let path = project_sets(&project, toml);
        let words = format!("{}{expected}", path.display());
        project.run(&["config"]).fails_with(&[&words]);
    };
    check(
        "[run]\ntimout = \"5m\"\n",
        ":2:1: unknown key `run.timout`; did you mean `run.timeout`?",
    );
    check(
        "[run]\ntimeout = true\n",
        ":2:11: `run.timeout`: expected a time",
    );
    check("run.role = \"\u{1b}[2J\n", ":1:");
    check(
        "trust.projects = [\"/\"]\n",
        ":1:7: `trust.projects` is only for the user's own file",
    );
    project_sets(&project, "");
    let ran = run_with(&project, &[("MONOCO_RUN_GRACE", "soon")], &["config"]);
    ran.fails_with(&["MONOCO_RUN_GRACE: expected a time"]);
}

#[test]
fn a_project_that_is_not_trusted_executes_nothing() {
    let project = Project::new();
    let path = project_sets(
        &project,
        "hooks.on_end = [[\"evil\"]]\nrun.role = \"Theirs\"\n",
    );
    let told = project.run(&["config", "--json"]).ok().json();
    assert_eq!(setting(&told, "hooks.on_end")["value"], Value::Null);
    assert_eq!(setting(&told, "run.role")["value"], "Theirs");
    let ignored = json!([{
        "key": "hooks.on_end",
        "value": [{"command": ["evil"]}],
        "place": {"path": path, "line": 1, "column": 7},
    }]);
    assert_eq!(told["ignored"], ignored);
    let table = project.run(&["config"]).ok().out();
    let row = "hooks.on_end        .monoco/config.toml:1:7 (not trusted: ignored)";
    assert!(table.contains(row), "{table}");
    let dir = project.path().display().to_string();
    let asked = project.run(&["config", "hooks.on_end"]);
    let asked = asked.complains(1, &["not trusted", "trust.projects", &dir]);
    assert_eq!(asked.out(), "");

    user_sets(&project, &format!("trust.projects = [\"{dir}\"]"));
    let trusted = project.run(&["config", "hooks.on_end"]).ok();
    assert_eq!(trusted.out(), "[{\"command\":[\"evil\"]}]\n");
    assert_eq!(trusted.err(), "");
}

#[test]
fn damage_stops_nobody_who_looks_or_ends() {
    let project = Project::new();
    let (id, _) = project.start_agent(&[], &["sleep"], 1);
    let other = project.start(&[], &["sleep", "600"]);
    user_sets(&project, "run.");
    project_sets(&project, "no such = key");
    for args in [
        &["ps", "--json"][..],
        &["show", &id],
        &["logs", &id],
        &["suspend", &id],
        &["stop", &id],
        &["kill", &other],
    ] {
        let ran = project.run(args).ok();
        assert_eq!(ran.err(), "", "{args:?}");
    }
    project.run(&["wait", &id]).code(143);
    project.run(&["wait", &other]).code(137);
    project.run(&["config"]).code(125);
}

#[test]
fn what_is_no_file_of_ours_is_refused_at_once() {
    let project = Project::new();
    let path = project_sets(&project, "");
    let replace = |with: &str| {
        let script = format!("rm -rf '{0}' && {with} '{0}'", path.display());
        project.run_shell(&script).ok();
    };
    replace("mkfifo");
    project
        .run(&["config"])
        .fails_with(&["config.toml", "not a regular file"]);
    replace("ln -s /etc/passwd");
    let ran = project
        .run(&["config"])
        .fails_with(&["config.toml", "symbolic link"]);
    assert!(!ran.err().contains("root:"), "{ran}");
    replace("head -c 70000 /dev/zero >");
    project
        .run(&["config"])
        .fails_with(&["config.toml", "larger than 64 KiB"]);
    replace("echo >");
    match std::os::unix::fs::chown(&path, Some(12345), None) {
        Ok(()) => drop(
            project
                .run(&["config"])
                .fails_with(&["another user (uid 12345)"]),
        ),
        Err(_) => skip("files of other users: only root can make them"),
    }
}

#[test]
fn a_home_that_cannot_be_entered_says_nothing() {
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    if !works(&[&nobody[..], &[monoco(), "--version"]].concat()) {
        return skip("another account: only root can become one, with setpriv");
    }
    let project = Project::new();
    user_sets(&project, "run.role = \"Roots\"");
    let ours_alone = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(project.home(), ours_alone).expect("it is ours");
    let mut command = Command::new(nobody[0]);
    command
        .args(&nobody[1..])
        .args([monoco(), "config", "run.role"]);
    let mut command = project.at_home(command);
    command.current_dir("/");
    let ran = finish(command.spawn().expect("setpriv works")).ok();
    assert_eq!((ran.out(), ran.err()), ("Default\n".into(), String::new()));
}

/// The blocks of a documentation page in one language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let after = page.split(opening.as_str()).skip(1);
    after
        .filter_map(|after| after.split("```").next())
        .collect()
}

#[test]
fn the_documentations_examples_run() {
    let page = include_str!("../../docs/configuration.md");
    let project = Project::new();
    project.put(".monoco/roles.yaml", blocks(page, "yaml")[0]);
    let shown = project.run(&["roles", "Translator"]).ok();
    assert_eq!(shown.err(), "");
    let examples = blocks(page, "toml");
    assert_eq!(examples.len(), 2);
    for toml in examples {
        user_sets(&project, toml);
        project.run(&["config"]).ok();
    }
    let scripts = blocks(page, "sh");
    assert_eq!(scripts.len(), 2);
    for script in scripts {
        let script = format!("set -e\nmonoco() {{ \"$monoco\" \"$@\"; }}\n{script}");
        project.run_shell(&script).ok();
    }
    let copied = project.path().join(".monoco/roles/reviewer.yaml");
    let roles = project.run(&["roles", "Reviewer"]).ok().out();
    assert!(
        roles.starts_with(&format!("# {}\n", copied.display())),
        "{roles}"
    );
}
