use super::*;
use std::fs;
use tempfile::TempDir;

/// A user with a project.
struct World {
    dir: TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl World {
    fn new(user: &str, project: &str) -> Self {
        let dir = TempDir::new().expect("room");
        let world = Self {
            dir,
            variables: Vec::new(),
        };
        fs::create_dir_all(world.project().join(".monoco")).expect("room");
        fs::create_dir_all(world.path("config")).expect("room");
        world.write("config/config.toml", user);
        world.write("project/.monoco/config.toml", project);
        world
    }

    fn write(&self, name: &str, text: &str) {
        let text = text.replace("PROJECT", &self.project().display().to_string());
        fs::write(self.path(name), text).expect("room");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn project(&self) -> PathBuf {
        self.path("project")
    }

    fn load(&self) -> Result<Config, ConfigError> {
        let surroundings = Surroundings {
            config_dir: Some(self.path("config")),
            home: Some(self.dir.path().to_owned()),
            variable: |name: &str| {
                let found = self.variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            },
        };
        Config::load_in(&surroundings, Some(&self.project()))
    }

    fn config(&self) -> Config {
        self.load().expect("it is right")
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_anything_the_defaults_hold() {
    let config = World::new("", "").config();
    assert_eq!(config.run_role(), "Default");
    assert_eq!(config.run_timeout(), None);
    assert_eq!(config.run_grace(), 10 * SECOND);
    assert_eq!(config.resume_prompt(), "Continue where you left off.");
    assert!(!config.run_leave_children() && !config.serve_recover() && !config.trusts_project());
    assert!(config.hooks_on_start().is_empty() && config.engine_args("claude").is_empty());
    let all = config.settings();
    let is_default = |(_, setting): &(&str, Option<&Setting>)| {
        setting.is_none_or(|setting| setting.source == Source::Default)
    };
    assert!(all.iter().all(is_default));
}

#[test]
fn the_project_is_over_the_user_and_the_environment_over_both() {
    let mut world = World::new(
        "run.role = 'User'\nrun.timeout = '1h'\nrun.grace = 1\n",
        "run.role = 'Project'\nrun.timeout = '2h'\n",
    );
    world.variables = vec![("MONOCO_RUN_ROLE", "Variable"), ("MONOCO_RUN_TIMEOUT", "")];
    let config = world.config();
    assert_eq!(config.run_role(), "Variable");
    assert_eq!(config.run_timeout(), Some(7200 * SECOND));
    assert_eq!(config.run_grace(), SECOND);
    let source = |name| config.setting(name).map(|setting| setting.source.clone());
    let file = |name: &str, line, column| {
        Some(Source::File(Place {
            path: world.path(name),
            line,
            column,
        }))
    };
    let variable = "MONOCO_RUN_ROLE".to_owned();
    assert_eq!(source("run.role"), Some(Source::Environment { variable }));
    let project = "project/.monoco/config.toml";
    assert_eq!(source("run.timeout"), file(project, 2, 5));
    assert_eq!(source("run.grace"), file("config/config.toml", 3, 5));
    assert_eq!(source("hooks.timeout"), Some(Source::Default));
}

#[test]
fn a_hook_has_its_own_time_or_the_usual() {
    let world = World::new(
        "[hooks]\ntimeout = '3s'\n\
         on_end = [['a', 'b'], {command = ['c'], timeout = '1s'}]\n",
        "",
    );
    let hook = |command: &[&str], timeout| Hook {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        timeout,
    };
    let expected = [hook(&["a", "b"], 3 * SECOND), hook(&["c"], SECOND)];
    assert_eq!(world.config().hooks_on_end(), expected);
}

/// What a hostile project would like to be done.
const HOSTILE: &str = "run.role = 'Theirs'\nserve.recover = true\n\
    hooks.on_end = [['evil']]\nengines.claude.args = ['--evil']\n";

#[test]
fn what_is_executed_is_not_a_strangers_to_say() {
    let user = "engines.claude.args = ['--mine']";
    let config = World::new(user, HOSTILE).config();
    assert_eq!(config.run_role(), "Theirs");
    assert!(config.hooks_on_end().is_empty() && !config.serve_recover());
    assert_eq!(config.engine_args("claude"), ["--mine"]);
    let mut ignored: Vec<_> = config.ignored().map(|(name, ..)| name).collect();
    ignored.sort_unstable();
    let expected = ["engines.claude.args", "hooks.on_end", "serve.recover"];
    assert_eq!(ignored, expected);
}

#[test]
fn whoever_uses_what_is_ignored_is_warned() {
    let config = World::new("", HOSTILE).config();
    let warned = |name| config.warnings(name).len();
    assert_eq!((warned("hooks"), warned("hooks.on_end")), (1, 1));
    assert_eq!((warned("engines.claude"), warned("engines.codex")), (1, 0));
    assert_eq!((warned("hook"), warned("run")), (0, 0));
    let words = &config.warnings("hooks")[0];
    assert!(words.contains("config.toml:3:7 is ignored") && words.contains("trust.projects"));
}

#[test]
fn a_trusted_project_may_say_what_is_executed() {
    for listed in ["PROJECT", "~/project", "PROJECT/../project/"] {
        let world = World::new(&format!("trust.projects = ['{listed}']"), HOSTILE);
        let config = world.config();
        assert!(
            config.trusts_project() && config.serve_recover(),
            "{listed}"
        );
        assert_eq!(config.hooks_on_end().len(), 1);
        assert_eq!(config.engine_args("claude"), ["--evil"]);
        assert_eq!(config.ignored().count(), 0);
    }
}

#[test]
fn trust_is_in_a_project_not_in_its_neighbours() {
    for listed in ["/", "PROJECT/below", "PROJECTS", "~", "~/", "/elsewhere"] {
        let world = World::new(&format!("trust.projects = ['{listed}']"), HOSTILE);
        let config = world.config();
        assert!(!config.trusts_project(), "{listed}");
        assert_eq!(config.ignored().count(), 3);
    }
}

#[test]
fn a_link_to_a_trusted_place_is_followed() {
    let world = World::new("trust.projects = ['~/link']", HOSTILE);
    std::os::unix::fs::symlink(world.project(), world.path("link")).expect("room");
    assert!(world.config().trusts_project());
}

#[test]
fn a_project_cannot_trust_itself() {
    let error = World::new("", "trust.projects = ['PROJECT']").load();
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("only for the user's own file"), "{error}");
}

#[test]
fn the_engines_that_are_set_are_told() {
    let config = World::new("engines.claude.args = []\nengines.mine.args = ['x']", "").config();
    let engines: Vec<_> = config.engines().map(|(name, _)| name).collect();
    assert_eq!(engines, ["claude", "mine"]);
    let shown: Vec<_> = config.settings().iter().map(|(name, _)| *name).collect();
    assert!(shown.contains(&"engines.mine.args") && !shown.contains(&"engines.<name>.args"));
}

#[test]
fn damage_is_told_and_never_passed_over() {
    let check = |world: &World, expected: &str| {
        let error = world.load().expect_err(expected);
        let words = session_core::error_chain(&error);
        assert!(words.contains(expected), "{words}");
    };
    check(&World::new("run.", ""), "config/config.toml:1:5");
    check(&World::new("", "[run"), "project/.monoco/config.toml:1:");
    check(&World::new("", "run.rol = 1"), "did you mean `run.role`?");
    let mut world = World::new("", "");
    world.variables = vec![("MONOCO_RUN_TIMEOUT", "soon")];
    check(
        &world,
        "the environment variable MONOCO_RUN_TIMEOUT: expected a time",
    );
    world.variables = vec![("MONOCO_SERVE_RECOVER", "yes")];
    check(&world, "MONOCO_SERVE_RECOVER: expected true or false");
    let world = World::new("", "");
    let file = world.path("project/.monoco/config.toml");
    fs::remove_file(&file).expect("it is there");
    std::os::unix::fs::symlink("/etc/passwd", &file).expect("room");
    check(&world, "config.toml: it is a symbolic link");
}

#[test]
fn the_files_are_told_whether_they_are_there_or_not() {
    let world = World::new("", "");
    fs::remove_file(world.path("config/config.toml")).expect("it is there");
    let config = world.config();
    let found: Vec<_> = config.files().iter().map(|file| file.found).collect();
    assert_eq!(found, [false, true]);
}
