//! Short runs: every exit code is exact, every byte of the output is there, also
//! what is said in the last instant. Where the supervisor is killed meanwhile, the
//! end is told as it was or called lost: no success is invented.

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use monoco_tests::{
    Project, Signal, Utterance, Way, agent, children, finish, kill, sounds, wait_until,
};
use session_core::{Outcome, Session};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::check_deserted;

/// How many trials share a project.
const SHARED: u64 = 100;
/// When the supervisor is killed at the latest: most runs are over by then.
const LONGEST_US: u64 = 20_000;
/// The signals that end a process which does nothing about them.
const DEADLY: [i32; 27] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 35, 63,
    64,
];

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// How the session is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Foreground,
    /// In the foreground with `--rm`: only what was streamed is left.
    Removed,
    Detached,
    /// In the foreground, with the supervisor killed meanwhile.
    Struck,
}

struct Run {
    manner: Manner,
    speech: Vec<Utterance>,
    pause: Option<u64>,
    end: End,
}

pub(crate) fn run(campaign: &mut Campaign) {
    let make = || Ok((Project::new(), BTreeSet::new()));
    campaign.each_on_shared(SHARED, make, |campaign, (project, known), _, chance| {
        let run = Run::draw(chance);
        run.count(campaign);
        let result = run.attempt(project, known, chance, campaign);
        result.map_err(|why| format!("{:?} {:?}: {why}", run.manner, run.words()))
    });
}

impl Run {
    fn draw(chance: &mut Chance) -> Self {
        let manner = match chance.below(16) {
            0..6 => Manner::Foreground,
            6 => Manner::Removed,
            7..14 => Manner::Detached,
            _ => Manner::Struck,
        };
        let end = match chance.below(4) {
            0 => End::Signal(*chance.pick(&DEADLY)),
            1 if chance.below(2) == 0 => End::Exit(0),
            _ => End::Exit(i32::try_from(chance.below(256)).expect("a byte")),
        };
        let pause = (manner == Manner::Struck || chance.below(8) == 0).then(|| chance.below(8));
        Self {
            manner,
            speech: speech(chance),
            pause,
            end,
        }
    }

    /// The agent's command.
    fn words(&self) -> Vec<String> {
        let pause = self.pause.map(|ms| format!("pause:{ms}"));
        let end = match self.end {
            End::Exit(code) => format!("exit:{code}"),
            End::Signal(signal) => format!("raise:{signal}"),
        };
        let be = [agent().to_owned(), "be".to_owned()].into_iter();
        let speech = self.speech.iter().map(|said| said.word());
        be.chain(pause).chain(speech).chain([end]).collect()
    }

    /// All that the agent says.
    fn sounds(&self) -> Vec<u8> {
        sounds(0, self.speech.iter().map(|said| said.len()).sum())
    }

    fn code(&self) -> i32 {
        match self.end {
            End::Exit(code) => code,
            End::Signal(signal) => 128 + signal,
        }
    }

    fn count(&self, campaign: &mut Campaign) {
        campaign.count(match self.manner {
            Manner::Foreground => "in the foreground",
            Manner::Removed => "removed at the end",
            Manner::Detached => "detached",
            Manner::Struck => "with the supervisor killed",
        });
        campaign.count(match self.end {
            End::Exit(0) => "successes",
            End::Exit(_) => "failures",
            End::Signal(_) => "deaths by a signal",
        });
        let said: usize = self.speech.iter().map(|said| said.len()).sum();
        campaign.add("bytes said", said as u64);
    }

    fn attempt(
        &self,
        project: &Project,
        known: &mut BTreeSet<String>,
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        let words = self.words();
        let spawn = |options: &[&str]| {
            let words = words.iter().map(String::as_str);
            project.spawn(&options.iter().copied().chain(words).collect::<Vec<_>>())
        };
        let (code, streamed, id) = match self.manner {
            Manner::Foreground | Manner::Removed => {
                let removed = self.manner == Manner::Removed;
                let options: &[&str] = if removed {
                    &["run", "--rm", "--"]
                } else {
                    &["run", "--"]
                };
                let ran = finish(spawn(options));
                if removed {
                    // Its owner removes the session once nothing is left of the tree.
                    wait_until("it is removed", || new_records(project, known).is_empty());
                }
                (ran.code, Some(ran.stdout), new_record(project, known)?)
            }
            Manner::Detached => {
                let ran = finish(spawn(&["run", "-d", "--"]));
                let id = ran.out().trim_end().to_owned();
                if ran.code != 0 || new_record(project, known)?.as_deref() != Some(&id) {
                    return Err(format!("run -d of {id}: {ran}"));
                }
                (project.run(&["wait", &id]).code, None, Some(id))
            }
            Manner::Struck => {
                let launcher = spawn(&["run", "--"]);
                let struck = strike(&launcher, Duration::from_micros(chance.below(LONGEST_US)));
                campaign.count(if struck {
                    "supervisors killed"
                } else {
                    "ended before"
                });
                let ran = finish(launcher);
                check_deserted(project, None)?;
                return self.check_struck(project, ran.code, new_record(project, known)?, campaign);
            }
        };
        if code != self.code() {
            return Err(format!("exit {code}"));
        }
        if let Some(heard) = streamed {
            self.check_sounds(&heard, "streamed")?;
        }
        match (id, self.manner) {
            (Some(id), Manner::Foreground | Manner::Detached) => self.check(project, &id),
            (None, Manner::Removed) => Ok(()),
            (id, _) => Err(format!("there is a record of {id:?}")),
        }
    }

    /// The record tells the end, and the log all that was said.
    fn check(&self, project: &Project, id: &str) -> Result<(), String> {
        let session = project.session(id)?;
        self.check_truth(&session)?;
        self.check_sounds(&project.log(id), "logged")
    }

    fn check_truth(&self, session: &Session) -> Result<(), String> {
        let told = match session.outcome() {
            Some(Outcome::Exited { code }) => Some(End::Exit(*code)),
            Some(Outcome::Signaled {
                signal,
                core_dumped: false,
            }) => Some(End::Signal(*signal)),
            _ => None,
        };
        let word = match self.end {
            End::Exit(0) => "completed",
            End::Exit(_) => "failed",
            End::Signal(_) => "crashed",
        };
        if told == Some(self.end) && session.status().as_str() == word {
            return Ok(());
        }
        Err(format!(
            "{} {:?} is recorded",
            session.status(),
            session.outcome()
        ))
    }

    fn check_sounds(&self, heard: &[u8], how: &str) -> Result<(), String> {
        let said = self.sounds();
        if heard == said {
            return Ok(());
        }
        let same = heard.iter().zip(&said).take_while(|(a, b)| a == b).count();
        Err(format!(
            "{} bytes were said, {} are {how}; they differ from {same} on",
            said.len(),
            heard.len()
        ))
    }

    /// What may be told where nobody may have seen the end.
    fn check_struck(
        &self,
        project: &Project,
        code: i32,
        id: Option<String>,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        let Some(id) = id else {
            return Err(format!("exit {code}, and no record"));
        };
        let waited = project.run(&["wait", &id]).code;
        let session = project.session(&id)?;
        let log = project.log(&id);
        let is_silent = log.is_empty();
        match session.outcome() {
            Some(Outcome::Exited { .. } | Outcome::Signaled { .. }) => {
                campaign.count("truths told");
                self.check_truth(&session)?;
                self.check_sounds(&log, "logged")?;
                let told = |told| told == self.code();
                // Its end may be recorded, and the launcher not have been told.
                (told(waited) && told(code)).then_some(())
            }
            Some(Outcome::Lost { .. }) => {
                campaign.count("called lost");
                if !is_silent {
                    self.check_sounds(&log, "logged")?;
                }
                (waited == 125 && code == 125).then_some(())
            }
            Some(Outcome::SpawnFailed { reason: None, .. }) => {
                campaign.count("never ran");
                (waited == 125 && code == 125 && is_silent).then_some(())
            }
            _ => None,
        }
        .ok_or_else(|| {
            let outcome = session.outcome();
            format!("exit {code}, {waited} by wait, {outcome:?} is recorded")
        })
    }
}

/// Nothing, a word, many lines, or a megabyte, in one go or in many, in one way or in all.
fn speech(chance: &mut Chance) -> Vec<Utterance> {
    let longest = match chance.below(64) {
        0..8 => return Vec::new(),
        8..40 => 200,
        40..63 => 20_000,
        _ => 1 << 20,
    };
    let n = 1 + chance.below(4);
    let mut utterance = || {
        let times = *chance.pick(&[1, 1, 2, 10]);
        let bytes = 1 + chance.below(longest / times) as usize;
        let way = *chance.pick(&[Way::Out, Way::Err, Way::Anew]);
        let times = times as usize;
        Utterance { way, bytes, times }
    };
    (0..n).map(|_| utterance()).collect()
}

/// The session whose record is new, if any.
fn new_record(project: &Project, known: &mut BTreeSet<String>) -> Result<Option<String>, String> {
    let new = new_records(project, known);
    known.extend(new.iter().cloned());
    match &*new {
        [] => Ok(None),
        [id] => Ok(Some(id.clone())),
        many => Err(format!("one run, and records of {many:?}")),
    }
}

fn new_records(project: &Project, known: &BTreeSet<String>) -> Vec<String> {
    let entries = std::fs::read_dir(project.path().join(".monoco/sessions"));
    let entries = entries.into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ids = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()));
    ids.filter(|id| !known.contains(id)).collect()
}

/// Kills the supervisor that `launcher` starts, some time after it is there. Tells
/// whether there was one.
fn strike(launcher: &Child, after: Duration) -> bool {
    let launcher = launcher.id().cast_signed();
    let begun = Instant::now();
    let supervisor = loop {
        match children(launcher).first() {
            Some(pid) => break *pid,
            None if begun.elapsed() > Duration::from_secs(5) => return false,
            None => std::thread::sleep(Duration::from_micros(100)),
        }
    };
    std::thread::sleep(after);
    // A zombie's pid is its own until its launcher has ended.
    let was_there = children(launcher).contains(&supervisor);
    if was_there {
        kill(supervisor, Signal::KILL);
    }
    was_there
}
