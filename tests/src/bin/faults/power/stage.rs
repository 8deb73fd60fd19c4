//! Where a scenario is played: a shell under `strace`, which is told one command
//! after the other, so that all that they do to the disk is seen in its order.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use monoco_tests::{PATIENCE, Project, agent, finish, monoco};

use super::disk::{Disk, Tree};
use super::trace::{self, Op};

/// All that a scenario did to its project.
pub(super) struct Recording {
    /// What stood there before, long since durable.
    pub(super) before: Disk,
    pub(super) ops: Vec<Op>,
}

pub(super) struct Stage<'a> {
    project: &'a Project,
    shell: Child,
    words: ChildStdin,
    lines: Receiver<String>,
    before: Option<Tree>,
    /// Where the disk is that is copied at the end, if nobody sees it from outside.
    copy: Option<PathBuf>,
}

/// Calls that name a file, or have one open, or make processes or rings.
const TRACED: &str = "trace=%file,%desc,%process,/^sync,io_uring_setup";

impl<'a> Stage<'a> {
    /// In `project`, as it stands.
    pub(super) fn new(project: &'a Project) -> Result<Self, String> {
        Self::with(project, None, "")
    }

    /// As [`new`](Self::new), on a disk that takes its time: whoever builds on what is
    /// not synced yet is seen.
    pub(super) fn on_slow_disk(project: &'a Project) -> Result<Self, String> {
        let slowed = "-e inject=fsync,fdatasync:delay_enter=150000";
        Self::with(project, None, slowed)
    }

    /// In `project`, on a disk of so many KiB that only the scenario sees. `unshare`
    /// makes it.
    pub(super) fn on_small_disk(
        project: &'a Project,
        unshare: &[&str],
        kib: u32,
    ) -> Result<Self, String> {
        Self::with(project, Some((unshare, kib)), "")
    }

    fn with(
        project: &'a Project,
        small: Option<(&[&str], u32)>,
        options: &str,
    ) -> Result<Self, String> {
        let strace = format!(
            "strace -f -q -y -xx -s 4194304 -o '{}' -e '{TRACED}' -e signal=none {options} sh",
            project.state_home().join("trace").display()
        );
        let copy = project.state_home().join("copy");
        let path = project.path().display();
        let mut command = match small {
            None => Command::new("sh"),
            Some((unshare, _)) => {
                let mut command = Command::new(unshare[0]);
                command.args(&unshare[1..]).arg("sh");
                command
            }
        };
        let script = match small {
            None => format!("exec {strace}"),
            Some((_, kib)) => format!(
                "mount -t tmpfs -o size={kib}k,mode=700 tmpfs '{path}' && cd '{path}' && \
                 {strace}; cp -a .monoco '{}'",
                copy.display()
            ),
        };
        command.args(["-c", &script]);
        let mut command = project.at_home(command);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let before = Tree::read(&project.path().join(".monoco"));
        let mut shell = command.spawn().map_err(|error| error.to_string())?;
        Ok(Self {
            project,
            words: shell.stdin.take().ok_or("no way to the shell")?,
            lines: lines(&mut shell)?,
            shell,
            before: before.map_err(|error| error.to_string())?,
            copy: small.map(|_| copy),
        })
    }

    /// Runs `monoco` with `words`, which succeeds. Returns what it printed.
    pub(super) fn run(&mut self, words: &[&str]) -> Result<String, String> {
        self.run_for(0, words)
    }

    /// Runs `monoco` with `words`, which exits with `expected`.
    pub(super) fn run_for(&mut self, expected: i32, words: &[&str]) -> Result<String, String> {
        let quoted = |word: &&str| format!("'{word}'");
        let words: Vec<_> = [monoco()].iter().chain(words).map(quoted).collect();
        self.shell(expected, &words.join(" "))
    }

    /// Starts a detached session of the scripted agent. Returns its id.
    pub(super) fn start(&mut self, verb: &[&str]) -> Result<String, String> {
        let words = [&["run", "-d", "--", agent()], verb].concat();
        Ok(self.run(&words)?.trim_end().to_owned())
    }

    /// Runs a line of shell, which exits with `expected`.
    pub(super) fn shell(&mut self, expected: i32, line: &str) -> Result<String, String> {
        let errors = self.project.state_home().join("errors");
        let told = format!(
            "{{ {line}; }} </dev/null 2>'{}'; echo \"@ended $?\"\n",
            errors.display()
        );
        let told = self.words.write_all(told.as_bytes());
        told.map_err(|error| error.to_string())?;
        let mut printed = String::new();
        loop {
            let next = self.lines.recv_timeout(PATIENCE);
            let next = next.map_err(|_| format!("no end of `{line}`"))?;
            let Some(code) = next.strip_prefix("@ended ") else {
                printed += &next;
                printed.push('\n');
                continue;
            };
            if code == expected.to_string() {
                return Ok(printed);
            }
            let errors = std::fs::read_to_string(&errors).unwrap_or_default();
            return Err(format!("`{line}` exited with {code}: {errors}"));
        }
    }

    /// Ends the shell once all that was started has ended, and reads what was done.
    pub(super) fn end(self) -> Result<Recording, String> {
        drop(self.words);
        drop(self.lines);
        finish(self.shell);
        let trace = std::fs::read(self.project.state_home().join("trace"));
        let trace = trace.map_err(|error| format!("no trace: {error}"))?;
        let path = self.project.path().to_string_lossy();
        let ops = trace::read(&String::from_utf8_lossy(&trace), &path)?;
        // Without their ends no command would have acknowledged anything.
        if !ops.iter().any(|op| matches!(op, Op::Ended { .. })) {
            return Err("the trace tells of nobody's end".to_owned());
        }
        let before = Disk::durable(self.before);
        let mut after = before.clone();
        for op in &ops {
            after.apply(op).map_err(|why| format!("{op:?}: {why}"))?;
        }
        let base = self
            .copy
            .unwrap_or_else(|| self.project.path().join(".monoco"));
        let real = Tree::read(&base).map_err(|error| error.to_string())?;
        // Whoever misreads the trace, or what it does, is told here.
        if after.seen() != real {
            return Err(format!(
                "what was read from the trace is not what stands on the disk: {} instead of {}",
                outline(after.seen().as_ref()),
                outline(real.as_ref())
            ));
        }
        Ok(Recording { before, ops })
    }
}

fn lines(shell: &mut Child) -> Result<Receiver<String>, String> {
    let stdout = shell.stdout.take().ok_or("nobody hears the shell")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens any more once the scenario is over.
            let _ = sender.send(line);
        }
    });
    Ok(receiver)
}

/// The names in a tree, with the lengths of files.
pub(super) fn outline(tree: Option<&Tree>) -> String {
    match tree {
        None => "nothing".to_owned(),
        Some(Tree::File(bytes)) => bytes.len().to_string(),
        Some(Tree::Socket) => "socket".to_owned(),
        Some(Tree::Folder(names)) => {
            let names = names.iter();
            let names = names.map(|(name, tree)| format!("{name}: {}", outline(Some(tree))));
            format!("{{{}}}", names.collect::<Vec<_>>().join(", "))
        }
    }
}
