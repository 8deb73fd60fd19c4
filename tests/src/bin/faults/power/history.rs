//! What had been promised when the power went: of each session, what its record
//! may say and what it may not say any more. It knows the commands by their words,
//! and the records as bytes with a status and a pid.

use std::collections::BTreeMap;

use monoco_tests::{agent, monoco};
use serde_json::Value;

use super::disk::{Disk, Tree};
use super::trace::Op;

/// One session's record through time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Life {
    /// All that the record ever said, in order.
    pub(super) said: Vec<Vec<u8>>,
    /// From which of them on it must say one; `None` while nobody was told anything.
    pub(super) least: Option<usize>,
    /// Somebody has begun to remove it.
    pub(super) removing: bool,
    /// Somebody was told that it is removed.
    pub(super) removed: bool,
}

/// A moment: the disk, and what was promised by then.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    pub(super) disk: Disk,
    pub(super) lives: BTreeMap<String, Life>,
    /// The commands that run, with their words.
    commands: BTreeMap<i32, Vec<String>>,
}

const SESSIONS: &str = ".monoco/sessions/";

impl Moment {
    /// The beginning: what stands there was promised long since.
    pub(super) fn first(disk: &Disk) -> Self {
        let mut lives = BTreeMap::new();
        let seen = disk.seen();
        if let Some(Tree::Folder(names)) = seen.as_ref().and_then(|seen| seen.get("sessions")) {
            for (name, tree) in names {
                if let (Some(id), Tree::File(bytes)) = (name.strip_suffix(".json"), tree) {
                    let said = vec![bytes.clone()];
                    let life = Life {
                        said,
                        least: Some(0),
                        ..Life::default()
                    };
                    lives.insert(id.to_owned(), life);
                }
            }
        }
        Self {
            disk: disk.clone(),
            lives,
            commands: BTreeMap::new(),
        }
    }

    /// The moment after `op`.
    pub(super) fn pass(&mut self, op: &Op) -> Result<(), String> {
        self.disk.apply(op)?;
        match op {
            Op::Rename { to, .. } => {
                if let (Some(id), Some(bytes)) = (session_id(to), self.disk.bytes(to)) {
                    let life = self.lives.entry(id.to_owned()).or_default();
                    life.said.push(bytes.to_vec());
                }
            }
            Op::Remove(path) => {
                if let Some(life) = session_id(path).and_then(|id| self.lives.get_mut(id)) {
                    life.removing = true;
                }
            }
            Op::Executed { pid, argv } => self.executed(*pid, argv)?,
            Op::Printed { pid, text } => self.printed(*pid, text),
            Op::Ended { pid, code } => {
                if let Some(words) = self.commands.remove(pid) {
                    self.ended(&words, *code);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn executed(&mut self, pid: i32, argv: &[String]) -> Result<(), String> {
        let Some((program, words)) = argv.split_first() else {
            return Ok(());
        };
        if program == monoco() {
            self.commands.insert(pid, words.to_vec());
        }
        if program == agent() {
            // No agent runs that no record knows, whatever the power does.
            let mut is_known = false;
            for life in self.lives.values_mut() {
                let known = |said: &Vec<u8>| field(said, "pid") == Some(pid.into());
                let said = life.said.iter().position(known);
                is_known |= said.is_some();
                life.promise(said);
            }
            if !is_known {
                return Err(format!("agent {pid} was executed, and no record knew it"));
            }
        }
        Ok(())
    }

    /// A launcher tells of its session once that runs.
    fn printed(&mut self, pid: i32, text: &str) {
        let Some(words) = self.commands.get(&pid) else {
            return;
        };
        if words.first().is_some_and(|verb| verb == "run")
            && let Some(life) = self.lives.get_mut(text.trim_end())
        {
            let begun = |said: &Vec<u8>| field(said, "status") != Some("pending".into());
            life.promise(life.said.iter().position(begun));
        }
    }

    /// Whoever returns from a command has been told of what stands there now.
    fn ended(&mut self, words: &[String], code: i32) {
        let verb = words.first().map_or("", String::as_str);
        let foreground = verb == "run" && !words.iter().any(|word| word == "-d");
        match verb {
            "run" if foreground || matches!(code, 126 | 127) => {
                // In a scenario one run follows the other: it is the only session
                // that nobody was told of.
                for life in self.lives.values_mut().filter(|life| life.is_new()) {
                    life.promise(life.said.iter().position(|said| has_ended(said)));
                }
            }
            "wait" => self.promise_newest(words),
            "stop" | "kill" | "suspend" | "resume" | "adopt" | "reconcile" if code == 0 => {
                self.promise_newest(words);
            }
            "rm" | "prune" if code == 0 => {
                let named = named(words);
                for (id, life) in &mut self.lives {
                    life.removed |= life.removing && (named.is_empty() || named.contains(id));
                }
            }
            _ => {}
        }
    }

    /// Promises what stands there now of the sessions that `words` name, or of all
    /// that have ended.
    fn promise_newest(&mut self, words: &[String]) {
        let named = named(words);
        for (id, life) in &mut self.lives {
            let newest = life.said.len().checked_sub(1);
            let over = life.said.last().is_some_and(|said| has_ended(said));
            if named.contains(id) || named.is_empty() && over {
                life.promise(newest);
            }
        }
    }
}

impl Life {
    fn promise(&mut self, least: Option<usize>) {
        self.least = self.least.max(least);
    }

    /// Whether nobody was told how it ended.
    fn is_new(&self) -> bool {
        let told = self.least.and_then(|least| self.said.get(least));
        told.is_none_or(|said| !has_ended(said))
            && self.said.last().is_some_and(|said| has_ended(said))
    }

    /// Whether it was promised that there is a record.
    pub(super) fn is_promised(&self) -> bool {
        self.least.is_some() && !self.removing
    }
}

/// The sessions that a command's words name.
fn named(words: &[String]) -> Vec<String> {
    let is_id = |word: &&String| word.len() == 36 && !word.contains('/');
    words.iter().filter(is_id).cloned().collect()
}

fn session_id(path: &str) -> Option<&str> {
    path.strip_prefix(SESSIONS)?.strip_suffix(".json")
}

fn field(record: &[u8], name: &str) -> Option<Value> {
    let record: Value = serde_json::from_slice(record).ok()?;
    record.get(name).cloned()
}

/// Whether a record tells of an end.
pub(super) fn has_ended(record: &[u8]) -> bool {
    let status = field(record, "status");
    let living = ["pending", "running", "suspended"];
    status.is_some_and(|status| !living.iter().any(|living| status == *living))
}
