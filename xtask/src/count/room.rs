//! Where instructions are counted: a directory whose path is as long each time, one
//! processor, next to no environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Programs, finish};

/// How many records are listed.
const LISTED: &str = "1000";
/// How often a record is written.
const WRITES: u64 = 200;

/// Where it is counted, with the programs: all paths are as long each time.
pub(super) struct Room {
    path: PathBuf,
    programs: Programs,
    processor: String,
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Room {
    pub(super) fn with(programs: &Programs) -> Result<Self, String> {
        let path = PathBuf::from(format!("/tmp/monoco-count-{:010}", std::process::id()));
        let room = Self {
            programs: Programs {
                monoco: path.join("monoco"),
                writer: path.join("writer"),
                counted: path.join("counted"),
            },
            path,
            processor: first_processor().ok_or("/proc does not tell our processors")?,
        };
        fs::create_dir(&room.path)
            .and_then(|()| fs::copy(&programs.monoco, &room.programs.monoco))
            .and_then(|_| fs::copy(&programs.writer, &room.programs.writer))
            .and_then(|_| fs::copy(&programs.counted, &room.programs.counted))
            .map_err(|error| format!("cannot use {}: {error}", room.path.display()))?;
        Ok(room)
    }

    /// One run; `round` tells its projects apart.
    pub(super) fn count(&self, round: char) -> Result<Option<Vec<(&'static str, u64)>>, String> {
        let Some((launcher, supervisor)) = self.start(round)? else {
            return Ok(None);
        };
        Ok(Some(vec![
            ("start/launcher", launcher),
            ("start/supervisor", supervisor),
            ("list", self.list(round)?),
            ("write", self.write(round)?),
        ]))
    }

    /// The launcher of a detached session in a new project; its supervisor, until it
    /// ends, with the gate.
    fn start(&self, round: char) -> Result<Option<(u64, u64)>, String> {
        // Valgrind (3.19) has no pidfd_open(2), without which no supervisor starts an
        // agent. So they are counted step by step with ptrace(2), which takes seconds.
        let project = self.project("start", round)?;
        let mut command = self.alone(&project);
        let Programs {
            monoco, counted, ..
        } = &self.programs;
        command.arg(counted).arg("steps").arg(monoco).arg(monoco);
        command.args(["run", "-d", "--", "/bin/true"]);
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.code() == Some(77) {
            return Ok(None);
        }
        if !output.status.success() {
            return Err(format!("a start cannot be counted: {output:?}"));
        }
        let steps = String::from_utf8_lossy(&output.stdout);
        let told = steps.trim().split_once(' ');
        let counts =
            told.and_then(|(first, others)| Some((first.parse().ok()?, others.parse().ok()?)));
        counts
            .map(Some)
            .ok_or_else(|| format!("no steps were told: {steps}"))
    }

    /// `ps` of the sessions that the benchmark lists.
    fn list(&self, round: char) -> Result<u64, String> {
        let project = self.project("list", round)?;
        let mut records = Command::new(&self.programs.counted);
        finish(records.args(["records", LISTED]).arg(&project))?;
        let arguments = ["ps", "-a", "--json", "--no-reconcile"];
        self.counted(&project, &self.programs.monoco, &arguments)
    }

    /// One durable write of a record.
    fn write(&self, round: char) -> Result<u64, String> {
        let count = |name, writes: u64| {
            let project = self.project(name, round)?;
            self.counted(&project, &self.programs.writer, &[&writes.to_string()])
        };
        Ok(count("write", WRITES)?.saturating_sub(count("never", 0)?) / WRITES)
    }

    fn project(&self, name: &str, round: char) -> Result<PathBuf, String> {
        let project = self.path.join(format!("{name}-{round}"));
        fs::create_dir(&project).map_err(|error| error.to_string())?;
        Ok(project)
    }

    /// What `program` executes with these arguments.
    fn counted(&self, at: &Path, program: &Path, arguments: &[&str]) -> Result<u64, String> {
        let mut command = self.alone(at);
        self.callgrind(&mut command, program, arguments);
        finish(&mut command)?;
        self.collected()
    }

    /// Whatever words follow, with one processor, so with one thread, and next to no
    /// environment.
    fn alone(&self, project: &Path) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "--signal=KILL", "600"])
            .args(["taskset", "-c", &self.processor])
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C")])
            .env("HOME", project.with_extension("home"))
            .current_dir(project)
            .stdin(Stdio::null());
        command
    }

    fn callgrind(&self, command: &mut Command, program: &Path, arguments: &[&str]) {
        command.args(["valgrind", "--quiet", "--tool=callgrind"]);
        command.arg(format!("--callgrind-out-file={}", self.out().display()));
        command.arg(program).args(arguments);
    }

    fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// What callgrind has counted last.
    fn collected(&self) -> Result<u64, String> {
        let text = fs::read_to_string(self.out()).map_err(|error| error.to_string())?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let totals = totals.and_then(|number| number.trim().parse().ok());
        totals.ok_or_else(|| "callgrind has counted nothing".to_owned())
    }
}

/// The first processor that this process may use.
fn first_processor() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut numbers = list.trim().split(|c: char| !c.is_ascii_digit());
    numbers.next().map(str::to_owned)
}
