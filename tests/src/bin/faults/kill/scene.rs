//! One trial: a session is started, things are done to it, some of those who are in
//! it die, and then everything is as it was told.

use std::collections::BTreeSet;
use std::io;
use std::process::Child;
use std::thread::JoinHandle;

use monoco_tests::{ApiAnswer, Project, agent, finish};
use serde_json::json;
use session_core::{Liveness, Session, SessionId};

use super::Victim;
use super::world::World;
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::model::{Deeds, Verb, exit_code};
use crate::promise::{check_agents, check_deserted_but, check_end, check_records, known};

/// The name that every session has, and that must be free again for the next.
const NAME: &str = "trial";

/// Who starts the session.
pub(super) enum Starter {
    Launcher(Child),
    Daemon(JoinHandle<io::Result<ApiAnswer>>),
    /// He has: this was acknowledged.
    Done(Option<String>),
}

pub(super) struct Scene<'a> {
    pub(super) world: &'a mut World,
    before: BTreeSet<SessionId>,
    pub(super) starter: Starter,
    pub(super) deeds: Deeds,
    /// Whether somebody may have removed the session.
    pub(super) removed: bool,
    pub(super) n_commands: u64,
    /// The last supervisor and the last gate that were seen.
    pub(super) supervisor: Option<i32>,
    pub(super) gate: Option<i32>,
}

impl<'a> Scene<'a> {
    pub(super) fn open(
        world: &'a mut World,
        victims: &[Victim],
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<Self, String> {
        let verb = match chance.below(4) {
            0 => Verb::Exit(digit(chance)),
            1 => Verb::CatchTerm(digit(chance)),
            _ => Verb::Sleep,
        };
        let is = |victim| victims.contains(&victim);
        let by_daemon = is(Victim::Daemon) && !is(Victim::Launcher) && chance.one_in(2);
        let before = known(&world.project);
        let mut argv = vec![agent().to_owned()];
        argv.extend(verb.words());
        let starter = if by_daemon {
            campaign.count("started by the daemon");
            let order = json!({"command": argv, "name": NAME});
            let request = world.daemon().request("POST", "/api/v1/sessions", &order);
            Starter::Daemon(std::thread::spawn(request))
        } else {
            if is(Victim::Daemon) {
                world.daemon();
            }
            let mut words = vec!["run", "-d", "--name", NAME, "--"];
            words.extend(argv.iter().map(String::as_str));
            Starter::Launcher(world.project.spawn(&words))
        };
        let deeds = Deeds {
            verb,
            killed_launcher: false,
            killed_supervisor: false,
            killed_agent: false,
            stopped: false,
        };
        let mut scene = Self {
            world,
            before,
            starter,
            deeds,
            removed: false,
            n_commands: 0,
            supervisor: None,
            gate: None,
        };
        // What may strike later as well often finds a session that runs.
        let early = [Victim::Launcher, Victim::Gate].into_iter().any(is)
            || (by_daemon && victims[0] == Victim::Daemon);
        if !early && chance.one_in(2) {
            scene.starter = Starter::Done(scene.started()?);
        }
        Ok(scene)
    }

    pub(super) fn project(&self) -> &Project {
        &self.world.project
    }

    /// The session that was not there before. It is looked for often and in haste, so
    /// its record is not read.
    pub(super) fn newest(&self) -> Option<SessionId> {
        let records = std::fs::read_dir(self.project().path().join(".monoco/sessions"));
        let names = records
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ids = names.filter_map(|name| SessionId::parse(name.strip_suffix(".json")?).ok());
        ids.into_iter().find(|id| !self.before.contains(id))
    }

    /// Waits for the start to be over; tells the id that was acknowledged.
    pub(super) fn started(&mut self) -> Result<Option<String>, String> {
        let (code, told) = match std::mem::replace(&mut self.starter, Starter::Done(None)) {
            Starter::Done(told) => return Ok(told),
            Starter::Launcher(launcher) => {
                let ran = finish(launcher);
                if ran.code == 0 {
                    return Ok(Some(ran.out().trim_end().to_owned()));
                }
                if ran.code == 125 && ran.err().lines().count() != 1 {
                    return Err(format!("a start is not refused in one line: {ran}"));
                }
                (ran.code, ran.err())
            }
            Starter::Daemon(request) => match request.join() {
                Ok(Ok(answer)) if answer.status == 201 => {
                    return Ok(answer.json()["id"].as_str().map(str::to_owned));
                }
                Ok(Ok(answer)) => (125, answer.text()),
                // The daemon was killed.
                Ok(Err(_)) => (137, String::new()),
                Err(_) => return Err("the client gave up".to_owned()),
            },
        };
        let deeds = &self.deeds;
        let may_be = match code {
            137 => deeds.killed_launcher,
            125 => deeds.killed_supervisor || deeds.killed_agent || deeds.stopped,
            _ => false,
        };
        match may_be {
            true => Ok(None),
            false => Err(format!(
                "the start was refused ({code}): {}",
                told.trim_end()
            )),
        }
    }

    /// Everything is as it was told, and the next command is not refused.
    pub(super) fn close(
        mut self,
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        let acknowledged = self.started()?;
        campaign.count(match acknowledged {
            Some(_) => "acknowledged",
            None => "not acknowledged",
        });
        let session = self.session(acknowledged.as_deref())?;
        if let Some(session) = &session {
            check_agents(self.project(), &session.id)?;
            self.check_living(session, acknowledged.is_some())?;
            self.end(session, chance, campaign)?;
        } else {
            campaign.count(match acknowledged {
                Some(_) => "removed",
                None => "never recorded, or removed",
            });
        }
        let daemon: Vec<_> = self.world.daemon_pid().into_iter().collect();
        check_deserted_but(self.project(), None, &daemon)?;
        self.world.check_the_ended()?;
        if daemon.is_empty() || chance.one_in(8) {
            self.world.check_daemon()?;
        }
        Ok(())
    }

    /// The session that there is a record of.
    fn session(&mut self, acknowledged: Option<&str>) -> Result<Option<Session>, String> {
        let new = self.newest();
        if new.is_none() && self.removed {
            if let Some(id) = acknowledged.and_then(|id| SessionId::parse(id).ok()) {
                self.world.is_removed(&id);
            }
            return check_records(self.project(), &self.before, None);
        }
        check_records(self.project(), &self.before, acknowledged)
    }

    /// Who was started, and not harmed, is there.
    fn check_living(&self, session: &Session, acknowledged: bool) -> Result<(), String> {
        let Deeds {
            verb,
            killed_supervisor,
            killed_agent,
            stopped,
            ..
        } = self.deeds;
        let unharmed = !killed_supervisor && !killed_agent && !stopped;
        if !acknowledged || !unharmed || matches!(verb, Verb::Exit(_)) {
            return Ok(());
        }
        let seen = self.project().look(session.id.as_str());
        match (&seen.liveness, seen.session.end()) {
            (Liveness::Owned, None) => Ok(()),
            (liveness, end) => Err(format!(
                "{} was harmed by nobody, and is {liveness:?}, {end:?}",
                session.id
            )),
        }
    }

    /// Ends the session, while somebody waits for that; what he is told is so for ever.
    fn end(
        &mut self,
        session: &Session,
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<(), String> {
        let id = &session.id;
        let waiter = chance
            .one_in(3)
            .then(|| self.project().spawn(&["wait", id.as_str()]));
        self.deeds.stopped = true;
        let ran = self.project().run(&["stop", "-t", "5", id.as_str()]);
        let waited = waiter.map(finish);
        let gone = self.removed && self.newest().is_none();
        if gone {
            // Whoever asked for it is dead; his request was not.
            campaign.count("removed");
            self.world.is_removed(id);
            return Ok(());
        }
        if ran.code != 0 {
            return Err(format!("stop {id} was refused: {}", ran.err().trim_end()));
        }
        let ended = check_end(self.project(), id, self.deeds, campaign)?;
        if self.project().look(id.as_str()).session.end().is_none() {
            return Err(format!("{id} was stopped, and that is not recorded"));
        }
        self.world.has_ended(id)?;
        if let Some(ran) = waited {
            let code = ended.outcome().map(exit_code);
            if Some(ran.code) != code || ran.out().trim_end() != ran.code.to_string() {
                return Err(format!("wait for {id} told {ran}, the record {code:?}"));
            }
            campaign.count("waited for");
        }
        Ok(())
    }
}

fn digit(chance: &mut Chance) -> i32 {
    i32::try_from(chance.below(10)).expect("a digit")
}
