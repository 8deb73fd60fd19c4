//! Engines: agents whose programs Monoco knows. The programs here are stubs that tell
//! what they were given.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use monoco_tests::{Project, Ran, finish, wait_until};
use serde_json::Value;

/// A project with programs of its own in `PATH`.
struct Stubs {
    project: Project,
    bin: PathBuf,
}

/// Prints its arguments, one per line in brackets, and what it reads.
const TELLS: &str = "for word; do printf '[%s]\\n' \"$word\"; done; cat; echo end";

impl Stubs {
    fn new() -> Self {
        let project = Project::new();
        let bin = project.home().join("bin");
        std::fs::create_dir(&bin).expect("a new directory");
        Self { project, bin }
    }

    /// The same with `claude`, which tells what it was given.
    fn with_claude() -> Self {
        let stubs = Self::new();
        stubs.program("claude", TELLS);
        stubs
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.bin.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("room");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, executable).expect("it is ours");
    }

    /// Writes a file of the user's configuration.
    fn configure(&self, name: &str, text: &str) {
        let dir = self.project.home().join(".config/monoco");
        std::fs::create_dir_all(&dir).expect("a new directory");
        std::fs::write(dir.join(name), text).expect("room");
    }

    /// Writes a file of the project.
    fn write(&self, name: &str, text: &str) {
        let path = self.project.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        std::fs::write(path, text).expect("room");
    }

    fn monoco(&self, args: &[&str]) -> Command {
        let mut command = self.project.monoco(args);
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()));
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        finish(self.monoco(args).spawn().expect("monoco can be executed"))
    }

    /// What `run --dry-run --json` says.
    #[track_caller]
    fn plan(&self, args: &[&str]) -> Value {
        let args = [&["run", "--dry-run", "--json"], args].concat();
        self.run(&args).ok().json()
    }
}

/// The words that a stub was given.
fn given(output: &str) -> Vec<&str> {
    let words = output.split_inclusive("]\n");
    let words = words.filter_map(|word| word.strip_prefix('[')?.strip_suffix("]\n"));
    words.collect()
}

#[test]
fn an_engine_is_told_a_prompt() {
    let stubs = Stubs::with_claude();
    let prompt = ["-p", "--verbose: $(id) *\n'- [x]"];
    let args = [&["run", "-e", "claude"], &prompt[..]].concat();
    let ran = stubs.run(&args).ok();
    let out = ran.out();
    let words = given(&out);
    let id = words[5];
    assert_eq!(
        words[..8],
        [
            "-p",
            "--output-format",
            "stream-json",
            "--verbose",
            "--session-id",
            id,
            "--",
            words[7]
        ]
    );
    assert!(words[7].ends_with("--verbose: $(id) *\n'- [x]"), "{out}");
    assert!(out.ends_with("end\n"), "it reads nothing: {out}");
    let session = stubs.project.ids(&["-a"]).remove(0);
    let record = stubs.project.record(&session);
    assert_eq!(record["engine"], "claude");
    assert_eq!(record["conversation_id"], id);
    assert_eq!(record["role_name"], "Default");
    assert_eq!(record["issue_id"], "NEW_TASK");
    assert_eq!(ran.err(), "");
}

#[test]
fn a_prompt_is_role_issue_goal_and_words() {
    let stubs = Stubs::with_claude();
    stubs.write(
        ".monoco/roles.yaml",
        "name: Tester\ndescription: d\ntrigger: t\ngoal: Green.\nsystem_prompt: You test.\n\
         engine: claude\n",
    );
    stubs.write(
        "Issues/Features/open/FEAT-0101-add-x.md",
        "---\nid: FEAT-0101\ntype: feature\nstatus: open\ntitle: Add x\n---\n\n## FEAT-0101: Add x\n",
    );
    let whole = "You test.\n\nIssue FEAT-0101: Add x\n\
                 File: Issues/Features/open/FEAT-0101-add-x.md\n\nGreen.\n\nGo on";
    let args = [
        "-e",
        "claude",
        "-r",
        "tester",
        "-i",
        "FEAT-0101",
        "Go",
        "on",
    ];
    let plan = stubs.plan(&args);
    assert_eq!(plan["prompt"], whole);
    assert_eq!(plan["role_name"], "Tester");
    let by_role = stubs.plan(&["-r", "Tester", "-i", "FEAT-0101"]);
    assert_eq!(by_role["engine"], "claude");
    assert_eq!(by_role["prompt"], whole.trim_end_matches("\n\nGo on"));
    let session = stubs.run(&[&["run", "-d"], &args[..]].concat()).ok();
    let record = stubs.project.record(session.out().trim());
    assert_eq!(record["issue_id"], "FEAT-0101");
    assert_eq!(record["role_name"], "Tester");
    assert_eq!(session.err(), "");
}

#[test]
fn an_issue_with_nothing_to_do_is_warned_of() {
    let stubs = Stubs::with_claude();
    stubs.write(
        "Issues/Features/closed/FEAT-0102-y.md",
        "---\nid: FEAT-0102\nstatus: closed\ntitle: Y\n---\n",
    );
    for (issue, words) in [("FEAT-0102", "is closed"), ("FEAT-0199", "has no file")] {
        let args = ["run", "-e", "claude", "-i", issue, "--dry-run", "x"];
        stubs.run(&args).complains(0, &["warning", issue, words]);
    }
    let args = ["run", "-i", "FEAT-0199", "--", "true"];
    assert_eq!(stubs.run(&args).ok().err(), "");
}

#[test]
fn what_is_added_is_shown_and_nothing_else_is() {
    let stubs = Stubs::with_claude();
    stubs.configure("config.toml", "[engines.claude]\nargs = [\"--skip it\"]\n");
    let args = ["run", "-e", "claude", "x", "--", "--model", "opus"];
    let ran = stubs.run(&args).ok();
    let (out, err) = (ran.out(), ran.err());
    let words = given(&out);
    assert_eq!(words[6..10], ["--skip it", "--model", "opus", "--"]);
    assert_eq!(err.lines().count(), 2, "{err}");
    for words in [
        "claude is also given '--skip it' (",
        "config.toml:2:1)",
        "claude is also given --model opus (command line)",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }
    let plan = stubs.plan(&args[1..]);
    assert_eq!(plan["added"][0]["args"], serde_json::json!(["--skip it"]));
    assert_eq!(plan["added"][1]["by"], "command line");
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let stubs = Stubs::with_claude();
    let args = ["run", "--dry-run", "-p", "-a\nb", "-e", "codex", "-i", "X"];
    let ran = stubs.run(&args).ok();
    let out = ran.out();
    for line in [
        "Directory    ",
        "Issue        X",
        "Engine       codex",
        "  exec",
        "Issue X\\n\\n",
        "\\n\\n-a\\nb'\nPrompt\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(!out.contains("Conversation"), "codex makes its own: {out}");
    assert!(!stubs.project.path().join(".monoco").exists());
    let plan = stubs.plan(&["--", "sh", "-c", "echo hello"]);
    assert_eq!(plan["argv"], serde_json::json!(["sh", "-c", "echo hello"]));
    assert_eq!(plan["engine"], Value::Null);
    assert!(!stubs.project.path().join(".monoco").exists());
}

#[test]
fn an_engine_reads_only_what_it_is_asked_to() {
    let stubs = Stubs::with_claude();
    for (options, expected) in [(&[][..], "end\n"), (&["--stdin"], "piped\nend\n")] {
        let args = [&["run", "-e", "claude"], options, &["x"]].concat();
        let mut command = stubs.monoco(&args);
        let mut echo = Command::new("echo")
            .arg("piped")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("echo is there");
        command.stdin(echo.stdout.take().expect("a pipe"));
        let ran = finish(command.spawn().expect("monoco can be executed")).ok();
        echo.wait().expect("it ends");
        assert!(ran.out().ends_with(&format!("]\n{expected}")), "{ran}");
    }
}

#[test]
fn a_users_file_adds_and_replaces_engines() {
    let stubs = Stubs::new();
    stubs.program("mine", TELLS);
    stubs.configure(
        "engines.toml",
        "[mine]\nprogram = 'mine'\nnew = ['{args}', 'say={prompt}']\nenv = { WHO = 'me' }\n\
         [claude]\nprogram = 'mine'\n",
    );
    let ran = stubs
        .run(&["run", "-e", "mine", "-r", "Planner", "hi"])
        .ok();
    assert!(given(&ran.out())[0].ends_with("\n\nhi"), "{ran}");
    let session = stubs.project.ids(&["-a"]).remove(0);
    assert_eq!(stubs.project.record(&session)["engine"], "mine");
    let plan = stubs.plan(&["-e", "claude", "hi"]);
    assert_eq!(plan["argv"][0], "mine");
    assert_eq!(plan["argv"][1], "-p");
}

#[test]
fn a_projects_file_counts_once_the_project_is_trusted() {
    let stubs = Stubs::with_claude();
    stubs.write(".monoco/engines.toml", "[claude]\nprogram = 'evil'\n");
    let args = ["run", "-e", "claude", "--dry-run", "x"];
    let ran = stubs
        .run(&args)
        .complains(0, &["engines.toml is ignored", "trust.projects"]);
    assert!(ran.out().contains("\n  claude\n"), "{ran}");
    let project = stubs.project.path().display();
    stubs.configure("config.toml", &format!("trust.projects = ['{project}']"));
    let ran = stubs.run(&args).ok();
    assert!(
        ran.out().contains("\n  evil\n") && ran.err().is_empty(),
        "{ran}"
    );
}

#[test]
fn a_damaged_file_is_named_with_the_place() {
    let stubs = Stubs::with_claude();
    stubs.configure("engines.toml", "[claude]\nprogramm = 'x'\n");
    for args in [&["run", "-e", "claude", "x"][..], &["engines"]] {
        let why = ["engines.toml:2:1", "unknown field `programm`"];
        stubs.run(args).fails_with(&why);
    }
    stubs.run(&["run", "--", "true"]).ok();
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_recorded() {
    let stubs = Stubs::with_claude();
    let half = "x".repeat(100_000);
    for (args, code, why) in [
        (&["-e", "cluade", "x"][..], 125, "did you mean `claude`?"),
        (
            &["-e", "claude", "-r", "Enginer", "x"],
            125,
            "did you mean `Engineer`?",
        ),
        (&["-p", "x"], 2, "give a command, or an engine"),
        (&["-r", "Engineer"], 2, "give a command, or an engine"),
        (&["-e", "claude", &half, &half], 125, "put it into a file"),
    ] {
        let args = [&["run"], args].concat();
        stubs.run(&args).complains(code, &[why]);
    }
    assert!(!stubs.project.path().join(".monoco").exists());
    stubs
        .run(&["run", "-e", "codex", "x"])
        .complains(127, &["codex"]);
}

#[test]
fn engines_are_listed_with_what_they_lack() {
    let stubs = Stubs::new();
    stubs.program("claude", "echo '2.1.0 (Claude Code)'");
    stubs.program("codex", "echo codex-cli 0.169.0");
    stubs.program("qwen", "exit 1");
    let mut command = stubs.monoco(&["engines", "--json"]);
    command.env("ANTHROPIC_API_KEY", "k");
    for name in ["OPENAI_API_KEY", "CODEX_API_KEY"] {
        command.env_remove(name);
    }
    let ran = finish(command.spawn().expect("monoco can be executed")).ok();
    let listed = ran.json();
    let engine = |name: &str| {
        let engines = listed.as_array().expect("an array").iter();
        let mut found = engines.filter(|engine| engine["name"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("{name} is missing"))
            .clone()
    };
    let claude = engine("claude");
    assert_eq!(claude["version"], "2.1.0");
    assert_eq!(claude["ready"], true);
    assert_eq!(
        claude["path"],
        stubs.bin.join("claude").display().to_string()
    );
    assert_eq!(claude["sources"], serde_json::json!(["built in"]));
    let codex = engine("codex");
    assert_eq!(codex["version"], "0.169.0");
    let problem = codex["problem"].as_str().expect("words");
    assert!(problem.contains("OPENAI_API_KEY"), "{problem}");
    assert_eq!(engine("qwen")["problem"], "told no version, exited 1");
    assert_eq!(engine("amp")["problem"], "not found in PATH");
    let table = stubs.run(&["engines"]).ok();
    let line = table
        .out()
        .lines()
        .find(|line| line.starts_with("codex"))
        .map(str::to_owned);
    let line = line.expect("it is listed");
    assert!(
        line.contains("0.169.0") && line.contains("built in"),
        "{line}"
    );
}

#[test]
fn a_conversations_id_is_learned() {
    let stubs = Stubs::new();
    stubs.program(
        "codex",
        r#"echo '{"type":"thread.started","thread_id":"0190-ab"}'; echo '{"type":"turn.completed"}'"#,
    );
    let id = stubs.run(&["run", "-d", "-e", "codex", "x"]).ok().out();
    let id = id.trim();
    wait_until("it has ended", || stubs.project.status(id) == "completed");
    let record = stubs.project.record(id);
    assert_eq!(record["conversation_id"], "0190-ab");
    assert_eq!(record["verdict"]["kind"], "succeeded");
}
