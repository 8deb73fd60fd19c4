//! `fuzz/control`: anything at all on the control socket of a real supervisor. It
//! answers or hangs up, goes on to listen to others, grows no fatter, and its agent
//! runs on.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use monoco_tests::fuzz::{Asked, check_answer, check_control, say, seeds};
use monoco_tests::{Project, alive};
use session_core::SessionId;
use session_core::control::Request;

use super::{Weight, checked};
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::mutator::Mutator;

/// How many mutants a trial tries.
const BATCH: usize = 100;
/// How long an answer is waited for that may not come.
const PATIENCE: Duration = Duration::from_millis(3);
/// How long one is waited for that must come.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much the supervisor may grow once it is warm, in KiB: its own buffers, and some
/// slack.
const GROWTH: u64 = 1024;

struct Owner {
    project: Project,
    id: SessionId,
    supervisor: i32,
    agent: i32,
    weight: Weight,
}

impl Owner {
    fn new() -> Self {
        let project = Project::new();
        let (id, pids) = project.start_agent(&[], &["sleep"], 1);
        let supervisor = project.supervisor(&id);
        Self {
            id: SessionId::parse(&id).expect("it was given by monoco"),
            supervisor,
            agent: pids[0],
            weight: Weight::new("KiB that an owner grew", GROWTH),
            project,
        }
    }

    /// A conversation with it.
    fn connect(&self) -> io::Result<UnixStream> {
        let run = self.project.path().join(".monoco/run");
        UnixStream::connect(run.join(self.id.as_str()).join("control.sock"))
    }

    /// It tells the session, which goes on.
    fn check(&mut self, campaign: &mut Campaign) -> Result<(), String> {
        let control = self.project.manager().control(&self.id);
        let told = control.and_then(|control| control.ask(&Request::Status));
        let session = told.map_err(|error| format!("the owner is lost: {error}"))?;
        if session.status().is_terminal() || !alive(self.agent) || !alive(self.supervisor) {
            return Err(format!("the session is {}", session.status()));
        }
        self.weight.check(self.supervisor, campaign)
    }
}

pub(crate) fn run(campaign: &mut Campaign) {
    let mutator = Mutator::new(seeds("control"));
    let make = || Ok(Owner::new());
    campaign.each_on(make, |campaign, owner, _, chance| {
        for _ in 0..BATCH {
            attempt(owner, &mutator, chance, campaign)?;
        }
        // One that says nothing keeps nobody else from being heard.
        let _silent = owner.connect().map_err(|error| error.to_string())?;
        owner.check(campaign)
    });
}

fn attempt(
    owner: &Owner,
    mutator: &Mutator,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let mut mutant = mutator.mutant(chance);
    if chance.below(50) == 0 {
        mutant = mutant.repeat(1 + (80 << 10) / mutant.len().max(1));
    }
    checked(campaign, &mutant, |_| check_control(&mutant))?;
    let asked = Asked::by(&mutant);
    // What really asks for the end gets it, and is tried elsewhere.
    if matches!(
        &asked,
        Asked::This(Request::Stop { .. } | Request::Kill { .. })
    ) {
        campaign.count("requests to end, not sent");
        return Ok(());
    }
    let patience = match &asked {
        Asked::NotYet | Asked::This(Request::Wait) => PATIENCE,
        _ => DEADLINE,
    };
    let stream = owner.connect().map_err(|error| error.to_string())?;
    let said = say(stream, &mutant, patience).map_err(|error| error.to_string())?;
    match said {
        Some(answer) => {
            campaign.count(if answer.is_empty() {
                "hung up"
            } else {
                "answers"
            });
            checked(campaign, &mutant, |_| check_answer(&mutant, &answer))
        }
        None if patience == PATIENCE => {
            campaign.count("left in the middle");
            Ok(())
        }
        None => Err(format!("no answer to {}", mutant.escape_ascii())),
    }
}
