use super::engine::NoResume;
use super::*;

#[track_caller]
fn all(users: &str) -> Result<BTreeMap<String, Engine>, EnginesError> {
    let users = (Source::File("/u/engines.toml".into()), users.to_owned());
    merged(vec![(Source::BuiltIn, BUILT_IN.to_owned()), users])
}

fn engine(users: &str, name: &str) -> Engine {
    let mut all = all(users).expect("valid");
    all.remove(name).expect("it is there")
}

fn words(argv: &[std::ffi::OsString]) -> Vec<String> {
    let words = argv.iter().map(|word| word.to_string_lossy().into_owned());
    words.collect()
}

#[test]
fn those_that_come_with_monoco() {
    let all = all("").expect("valid");
    let names: Vec<_> = all.keys().map(String::as_str).collect();
    let expected = [
        "aider",
        "amp",
        "claude",
        "codex",
        "cursor-agent",
        "gemini",
        "goose",
        "kimi",
        "opencode",
        "qwen",
    ];
    assert_eq!(names, expected);
    for engine in all.values() {
        assert!(engine.added.is_none(), "{}", engine.name);
        assert_eq!(engine.sources, [Source::BuiltIn]);
    }
}

/// The commands that each engine begins and continues a conversation with.
#[test]
fn commands() {
    let mut table = String::new();
    for engine in all("").expect("valid").values() {
        let new = engine.new_command("-p: rompt", &["--extra".into()]);
        let given = new.conversation.as_deref();
        let new = words(&new.argv).join(" ");
        table += &given.map_or(new.clone(), |given| new.replace(given, "ID"));
        table += "\n";
        let resume = engine.resume_command("ID", "-p: rompt", &["--extra".into()]);
        table += &words(&resume.expect("all can").argv).join(" ");
        table += "\n";
    }
    insta::assert_snapshot!(table, @"
    aider --chat-history-file .aider.chat.history.ID.md --no-pretty --extra --message=-p: rompt
    aider --restore-chat-history --chat-history-file .aider.chat.history.ID.md --no-pretty --extra --message=-p: rompt
    amp --stream-json --extra --execute=-p: rompt
    amp threads continue ID --stream-json --extra --execute=-p: rompt
    claude -p --output-format stream-json --verbose --session-id ID --extra -- -p: rompt
    claude -p --output-format stream-json --verbose --resume ID --extra -- -p: rompt
    codex exec --json --skip-git-repo-check --extra -- -p: rompt
    codex exec --json --skip-git-repo-check --extra resume ID -- -p: rompt
    cursor-agent --print --output-format stream-json --extra -- -p: rompt
    cursor-agent --print --output-format stream-json --resume=ID --extra -- -p: rompt
    gemini --output-format stream-json --session-id ID --extra --prompt=-p: rompt
    gemini --output-format stream-json --resume ID --extra --prompt=-p: rompt
    goose run --output-format stream-json --name ID --extra --text=-p: rompt
    goose run --output-format stream-json --resume --name ID --extra --text=-p: rompt
    kimi --print --output-format stream-json --session ID --extra --prompt=-p: rompt
    kimi --print --output-format stream-json --session ID --extra --prompt=-p: rompt
    opencode run --format json --extra -- -p: rompt
    opencode run --format json --session ID --extra -- -p: rompt
    qwen --output-format stream-json --session-id ID --extra --prompt=-p: rompt
    qwen --output-format stream-json --resume ID --extra --prompt=-p: rompt
    ");
}

#[test]
fn an_id_that_is_given_is_a_new_one() {
    let claude = engine("", "claude");
    let [one, other] = [(); 2].map(|()| claude.new_command("p", &[]).conversation);
    assert!(one.as_ref().is_some_and(|id| id.len() == 36) && one != other);
    let goose = engine("", "goose").new_command("p", &[]).conversation;
    assert!(goose.is_some_and(|name| name.starts_with("monoco-")));
    assert_eq!(engine("", "codex").new_command("p", &[]).conversation, None);
}

#[test]
fn a_file_replaces_single_keys() {
    let mut claude = engine("[claude]\nprogram = '/opt/claude'", "claude");
    let file = Source::File("/u/engines.toml".into());
    assert_eq!(claude.sources, [Source::BuiltIn, file]);
    claude.added = Some(Added {
        args: vec!["--x y".to_owned()],
        by: "config.toml".to_owned(),
    });
    let argv = words(&claude.new_command("p", &["--extra".into()]).argv);
    assert_eq!(argv[..2], ["/opt/claude", "-p"]);
    assert_eq!(argv[argv.len() - 4..], ["--x y", "--extra", "--", "p"]);
}

#[test]
fn a_file_adds_engines() {
    let text = "[mine]\nprogram = 'mine'\nnew = ['{args}', '{prompt}']\nenv = { A = 'b' }\n";
    let mine = engine(text, "mine");
    let composed = mine.new_command("do it", &[]);
    assert_eq!(words(&composed.argv), ["mine", "do it"]);
    assert_eq!(composed.env, [("A".into(), "b".into())]);
    assert_eq!(composed.conversation, None);
    let error = mine
        .resume_command("c", "p", &[])
        .expect_err("nothing says how");
    assert!(matches!(error, NoResume::NotTold { .. }));
}

#[test]
fn the_last_file_wins() {
    let text = |program: &str| format!("[codex]\nprogram = '{program}'");
    let users = (Source::File("/u".into()), text("users"));
    let projects = (Source::File("/p".into()), text("projects"));
    let built_in = (Source::BuiltIn, BUILT_IN.to_owned());
    let all = merged(vec![built_in, users, projects]).expect("valid");
    assert_eq!(all["codex"].program, "projects");
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = all(text).expect_err(expected);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_is_damaged_is_named_with_its_place() {
    refused(
        "[claude]\nnew = [\n",
        "cannot use the engines in /u/engines.toml:2:8: unclosed array, expected `]`",
    );
    refused(
        "[claude]\nprogram = 'x'\n  resum = []\n",
        "cannot use the engines in /u/engines.toml:3:3: unknown field `resum`, expected one of `program`, `new`, `resume`, \
         `conversation`, `env`, `version`, `credentials`, `reading`, `unknown_conversation`",
    );
    refused(
        "[x]\nprogram = 'x'\nnew = ['{args}']\n",
        "cannot use the engines in /u/engines.toml:3:7: a template holds `{prompt}` once",
    );
    refused(
        "[x]\nconversation = 'given'\n",
        "cannot use the engines in /u/engines.toml:2:16: unknown variant `given`, expected one of `uuid`, `name`, \
         `learned`, `none`",
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (text, why) in [
        ("[x]\nnew = ['{args}', '{prompt}']", "it has no `program`"),
        ("[x]\nprogram = 'x'", "it has no `new`"),
        ("[claude]\nconversation = 'learned'", "is not given"),
        ("[codex]\nconversation = 'uuid'", "is given"),
        ("[codex]\nconversation = 'none'", "it has a `resume`"),
        (
            "[codex]\nresume = ['{args}', '{prompt}']",
            "`resume` must hold",
        ),
    ] {
        let error = all(text).expect_err(why).to_string();
        assert!(
            error.contains(why) && error.contains(" of /u/engines.toml: "),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_engine_has_a_nearest_one() {
    let engines = Engines {
        engines: all("").expect("valid"),
        warnings: Vec::new(),
    };
    let error = engines.get("cluade").expect_err("unknown").to_string();
    assert!(error.contains("did you mean `claude`?"), "{error}");
    assert!(engines.get("claude").is_ok());
}

#[test]
fn an_id_is_never_an_option_or_a_path() {
    let codex = engine("", "codex");
    for id in [
        "-c",
        "--x",
        "",
        "a b",
        "../x",
        "a/b",
        "a\n",
        "é",
        &"x".repeat(129),
    ] {
        let error = codex.resume_command(id, "p", &[]).expect_err(id);
        assert!(matches!(error, NoResume::NoId(_)));
    }
    for id in ["0190-ab", "ses_4f", "T-5928a90d", "2025:1.x"] {
        assert!(codex.resume_command(id, "p", &[]).is_ok(), "{id}");
    }
}

#[test]
fn a_conversation_that_is_not_known_is_recognised() {
    let claude = engine("", "claude");
    let says = r#"{"errors":["No conversation found with session ID: b7ef3982"]}"#;
    assert!(claude.knows_no_conversation(1, says));
    assert!(!claude.knows_no_conversation(0, says));
    assert!(!claude.knows_no_conversation(1, "API Error: 400"));
    assert!(
        !engine("", "amp").knows_no_conversation(1, says),
        "nothing says how"
    );
}
