//! Other programs that keep something running, as far as they are installed.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::floors::Floor;

/// A program that starts something in the background.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: &'static str,
    version: &'static [&'static str],
    /// Its server, where it has one that does not start by itself.
    server: &'static [&'static str],
    /// What starts an agent; `AGENT` stands for it, `N` for a number.
    start: &'static [&'static str],
    /// What ends the server.
    end: &'static [&'static str],
}

/// Where each keeps what it has, below a directory of the benchmark's own.
const HOMES: &[(&str, &str)] = &[
    ("NQDIR", "nq"),
    ("PM2_HOME", "pm2"),
    ("PUEUE_CONFIG_PATH", "pueue.yml"),
    ("TMUX_TMPDIR", "."),
    ("SCREENDIR", "screen"),
    ("TS_SOCKET", "tsp.sock"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_RUNTIME_DIR", "runtime"),
];

/// Which of these are directories that have to be there.
const DIRECTORIES: [&str; 5] = ["nq", "pm2", "screen", "data", "runtime"];

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "tmux",
        program: "tmux",
        version: &["-V"],
        server: &["-f", "/dev/null", "new-session", "-d", "sleep", "1000000"],
        start: &["new-session", "-d", "AGENT"],
        end: &["kill-server"],
    },
    Peer {
        name: "screen",
        program: "screen",
        version: &["--version"],
        server: &[],
        start: &["-d", "-m", "AGENT"],
        end: &[],
    },
    Peer {
        name: "dtach",
        program: "dtach",
        version: &["--version"],
        server: &[],
        start: &["-n", "dtach-N", "AGENT"],
        end: &[],
    },
    Peer {
        name: "nq",
        program: "nq",
        version: &[],
        server: &[],
        start: &["AGENT"],
        end: &[],
    },
    Peer {
        name: "task-spooler",
        program: "tsp",
        version: &["-V"],
        server: &["-S", "100000"],
        start: &["AGENT"],
        end: &["-K"],
    },
    Peer {
        name: "pueue",
        program: "pueue",
        version: &["--version"],
        server: &["parallel", "0"],
        start: &["add", "--", "AGENT"],
        end: &["shutdown"],
    },
    Peer {
        name: "pm2",
        program: "pm2",
        version: &["--version"],
        server: &["ping"],
        start: &["start", "AGENT", "--name", "N", "--interpreter", "none"],
        end: &["kill"],
    },
];

/// Every peer, with its version where it is installed.
pub(crate) fn versions() -> Vec<(&'static str, Option<String>)> {
    PEERS.iter().map(|peer| (peer.name, peer.found())).collect()
}

impl Peer {
    /// Its version; `None` where it is absent.
    fn found(&self) -> Option<String> {
        let output = Command::new(self.program)
            .args(self.version)
            .env("PM2_HOME", std::env::temp_dir().join("pm2-version"))
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Some greet whoever runs them for the first time.
        let has_number = |line: &&str| line.contains(|c: char| c.is_ascii_digit());
        let first = text.lines().find(has_number);
        Some(first.unwrap_or("present").trim().to_owned())
    }

    /// Its server, with a home of its own; `None` where it is absent or does not come up.
    pub(crate) fn serve(&'static self) -> Option<Server> {
        self.found()?;
        let home = TempDir::new().expect("a temporary directory");
        let private = std::fs::Permissions::from_mode(0o700);
        for name in DIRECTORIES {
            let directory = home.path().join(name);
            std::fs::create_dir(&directory).ok()?;
            std::fs::set_permissions(directory, private.clone()).ok()?;
        }
        let config = "daemon:\n  default_parallel_tasks: 0\n";
        std::fs::write(home.path().join("pueue.yml"), config).ok()?;
        let server = Server {
            peer: self,
            home,
            started: 0,
        };
        if self.program == "pueue" {
            server.run(server.of("pueued", &["-d"]))?;
        }
        if !self.server.is_empty() {
            server.run(server.of(self.program, self.server))?;
        }
        Some(server)
    }
}

/// A peer that is ready.
pub(crate) struct Server {
    peer: &'static Peer,
    /// Removed after the server has ended, which is found there.
    home: TempDir,
    started: usize,
}

impl Server {
    /// The next start of an agent.
    pub(crate) fn start(&mut self) -> Command {
        self.started += 1;
        let n = self.started.to_string();
        let arguments = self.peer.start.iter().map(|argument| match *argument {
            "AGENT" => Floor::Agent.path().to_owned(),
            "N" => n.clone(),
            argument => argument.replace("-N", &format!("-{n}")),
        });
        let arguments: Vec<_> = arguments.collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.of(self.peer.program, &arguments)
    }

    fn of(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.home);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env_remove("TMUX");
        command.envs(
            HOMES
                .iter()
                .map(|(variable, name)| (variable, self.home.path().join(name))),
        );
        command
    }

    fn run(&self, mut command: Command) -> Option<()> {
        command
            .status()
            .ok()
            .filter(|status| status.success())
            .map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.peer.end.is_empty() {
            self.run(self.of(self.peer.program, self.peer.end));
        }
    }
}
