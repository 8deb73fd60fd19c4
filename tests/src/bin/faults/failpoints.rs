//! Every place that has a failpoint, as often as each process passes it in the lives
//! of sessions: there it is killed, refused something, or late, while others reconcile
//! and adopt. The program is one with failpoints, which nobody installs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command as Program;
use std::sync::atomic::{AtomicBool, Ordering};

use monoco_tests::{Project, Ran, Signal, agent, children, finish, gone, kill, monoco};
use session_core::{Session, SessionId};

use crate::campaign::Campaign;
use crate::command::Command;
use crate::model::{Deeds, Verb};
use crate::promise::{
    check_agents, check_deserted, check_records, check_tidy, end, known, manager,
};

/// The session's name, which must be free again afterwards.
const NAME: &str = "again";
/// How long whoever is late is late.
const LATE: &str = "sleep:200";

/// What sessions go through.
const LIVES: [&[Step]; 6] = [
    &[
        Step::Start(Verb::Sleep),
        Step::Do(Command::Suspend),
        Step::Do(Command::Resume),
        Step::Do(Command::Stop),
        Step::Do(Command::Remove),
    ],
    &[Step::Start(Verb::Exit(3)), Step::Do(Command::Wait)],
    &[Step::Start(Verb::Sleep), Step::Do(Command::Remove)],
    &[
        Step::Start(Verb::Sleep),
        Step::KillSupervisor,
        Step::Do(Command::Stop),
    ],
    &[
        Step::Start(Verb::Sleep),
        Step::KillSupervisor,
        Step::Do(Command::Adopt),
        Step::Do(Command::Stop),
    ],
    &[
        Step::Start(Verb::Sleep),
        Step::KillBoth,
        Step::Reconcile,
        Step::Do(Command::Remove),
    ],
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Start(Verb),
    Do(Command),
    Reconcile,
    KillSupervisor,
    KillBoth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Refuse,
    BeLate,
}

const ACTIONS: [Action; 3] = [Action::Kill, Action::Refuse, Action::BeLate];

/// A process of a life that comes by a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Passage {
    life: usize,
    /// Which step began the process.
    step: usize,
    is_supervisor: bool,
    place: String,
    /// The how manieth time in this process.
    nth: u64,
}

impl Passage {
    /// The same in each run: a hash (FNV-1a) of all that it is.
    fn number(&self) -> u64 {
        let told = format!("{self:?}");
        let hash = told.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        u64::from(hash)
    }

    fn rule(&self, action: Action) -> String {
        let role = if self.is_supervisor {
            "supervisor"
        } else {
            "monoco"
        };
        let action = match action {
            Action::Kill => "kill",
            Action::Refuse => "err",
            Action::BeLate => LATE,
        };
        format!("{role}/{}@{}={action}", self.place, self.nth)
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    let Some(program) = std::env::var_os("MONOCO_WITH_FAILPOINTS") else {
        return campaign.skip("MONOCO_WITH_FAILPOINTS names no program");
    };
    let program = program.to_string_lossy().into_owned();
    let passages = match campaign.attempt(|_| discover(&program)) {
        Ok(passages) => passages,
        Err(why) => return campaign.fail_whole(&format!("without a fault: {why}")),
    };
    if passages.is_empty() || has_failpoints(monoco()) {
        return campaign.fail_whole("failpoints are not where they should be, or where not");
    }
    let places: BTreeSet<_> = passages.iter().map(|passage| &passage.place).collect();
    campaign.add("places", places.len() as u64);
    campaign.add("passages", passages.len() as u64);
    let n_actions = ACTIONS.len() as u64;
    let numbers = passages.iter().flat_map(|passage| {
        let first = passage.number() * n_actions;
        first..first + n_actions
    });
    campaign.each_of(numbers.collect(), |campaign, number, _| {
        let meant = |passage: &&Passage| passage.number() == number / n_actions;
        let passage = passages.iter().find(meant);
        let passage = passage.ok_or("there is no such trial")?;
        let action = ACTIONS[usize::try_from(number % n_actions).expect("an index")];
        attempt(&program, passage, action, campaign)
            .map_err(|broken| format!("{:?} at {passage:?}: {broken}", action))
    });
}

/// Whether the program, which people install, has failpoints in it.
fn has_failpoints(program: &str) -> bool {
    let text = b"MONOCO_FAILPOINTS";
    let program = std::fs::read(program).expect("the program can be read");
    program.windows(text.len()).any(|found| found == text)
}

/// All that is passed where nothing goes wrong, in an order that is the same each time.
fn discover(program: &str) -> Result<Vec<Passage>, String> {
    let mut passages = BTreeSet::new();
    for (life, steps) in LIVES.iter().enumerate() {
        for step in 0..steps.len() {
            let project = Project::new();
            let told_in = [told_in(&project)];
            Scene::new(program, &project, steps).live(Some((step, &told_in)), |_| Ok(()))?;
            // Whoever owns the session tells to its end.
            check_deserted(&project, None)?;
            passages.extend(told(&project, life, step)?);
        }
    }
    Ok(passages.into_iter().collect())
}

/// Has the processes of a step tell what they pass.
fn told_in(project: &Project) -> (&'static str, String) {
    let path = project.state_home().join("passed");
    ("MONOCO_FAILPOINTS_PASSED", path.display().to_string())
}

/// What they told.
fn told(project: &Project, life: usize, step: usize) -> Result<Vec<Passage>, String> {
    let text = std::fs::read_to_string(told_in(project).1).unwrap_or_default();
    let mut counts = BTreeMap::new();
    let passage = |line: &str| {
        let (role, place) = line.split_once(' ').ok_or(line)?;
        let nth: &mut u64 = counts.entry(line.to_owned()).or_default();
        *nth += 1;
        Ok(Passage {
            life,
            step,
            is_supervisor: role == "supervisor",
            place: place.to_owned(),
            nth: *nth,
        })
    };
    text.lines().map(passage).collect()
}

/// A life that is being lived.
struct Scene<'a> {
    program: &'a str,
    project: &'a Project,
    steps: &'a [Step],
    session: Option<Session>,
    removed: bool,
}

impl<'a> Scene<'a> {
    fn new(program: &'a str, project: &'a Project, steps: &'a [Step]) -> Self {
        Self {
            program,
            project,
            steps,
            session: None,
            removed: false,
        }
    }

    /// Goes through the steps, with variables for one of them; `check` is called
    /// after each command. Ends early where there is no session.
    fn live(
        &mut self,
        variables: Option<(usize, &[(&str, String)])>,
        mut check: impl FnMut(&Told<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        for (n, step) in self.steps.iter().enumerate() {
            let Some(words) = self.words(*step)? else {
                continue;
            };
            let mut command = Program::new(self.program);
            command.args(&words);
            let mut command = self.project.at_home(command);
            if let Some((_, variables)) = variables.filter(|(at, _)| *at == n) {
                command.envs(variables.iter().map(|(name, value)| (name, value)));
            }
            let ran = finish(command.spawn().map_err(|error| error.to_string())?);
            if let Step::Start(_) = step {
                let acknowledged = (ran.code == 0).then(|| ran.out().trim_end().to_owned());
                let none = BTreeSet::new();
                self.session = check_records(self.project, &none, acknowledged.as_deref())?;
            }
            let Some(session) = &self.session else {
                return Ok(());
            };
            check(&Told {
                project: self.project,
                id: &session.id,
                step: *step,
                n,
                ran: &ran,
            })?;
            // Also by one who was killed after that.
            self.removed |=
                *step == Step::Do(Command::Remove) && !known(self.project).contains(&session.id);
        }
        Ok(())
    }

    /// What a step's command says; `None` when it is no command, and done.
    fn words(&self, step: Step) -> Result<Option<Vec<String>>, String> {
        let id = || self.session.as_ref().map(|session| &session.id);
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(match (step, id()) {
            (Step::Start(verb), _) => {
                let words: Vec<String> = owned(&["run", "-d", "--name", NAME, "--", agent()]);
                Some([words, verb.words()].concat())
            }
            (Step::Reconcile, _) => Some(owned(&["reconcile"])),
            (Step::Do(command), Some(id)) => Some(owned(&command.words(id))),
            (Step::KillSupervisor | Step::KillBoth, Some(id)) => {
                self.kill(id, step == Step::KillBoth);
                None
            }
            (_, None) => None,
        })
    }

    fn kill(&self, id: &SessionId, agent_too: bool) {
        let owner = manager(self.project)
            .and_then(|manager| manager.control(id).ok())
            .and_then(|control| control.owner_pid());
        // It may be dead, which is what the trial is about.
        let Some(owner) = owner.map(|pid| pid.get()) else {
            return;
        };
        let agents = children(owner);
        kill(owner, Signal::KILL);
        gone(&[owner]);
        if agent_too && !agents.is_empty() {
            agents.iter().for_each(|pid| kill(*pid, Signal::KILL));
            gone(&agents);
        }
    }
}

/// What a command told.
struct Told<'a> {
    project: &'a Project,
    id: &'a SessionId,
    step: Step,
    n: usize,
    ran: &'a Ran,
}

fn attempt(
    program: &str,
    passage: &Passage,
    action: Action,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let project = Project::new();
    let mut scene = Scene::new(program, &project, LIVES[passage.life]);
    let rule = ("MONOCO_FAILPOINTS", passage.rule(action));
    let variables = [rule, told_in(&project)];
    let check = |told: &Told<'_>| check_told(told, passage, action);
    let mut live = || scene.live(Some((passage.step, &variables)), check);
    match action {
        Action::BeLate => beside_rivals(&project, live)?,
        Action::Kill | Action::Refuse => live()?,
    }
    match action {
        _ if !told(&project, passage.life, passage.step)?.contains(passage) => {
            campaign.miss("not passed this time");
        }
        Action::Kill => campaign.count("killed"),
        Action::Refuse => campaign.count("refused"),
        Action::BeLate => campaign.count("late"),
    }
    match (&scene.session, scene.removed) {
        (Some(session), false) => {
            check_agents(&project, &session.id)?;
            end(&project, session, deeds(passage, action), campaign)?;
        }
        _ => check_deserted(&project, None)?,
    }
    check_tidy(&project, NAME)
}

/// Lives while somebody else looks, settles and adopts whatever he can.
fn beside_rivals(
    project: &Project,
    live: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for words in [&["reconcile"][..], &["ps"], &["adopt", "--all"]] {
                    // That there is nothing to do is an answer as well.
                    let _ = project.run(words);
                }
            }
        });
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(live));
        over.store(true, Ordering::Relaxed);
        lived.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn check_told(told: &Told<'_>, passage: &Passage, action: Action) -> Result<(), String> {
    let ran = told.ran;
    let is_hit = action == Action::Kill && told.n == passage.step && !passage.is_supervisor;
    if ran.code == 137 && !is_hit {
        return Err(format!("{:?} was killed: {ran}", told.step));
    }
    match told.step {
        // He who was killed after he had answered keeps nothing as it was.
        Step::Do(command) => {
            let alone = action == Action::Refuse;
            command.check(told.project, told.id, ran, alone)
        }
        _ => Ok(()),
    }
}

fn deeds(passage: &Passage, action: Action) -> Deeds {
    let life = LIVES[passage.life];
    let verb = life.iter().find_map(|step| match step {
        Step::Start(verb) => Some(*verb),
        _ => None,
    });
    let killed_owner = action == Action::Kill && passage.is_supervisor;
    let both = life.contains(&Step::KillBoth);
    Deeds {
        verb: verb.expect("each life begins"),
        killed_launcher: passage.step == 0 && action != Action::BeLate,
        killed_supervisor: killed_owner || both || life.contains(&Step::KillSupervisor),
        killed_agent: killed_owner || both,
        stopped: false,
    }
}
