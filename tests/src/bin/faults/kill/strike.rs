//! Who dies, and when: at any moment, or soon after his birth.

use std::process::Child;
use std::time::{Duration, Instant};

use monoco_tests::{Ran, Signal, agent, alive, children, executes, finish, kill, monoco};
use serde_json::{Value, json};
use session_core::Status;

use super::Victim;
use super::scene::{Scene, Starter};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::command::Command;
use crate::promise::manager;

/// How long a start or a command takes at most, from which the moments are chosen.
const LONGEST: Duration = Duration::from_millis(15);
/// How long a victim is waited for that is not there yet.
const BIRTH: Duration = Duration::from_millis(60);
/// Within which a process that was seen at its birth is killed.
const CHILDHOOD: Duration = Duration::from_millis(3);

impl Scene<'_> {
    /// Kills somebody, if he is there by then; tells whether he was.
    pub(super) fn strike(
        &mut self,
        victim: Victim,
        next: Option<&Victim>,
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<bool, String> {
        match victim {
            Victim::Launcher => Ok(self.kill_launcher(next, chance)),
            Victim::Supervisor if self.deeds.killed_supervisor => self.kill_adopter(chance),
            Victim::Supervisor | Victim::Gate | Victim::Agent => {
                Ok(self.kill_of_session(victim, next, chance))
            }
            Victim::Reconciler => self.kill_reconciler(chance),
            Victim::Daemon => self.kill_daemon(chance),
            Victim::Commander => self.kill_commander(chance, campaign),
        }
    }

    fn kill_launcher(&mut self, next: Option<&Victim>, chance: &mut Chance) -> bool {
        let Starter::Launcher(launcher) = &self.starter else {
            return false;
        };
        let pid = launcher.id().cast_signed();
        // Not always before there is anybody who could be killed next.
        let at_birth = chance.one_in(2);
        match next {
            Some(Victim::Gate) if at_birth => {
                self.await_birth(Victim::Gate);
            }
            Some(Victim::Agent | Victim::Supervisor) if at_birth => {
                self.await_birth(Victim::Supervisor);
            }
            _ => {}
        }
        std::thread::sleep(chance.moment(if at_birth { CHILDHOOD } else { LONGEST }));
        let lives = alive(pid);
        kill(pid, Signal::KILL);
        self.deeds.killed_launcher |= lives;
        lives
    }

    /// Either at any moment, whoever is there then, or soon after his birth.
    fn kill_of_session(
        &mut self,
        victim: Victim,
        next: Option<&Victim>,
        chance: &mut Chance,
    ) -> bool {
        let at_birth = victim == Victim::Gate || chance.one_in(2);
        let moment = match (victim, at_birth) {
            (Victim::Gate, _) => chance.moment(CHILDHOOD / 10),
            (_, true) => chance.moment(CHILDHOOD),
            (_, false) => chance.moment(LONGEST),
        };
        if !at_birth {
            std::thread::sleep(moment);
        }
        // A gate does not outlive its supervisor by much; and what matters most to a
        // supervisor happens while it has one.
        if next == Some(&Victim::Gate) || (victim == Victim::Supervisor && chance.one_in(2)) {
            self.await_birth(Victim::Gate);
        }
        let Some(pid) = self.await_birth(victim) else {
            return false;
        };
        if at_birth && moment > CHILDHOOD / 100 {
            std::thread::sleep(moment);
        }
        let was = match victim {
            Victim::Supervisor => alive(pid),
            Victim::Gate => executes(pid, monoco()),
            _ => executes(pid, agent()),
        };
        kill(pid, Signal::KILL);
        match victim {
            Victim::Supervisor => self.deeds.killed_supervisor = true,
            _ => self.deeds.killed_agent = true,
        }
        was
    }

    /// Has the orphan adopted, and kills its new owner as well.
    fn kill_adopter(&mut self, chance: &mut Chance) -> Result<bool, String> {
        let Some(id) = self.newest() else {
            return Ok(false);
        };
        let told = self.started()?;
        let adopter = self.project().spawn(&["adopt", id.as_str()]);
        self.n_commands += 1;
        self.starter = Starter::Launcher(adopter);
        let supervisor = self.await_birth(Victim::Supervisor);
        std::thread::sleep(chance.moment(LONGEST));
        let lives = supervisor.is_some_and(alive);
        if let Some(pid) = supervisor {
            kill(pid, Signal::KILL);
        }
        self.supervisor = None;
        let done = Starter::Done(told);
        let Starter::Launcher(adopter) = std::mem::replace(&mut self.starter, done) else {
            return Ok(lives);
        };
        let ran = finish(adopter);
        match (ran.code, ran.err().lines().count()) {
            (0, _) | (125, 1) => Ok(lives),
            _ => Err(format!("an adoption is not refused in one line: {ran}")),
        }
    }

    /// Waits for a while until the victim is there.
    fn await_birth(&mut self, victim: Victim) -> Option<i32> {
        let start = Instant::now();
        loop {
            match self.find(victim) {
                None if start.elapsed() < BIRTH && !self.is_over() => {}
                None => return self.find(victim),
                found => return found,
            }
        }
    }

    /// Whether nobody will come any more: the start is over.
    fn is_over(&mut self) -> bool {
        match &mut self.starter {
            Starter::Launcher(launcher) => !matches!(launcher.try_wait(), Ok(None)),
            Starter::Daemon(request) => request.is_finished(),
            Starter::Done(_) => true,
        }
    }

    fn find(&mut self, victim: Victim) -> Option<i32> {
        let lives = |pid: &i32| alive(*pid);
        let supervisor = self.supervisor.filter(lives);
        let supervisor = supervisor.or_else(|| {
            let Starter::Launcher(launcher) = &self.starter else {
                return None;
            };
            children(launcher.id().cast_signed()).into_iter().next()
        });
        let supervisor = supervisor.or_else(|| self.owner());
        self.supervisor = supervisor;
        let child = supervisor.and_then(|pid| children(pid).into_iter().next());
        match victim {
            Victim::Supervisor => supervisor,
            Victim::Gate => {
                let is_gate = |pid: &i32| executes(*pid, monoco());
                self.gate = self.gate.or(child);
                // One that was seen too late has executed the agent.
                match self.gate {
                    Some(pid) if !is_gate(&pid) => None,
                    gate => gate,
                }
            }
            _ => {
                // An orphan is known by its record only.
                let child = child.or_else(|| self.recorded())?;
                executes(child, agent()).then_some(child)
            }
        }
    }

    /// The owner of the session, if it listens.
    fn owner(&self) -> Option<i32> {
        let control = manager(self.project())?.try_control(&self.newest()?);
        Some(control.ok().flatten()?.owner_pid()?.get())
    }

    fn recorded(&self) -> Option<i32> {
        let seen = manager(self.project())?.get(&self.newest()?).ok()?;
        Some(seen.session.pid()?.get())
    }

    fn kill_reconciler(&mut self, chance: &mut Chance) -> Result<bool, String> {
        std::thread::sleep(chance.moment(LONGEST));
        let reconciler = self.project().spawn(&["reconcile"]);
        let (killed, ran) = cut_short(reconciler, chance);
        match ran.code {
            0 | 137 => Ok(killed),
            // Nothing was started yet, so there is no project.
            125 if ran.err().contains("no monoco project") => Ok(killed),
            _ => Err(format!("reconcile failed: {ran}")),
        }
    }

    /// Kills the daemon while it is asked for something; it may be the start.
    fn kill_daemon(&mut self, chance: &mut Chance) -> Result<bool, String> {
        if self.world.daemon_pid().is_none() {
            self.world.daemon();
        }
        let mut asked = None;
        if !matches!(self.starter, Starter::Daemon(_)) {
            let id = self.newest();
            let (method, path, body) = match (id, chance.below(4)) {
                (Some(id), 0) => {
                    self.deeds.stopped = true;
                    let path = format!("/api/v1/sessions/{id}/stop");
                    ("POST", path, json!({"grace_seconds": 5}))
                }
                (Some(id), 1) => {
                    let path = format!("/api/v1/sessions/{id}/suspend");
                    ("POST", path, json!({}))
                }
                _ => ("GET", "/api/v1/sessions".to_owned(), Value::Null),
            };
            self.n_commands += 1;
            let stops = path.ends_with("/stop");
            let request = self.world.daemon().request(method, &path, &body);
            asked = Some((stops, std::thread::spawn(request)));
        }
        std::thread::sleep(chance.moment(LONGEST));
        self.world.kill_daemon();
        if matches!(self.starter, Starter::Daemon(_)) {
            self.deeds.killed_launcher = true;
        }
        if let Some((stops, request)) = asked {
            let answer = request.join().map_err(|_| "the client gave up")?;
            // What came whole is true.
            if let Ok(answer) = answer
                && stops
                && answer.status == 200
            {
                let told = answer.json()["id"].as_str().map(str::to_owned);
                let id = self.newest().map(|id| id.to_string());
                let status = id
                    .as_deref()
                    .map(|id| self.project().look(id).session.status());
                if told != id || !status.is_some_and(Status::is_terminal) {
                    return Err(format!("{told:?} was stopped, {id:?} is {status:?}"));
                }
            }
        }
        Ok(true)
    }

    fn kill_commander(
        &mut self,
        chance: &mut Chance,
        campaign: &mut Campaign,
    ) -> Result<bool, String> {
        let start = Instant::now();
        std::thread::sleep(chance.moment(LONGEST));
        let id = loop {
            match self.newest() {
                Some(id) => break id,
                None if start.elapsed() < BIRTH && !self.is_over() => {}
                None => return Ok(false),
            }
        };
        let command = Command::draw(self.deeds.killed_supervisor, chance);
        self.deeds.stopped |= command.ends();
        self.removed |= command == Command::Remove;
        self.n_commands += 1;
        // An adopter's supervisor is a new owner, who dies as any other.
        let commander = self.project().spawn(&command.words(&id));
        let (killed, ran) = cut_short(commander, chance);
        if !killed {
            campaign.count("commands answered first");
            let alone = self.n_commands == 1;
            command.check(self.project(), &id, &ran, alone)?;
        }
        Ok(killed)
    }
}

/// Kills a command at some moment; tells whether it was not over by then.
fn cut_short(mut command: Child, chance: &mut Chance) -> (bool, Ran) {
    std::thread::sleep(chance.moment(LONGEST));
    let lives = matches!(command.try_wait(), Ok(None));
    // It may have ended by itself meanwhile.
    let _ = command.kill();
    let ran = finish(command);
    (lives && ran.code == 137, ran)
}
