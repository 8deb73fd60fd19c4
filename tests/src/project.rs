//! A project of a test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use serde_json::Value;
use session_core::{Observation, Session, SessionId, SessionManager};
use tempfile::TempDir;

use crate::process::{Signal, alive, everybody, executes, has_variable, holds_open, kill};
use crate::ran::{Ran, finish};
use crate::wait::{PATIENCE, wait_until};

/// The variable that marks everything a test's project started.
const MARK: &str = "TEST_PROJECT";

/// A directory with a `.monoco` to be, and everything that runs in it. When it
/// is dropped, nothing runs there any more.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
    /// Where commands are run: the project's directory, unless a test has reasons.
    path: PathBuf,
    /// What belongs to the user, and to no project.
    state_home: TempDir,
    /// The user's home, with their configuration and roles.
    home: TempDir,
}

/// The path of the program under test: what `MONOCO_UNDER_TEST` names, else what was
/// built with the tests.
#[must_use]
pub fn monoco() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        std::env::var("MONOCO_UNDER_TEST").unwrap_or_else(|_| sibling("monoco-under-test"))
    });
    &PATH
}

/// The path of the scripted agent.
#[must_use]
pub fn agent() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| sibling("scripted-agent"));
    &PATH
}

/// The path of a binary of this package, which stands where its tests stand.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn sibling(name: &str) -> String {
    let test = std::env::current_exe().expect("the system tells a test's path");
    // Tests are in target/PROFILE/deps, other programs in target/PROFILE.
    let mut folders = test.ancestors().skip(1).take(2);
    let built = folders.find_map(|folder| Some(folder.join(name)).filter(|built| built.exists()));
    let built = built.unwrap_or_else(|| test.with_file_name(name));
    assert!(
        built.exists(),
        "{} is built with the tests",
        built.display()
    );
    built
        .into_os_string()
        .into_string()
        .expect("target directories have plain names")
}

/// `script` with shell variables that name the binaries under test.
pub(crate) fn with_names(script: &str) -> String {
    format!("monoco='{}' agent='{}'\n{script}", monoco(), agent())
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// An empty project.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let path = dir.path().canonicalize().expect("it exists");
        let [state_home, home] = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
        Self {
            dir,
            path,
            state_home,
            home,
        }
    }

    /// The same, with its commands run in `below`, a new directory inside.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn in_subdirectory(below: impl AsRef<Path>) -> Self {
        let mut project = Self::new();
        project.path.push(below);
        std::fs::create_dir_all(&project.path).expect("a new directory");
        project
    }

    /// The project's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The `XDG_STATE_HOME` of its commands: nothing is written to the home of who
    /// runs the tests.
    #[must_use]
    pub fn state_home(&self) -> &Path {
        self.state_home.path()
    }

    /// The `HOME` of its commands, without any configuration or roles: those of who
    /// runs the tests decide nothing.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file of the project, or at an absolute path, with the folders to it.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn put(&self, path: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.path.join(path);
        let folder = path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("a new directory");
        std::fs::write(&path, text).expect("a new file");
        path
    }

    /// The manager of the project, which must exist by now.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn manager(&self) -> SessionManager {
        SessionManager::open(&self.path).expect("a session was started, so there is a .monoco")
    }

    /// The variable that marks all that is started for this project.
    #[must_use]
    pub fn mark(&self) -> (String, String) {
        (MARK.to_owned(), self.dir.path().display().to_string())
    }

    /// Gives `command` the project's directory and a clean environment.
    pub fn at_home(&self, mut command: Command) -> Command {
        let (name, value) = self.mark();
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MONOCO_") {
                command.env_remove(variable);
            }
        }
        command
            .env(name, value)
            .env("XDG_STATE_HOME", self.state_home())
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.home().join(".config"))
            .env_remove("NO_COLOR")
            .env("LC_ALL", "C")
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `monoco` with `args`, to be run in the project.
    #[must_use]
    pub fn monoco<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(monoco());
        command.args(args);
        self.at_home(command)
    }

    /// A shell script to be run in the project, in which `$monoco` and `$agent` are
    /// the binaries under test.
    #[must_use]
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &with_names(script)]);
        self.at_home(command)
    }

    /// Starts `monoco` with `args`.
    ///
    /// # Panics
    /// When it cannot be executed.
    #[must_use]
    #[track_caller]
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        self.monoco(args).spawn().expect("monoco can be executed")
    }

    /// Runs `monoco` with `args` to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        finish(self.spawn(args))
    }

    /// Runs a shell script to its end.
    #[track_caller]
    pub fn run_shell(&self, script: &str) -> Ran {
        finish(self.shell(script).spawn().expect("sh can be executed"))
    }

    /// Starts a detached session: `options` of `monoco run`, then `agent` with its
    /// arguments. Returns its id.
    #[track_caller]
    pub fn start(&self, options: &[&str], agent: &[&str]) -> String {
        let args = [&["run", "-d"], options, &["--"], agent].concat();
        self.run(&args).ok().out().trim_end().to_owned()
    }

    /// Starts a detached session of the scripted agent. Returns its id once the
    /// agent has told `n_pids`, and these.
    #[track_caller]
    pub fn start_agent(
        &self,
        options: &[&str],
        verb: &[&str],
        n_pids: usize,
    ) -> (String, Vec<i32>) {
        let id = self.start(options, &[&[agent()], verb].concat());
        wait_until("the agent has told its pids", || {
            self.pids(&id).len() >= n_pids
        });
        let pids = self.pids(&id);
        (id, pids)
    }

    /// Starts a session of the scripted agent in the foreground. Returns its launcher
    /// and its id, once it is the only one that runs and its agent has told its pid.
    #[track_caller]
    pub fn start_in_foreground(&self, verb: &[&str]) -> (Child, String) {
        let launcher = self.spawn(&[&["run", "--", agent()], verb].concat());
        (launcher, self.only_session())
    }

    /// The id of the only session that runs, once it does and its agent has told
    /// its pid.
    #[must_use]
    #[track_caller]
    pub fn only_session(&self) -> String {
        let mut id = String::new();
        wait_until("one session runs", || {
            if !self.path.join(".monoco").exists() {
                return false;
            }
            let ids = self.ids(&["--status", "running"]);
            id = ids.first().cloned().unwrap_or_default();
            ids.len() == 1 && self.pids(&id).len() == 1
        });
        id
    }

    /// Starts a session of the scripted agent, and kills its supervisor. Returns the
    /// session's id and the agent's pid.
    #[track_caller]
    pub fn orphan(&self, options: &[&str], verb: &[&str]) -> (String, i32) {
        let (id, pids) = self.start_agent(options, verb, 1);
        self.kill_supervisor(&id);
        (id, pids[0])
    }

    /// Kills the supervisor of `id` as nobody can be asked to be killed.
    #[track_caller]
    pub fn kill_supervisor(&self, id: &str) {
        let supervisor = self.supervisor(id);
        kill(supervisor, Signal::KILL);
        wait_until("the supervisor is dead", || !alive(supervisor));
    }

    /// The pids that the agent of `id` has told so far.
    #[must_use]
    pub fn pids(&self, id: &str) -> Vec<i32> {
        let log = String::from_utf8_lossy(&self.log(id)).into_owned();
        // The last line may only be half there.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let pids = whole.lines().filter_map(|line| line.strip_prefix("pid "));
        pids.filter_map(|pid| pid.parse().ok()).collect()
    }

    /// What the agent of `id` has printed so far.
    #[must_use]
    pub fn log(&self, id: &str) -> Vec<u8> {
        std::fs::read(self.log_path(id)).unwrap_or_default()
    }

    /// Where that stands.
    #[must_use]
    pub fn log_path(&self, id: &str) -> PathBuf {
        self.path.join(format!(".monoco/logs/{id}.log"))
    }

    /// Where the record of `id` stands.
    #[must_use]
    pub fn record_path(&self, id: &str) -> PathBuf {
        self.path.join(format!(".monoco/sessions/{id}.json"))
    }

    /// The record of `id`, as it stands on disk.
    ///
    /// # Panics
    /// When there is none, or it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn record(&self, id: &str) -> Value {
        let bytes = std::fs::read(self.record_path(id)).expect("there is a record");
        serde_json::from_slice(&bytes).expect("a record is JSON")
    }

    /// The word in the record's `status`, as it stands on disk.
    #[must_use]
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.record(id)["status"]
            .as_str()
            .expect("a status is a word")
            .to_owned()
    }

    /// Waits until the record says `status`.
    #[track_caller]
    pub fn wait_for_status(&self, id: &str, status: &str) {
        wait_until(&format!("the record says {status}"), || {
            self.status(id) == status
        });
    }

    /// Waits until nobody owns `id` any more, and nothing but its record and log is left.
    #[track_caller]
    pub fn wait_for_release(&self, id: &str) {
        let folder = self.path.join(".monoco/run").join(id);
        wait_until("the run directory is removed", || !folder.exists());
    }

    /// Changes the record of `id` behind everybody's back.
    ///
    /// # Panics
    /// When there is none.
    pub fn forge(&self, id: &str, change: impl FnOnce(&mut Value)) {
        self.forge_record(id, &self.record(id), change);
    }

    /// Puts `record`, changed, in the place of that of `id`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn forge_record(&self, id: &str, record: &Value, change: impl FnOnce(&mut Value)) {
        let mut record = record.clone();
        change(&mut record);
        let json = serde_json::to_vec_pretty(&record).expect("JSON can be written");
        std::fs::write(self.record_path(id), json).expect("the record can be written");
    }

    /// The session `id` as the library sees it.
    ///
    /// # Panics
    /// When it cannot be seen.
    #[must_use]
    pub fn look(&self, id: &str) -> Observation {
        let id = SessionId::parse(id).expect("an id");
        self.manager().get(&id).expect("a session")
    }

    /// The session as its record says, which must be there and whole.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub fn session(&self, id: &str) -> Result<Session, String> {
        let lost = |error| format!("the project is lost: {error}");
        let manager = SessionManager::open(self.path()).map_err(lost)?;
        let id = SessionId::parse(id).map_err(|error| error.to_string())?;
        let seen = manager.get(&id).map_err(|error| error.to_string())?;
        Ok(seen.session)
    }

    /// The agent's pid, by the record.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn agent(&self, id: &str) -> i32 {
        let pid = self.record(id)["pid"]
            .as_i64()
            .expect("the agent was started");
        i32::try_from(pid).expect("a pid")
    }

    /// The pid of the supervisor of `id`, as the kernel tells it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn supervisor(&self, id: &str) -> i32 {
        let id = SessionId::parse(id).expect("an id");
        self.manager()
            .control(&id)
            .expect("the session has an owner")
            .owner_pid()
            .expect("it is in this pid namespace")
            .get()
    }

    /// The one session of `monoco ps -a --json` whose id is `id`.
    ///
    /// # Panics
    /// When it is not listed.
    #[must_use]
    #[track_caller]
    pub fn listed(&self, id: &str) -> Value {
        let listing = self
            .run(&["ps", "-a", "--json", "--no-reconcile"])
            .ok()
            .json();
        let sessions = listing.as_array().expect("a listing is an array");
        let found = sessions.iter().find(|session| session["id"] == id);
        found
            .unwrap_or_else(|| panic!("{id} is not in {listing}"))
            .clone()
    }

    /// The ids that `monoco ps -q` prints with `options`, in its order.
    #[must_use]
    #[track_caller]
    pub fn ids(&self, options: &[&str]) -> Vec<String> {
        let ran = self.run(&[&["ps", "-q"], options].concat()).ok();
        ran.out().lines().map(str::to_owned).collect()
    }

    /// Waits until nobody lives who was started for this project, supervisors included.
    #[track_caller]
    pub fn wait_until_deserted(&self) {
        wait_until("nobody is left", || self.survivors().is_empty());
    }

    /// Everybody who was started for this project and still lives.
    #[must_use]
    pub fn survivors(&self) -> Vec<i32> {
        let (name, value) = self.mark();
        // What another thread has only just forked has all that we have open, until it
        // is executed.
        let own = std::env::current_exe().unwrap_or_default();
        let own = own.to_string_lossy();
        let started = everybody(|pid| {
            has_variable(pid, &format!("{name}={value}"))
                || holds_open(pid, self.dir.path()) && !executes(pid, &own)
        });
        started.into_iter().filter(|pid| alive(*pid)).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Whoever is killed may only just have forked: one look more, and no pause that
        // lets those who do nothing else get away.
        let (start, mut deserted) = (Instant::now(), 0);
        while deserted < 2 && start.elapsed() < PATIENCE {
            let survivors = self.survivors();
            deserted = if survivors.is_empty() {
                deserted + 1
            } else {
                0
            };
            for pid in survivors {
                kill(pid, Signal::KILL);
            }
        }
    }
}
