//! A project whose sessions are run by engines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Signal, alive, kill};
use crate::project::Project;
use crate::ran::{Ran, finish};
use crate::wait::{PATIENCE, wait_until, wait_until_within};

/// How long ten real agents may take that share few processors.
const AGENTS_PATIENCE: Duration = Duration::from_secs(6 * PATIENCE.as_secs());
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A boot that was not this one.
const ANOTHER_BOOT: &str = "00000000-0000-4000-8000-00000000b007";

/// A project whose sessions are run by engines, with the environment that these want.
#[derive(Debug)]
pub struct Stage {
    project: Project,
    env: Vec<(String, String)>,
}

impl Stage {
    /// An empty project.
    #[must_use]
    pub fn new(env: Vec<(String, String)>) -> Self {
        let project = Project::new();
        Self { project, env }
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// `monoco` with `args`, in the environment of the agents.
    #[must_use]
    pub fn monoco(&self, args: &[&str]) -> Command {
        let mut command = self.project.monoco(args);
        // As a shell has it: opencode takes it for the directory of its conversations.
        command.env("PWD", self.project.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `monoco` with `args`.
    ///
    /// # Panics
    /// When it cannot be executed.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.monoco(args).spawn().expect("monoco can be executed")
    }

    /// Runs `monoco` with `args` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.spawn(args))
    }

    /// Starts a session of `engine`; its id.
    #[must_use]
    #[track_caller]
    pub fn start(&self, engine: &str, prompt: &str) -> String {
        let ran = self.run(&["run", "-d", "-e", engine, prompt]).ok();
        ran.out().trim_end().to_owned()
    }

    /// The record of `id`, once it has ended.
    #[must_use]
    #[track_caller]
    pub fn ended(&self, id: &str) -> Value {
        wait_until_within(AGENTS_PATIENCE, "the session ends", || {
            !self.project.record(id)["outcome"].is_null()
        });
        self.project.record(id)
    }

    /// The record of `id`, once it has ended with `verdict`.
    ///
    /// # Panics
    /// When it ends with another.
    #[track_caller]
    pub fn ended_as(&self, verdict: &str, id: &str) -> Value {
        let record = self.ended(id);
        let log = String::from_utf8_lossy(&self.project.log(id)).into_owned();
        let told = &record["verdict"];
        assert_eq!(
            told["kind"], verdict,
            "{told}, {}: {log}",
            record["outcome"]
        );
        record
    }

    /// The conversation of `id`, once it is known.
    #[must_use]
    #[track_caller]
    pub fn conversation(&self, id: &str) -> String {
        let known = || {
            self.project.record(id)["conversation_id"]
                .as_str()
                .map(str::to_owned)
        };
        wait_until("the conversation's id is known", || known().is_some());
        known().expect("it is known")
    }

    /// The sessions that continue each session that is continued. One whose agent never
    /// ran, because whoever started it was killed, continues nothing.
    ///
    /// # Panics
    /// When the records cannot be listed.
    #[must_use]
    pub fn continuations(&self) -> BTreeMap<String, Vec<String>> {
        let mut continued = BTreeMap::<String, Vec<String>>::new();
        let listing = self
            .project
            .manager()
            .list()
            .expect("records can be listed");
        for seen in listing.sessions {
            let id = seen.session.id.as_str().to_owned();
            // Whoever was killed before the agent ran has continued nothing.
            if seen.session.pid().is_none() && seen.shown().end().is_some() {
                continue;
            }
            if let Some(of) = self.project.record(&id)["resumes"].as_str() {
                continued.entry(of.to_owned()).or_default().push(id);
            }
        }
        continued
    }

    /// Whether an agent that writes its conversations to files of their names, in the
    /// environment's home, has begun this one: killed before, it knows nothing of it.
    pub(super) fn is_written_down(&self, engine: &str, conversation: &str) -> bool {
        let home = self.env.iter().find(|(name, _)| name == "HOME");
        let Some((_, home)) = home.filter(|_| ["claude", "codex"].contains(&engine)) else {
            return true;
        };
        has_file(Path::new(home), conversation)
    }

    /// The one session that continues `id`, once there is one.
    ///
    /// # Panics
    /// When there are several.
    #[must_use]
    #[track_caller]
    pub fn continuation(&self, id: &str) -> String {
        wait_until("the session is continued", || {
            self.continuations().contains_key(id)
        });
        let continued = self.continuations().remove(id).unwrap_or_default();
        assert_eq!(continued.len(), 1, "{id} is continued by {continued:?}");
        continued[0].clone()
    }

    /// Kills everybody as a loss of power does, and has every record tell of another boot
    /// than this one.
    ///
    /// # Panics
    /// When the records cannot be changed.
    pub fn lose_power(&self) {
        wait_until("nobody survives", || {
            let survivors = self.project.survivors();
            for pid in &survivors {
                kill(*pid, Signal::KILL);
            }
            survivors.iter().all(|pid| !alive(*pid))
        });
        let boot = std::fs::read_to_string(BOOT_ID).expect("a boot has an id");
        let folder = self.project.path().join(".monoco/sessions");
        for record in std::fs::read_dir(folder).expect("there are records") {
            let path = record.expect("it can be listed").path();
            if path.extension().is_some_and(|end| end == "json") {
                let text = std::fs::read_to_string(&path).expect("a record");
                let text = text.replace(boot.trim_end(), ANOTHER_BOOT);
                std::fs::write(&path, text).expect("room for a record");
            }
        }
    }
}

/// Whether a file below `folder` has `name` in its own, and something in it.
fn has_file(folder: &Path, name: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut entries = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    entries.any(|(path, metadata)| {
        let is_named = path
            .file_name()
            .is_some_and(|file| file.to_string_lossy().contains(name));
        match metadata.is_dir() {
            true => has_file(&path, name),
            false => is_named && metadata.len() > 0,
        }
    })
}
