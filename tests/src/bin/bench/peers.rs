//! Other programs that keep something running, as far as they are installed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use monoco_tests::{Signal, everybody, executes, kill, wait_until};
use tempfile::TempDir;

use crate::floors::Floor;

/// A program that starts something in the background. In its command lines `AGENT`
/// stands for the agent, `N` for a number.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    version: &'static [&'static str],
    /// What is needed before the first start: its server, where it has one that does not
    /// start by itself.
    server: &'static [&'static str],
    /// What starts an agent.
    start: &'static [&'static str],
    /// What ends the server.
    end: &'static [&'static str],
}

/// Where each keeps what it has, below a directory of the benchmark's own.
const HOMES: &[(&str, &str)] = &[
    ("HOME", "."),
    ("NQDIR", "nq"),
    ("PM2_HOME", "pm2"),
    ("PUEUE_CONFIG_PATH", "pueue.yml"),
    ("TMPDIR", "."),
    ("TMUX_TMPDIR", "."),
    ("SCREENDIR", "screen"),
    ("TS_SOCKET", "tsp.sock"),
    ("XDG_DATA_HOME", "data"),
    ("XDG_RUNTIME_DIR", "runtime"),
];

/// Which of these are directories that have to be there.
const DIRECTORIES: [&str; 5] = ["nq", "pm2", "screen", "data", "runtime"];

/// The server is not there yet when `pueued -d` returns.
const PUEUE_SERVER: &str = r"
printf 'daemon:\n  default_parallel_tasks: 0\n' >pueue.yml
pueued -d || exit
for _ in $(seq 100); do pueue parallel 0 && exit; sleep 0.05; done
exit 1";

const S6_SERVER: &str = "
mkdir services && mkfifo ready
s6-svscan -d 3 services 3>ready &
read line <ready";

const S6_START: &str = r#"
mkdir "service-$1" && printf '#!/bin/sh\nexec %s\n' "$2" >"service-$1/run" &&
chmod +x "service-$1/run" && s6-svlink services "service-$1" &&
s6-svwait -u "services/service-$1""#;

const SUPERVISOR_SERVER: &str = "
mkdir programs && cat >supervisord.conf <<'END'
[unix_http_server]
file=%(here)s/supervisor.sock
[supervisord]
childlogdir=%(here)s
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/supervisor.sock
[include]
files=programs/*.conf
END
supervisord -c supervisord.conf";

const SUPERVISOR_START: &str = r#"
printf '[program:%s]\ncommand=%s\n' "$1" "$2" >"programs/$1.conf" &&
supervisorctl -c supervisord.conf update "$1""#;

/// The original Python program.
pub(crate) const ORIGINAL: &str = "monoco-toolkit";

/// It starts only engines that it knows, and asks each for its version first.
const ORIGINAL_ENGINE: &str = r#"
mkdir .monoco
printf '#!/bin/sh\n[ "$1" = --version ] || exec %s\n' "$1" >gemini
chmod +x gemini"#;

/// What it starts stays in the session of whoever called, and nobody watches it.
const ORIGINAL_START: &str = r#"
PATH="$PWD:$PATH" exec monoco-toolkit agent run -d -p gemini fix"#;

pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "tmux",
        version: &["tmux", "-V"],
        server: &[
            "tmux",
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "sleep",
            "1000000",
        ],
        start: &["tmux", "new-session", "-d", "AGENT"],
        end: &["tmux", "kill-server"],
    },
    Peer {
        name: "screen",
        version: &["screen", "--version"],
        server: &[],
        start: &["screen", "-d", "-m", "AGENT"],
        end: &[],
    },
    Peer {
        name: "dtach",
        version: &["dtach", "--version"],
        server: &[],
        start: &["dtach", "-n", "dtach-N", "AGENT"],
        end: &[],
    },
    Peer {
        name: "nq",
        version: &["nq"],
        server: &[],
        start: &["nq", "AGENT"],
        end: &[],
    },
    Peer {
        name: "task-spooler",
        version: &["tsp", "-V"],
        server: &["tsp", "-S", "100000"],
        start: &["tsp", "AGENT"],
        end: &["tsp", "-K"],
    },
    Peer {
        name: "pueue",
        version: &["pueue", "--version"],
        server: &["sh", "-c", PUEUE_SERVER],
        start: &["pueue", "add", "--", "AGENT"],
        end: &["pueue", "shutdown"],
    },
    Peer {
        name: "pm2",
        // `pm2 --version` starts its server.
        version: &["pm2-runtime", "--version"],
        server: &["pm2", "ping"],
        start: &[
            "pm2",
            "start",
            "AGENT",
            "--name",
            "N",
            "--interpreter",
            "none",
        ],
        end: &["pm2", "kill"],
    },
    Peer {
        name: "s6",
        version: &["s6-svscan", "-h"],
        server: &["sh", "-c", S6_SERVER],
        start: &["sh", "-c", S6_START, "sh", "N", "AGENT"],
        end: &["s6-svscanctl", "-t", "services"],
    },
    Peer {
        name: "supervisor",
        version: &["supervisord", "--version"],
        server: &["sh", "-c", SUPERVISOR_SERVER],
        start: &["sh", "-c", SUPERVISOR_START, "sh", "N", "AGENT"],
        end: &["supervisorctl", "-c", "supervisord.conf", "shutdown"],
    },
    Peer {
        name: ORIGINAL,
        version: &[ORIGINAL, "--version"],
        server: &["sh", "-c", ORIGINAL_ENGINE, "sh", "AGENT"],
        start: &["sh", "-c", ORIGINAL_START],
        end: &[],
    },
];

/// Every peer, with its version where it is installed.
pub(crate) fn versions() -> Vec<(&'static str, Option<String>)> {
    PEERS.iter().map(|peer| (peer.name, peer.found())).collect()
}

/// Whether the peer of this name is installed.
pub(crate) fn installed(name: &str) -> bool {
    PEERS
        .iter()
        .any(|peer| peer.name == name && peer.found().is_some())
}

impl Peer {
    /// Its version; `None` where it is absent.
    fn found(&self) -> Option<String> {
        let home = TempDir::new().expect("a temporary directory");
        let output = command(self.version, home.path())
            .stdout(Stdio::piped())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next();
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
        let server = Server {
            peer: self,
            home,
            started: 0,
        };
        server.run(self.server)?;
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
        self.of(self.peer.start)
    }

    fn of(&self, line: &[&str]) -> Command {
        let n = self.started.to_string();
        let line = line.iter().map(|word| match *word {
            "AGENT" => Floor::Agent.path().to_owned(),
            "N" => n.clone(),
            word => word.replace("-N", &format!("-{n}")),
        });
        let line: Vec<_> = line.collect();
        let line: Vec<_> = line.iter().map(String::as_str).collect();
        command(&line, self.home.path())
    }

    /// Runs what there is to run; `None` when it fails.
    fn run(&self, line: &[&str]) -> Option<()> {
        if line.is_empty() {
            return Some(());
        }
        let status = self.of(line).status().ok()?;
        status.success().then_some(())
    }

    /// Everybody who was started here and lives.
    pub(crate) fn inhabitants(&self) -> Vec<i32> {
        let mark = format!("NQDIR={}", self.home.path().join("nq").display());
        everybody(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut variables = environ.split(|byte| *byte == 0);
            variables.any(|variable| variable == mark.as_bytes())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run(self.peer.end);
        // Most servers only say that they will end, and some leave their agents behind.
        wait_until("nobody is left of a peer", || {
            let left = self.inhabitants();
            let agents = left
                .iter()
                .filter(|pid| executes(**pid, Floor::Agent.path()));
            agents.for_each(|pid| kill(*pid, Signal::TERM));
            left.is_empty()
        });
    }
}

/// A command with nothing to read and nowhere to write, that keeps all it has in `home`.
fn command(line: &[&str], home: &Path) -> Command {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(home);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.env_remove("TMUX");
    let homes = HOMES.iter();
    command.envs(homes.map(|(variable, name)| (variable, home.join(name))));
    command
}
