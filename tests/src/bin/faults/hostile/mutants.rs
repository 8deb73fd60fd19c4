//! `hostile/mutants`: golden records with random changes, thousands a second in the
//! library, and some of each trial before all readers.

use std::fs;

use monoco_tests::fuzz::{check_record, is_record};
use monoco_tests::{Project, RawServer};
use session_core::SessionManager;

use super::corpus;
use super::looks::{Verdicts, agreed, at_once};
use crate::campaign::Campaign;
use crate::fuzz::checked;
use crate::mutator::Mutator;
use crate::tree::Tree;

/// How many mutants a trial tries in the library.
const PARSED: usize = 4000;
/// How many of them all readers see.
const SHOWN: usize = 200;

pub(crate) fn run(campaign: &mut Campaign) {
    let seeds = corpus::golden().into_iter().map(String::into_bytes);
    let mutator = Mutator::new(seeds.collect());
    campaign.each_trial(|campaign, _, chance| {
        let mut mutants: Vec<_> = (0..PARSED).map(|_| mutator.mutant(chance)).collect();
        for (n, mutant) in mutants.iter_mut().enumerate() {
            named(mutant, &id(n));
            checked(campaign, mutant, |_| check_record(mutant))?;
            campaign.count("mutants");
        }
        // Most are damaged; those that are not are as interesting.
        let (sessions, damaged): (Vec<_>, Vec<_>) = mutants
            .iter()
            .enumerate()
            .partition(|(_, mutant)| is_record(mutant));
        campaign.add("of them sessions", sessions.len() as u64);
        let shown = sessions.into_iter().take(SHOWN / 2);
        let shown: Vec<_> = shown.chain(damaged.into_iter().take(SHOWN / 2)).collect();
        show(&shown, campaign)
    });
}

fn id(n: usize) -> String {
    format!("m{n:05}")
}

/// Puts the id where the seed had a place for it.
fn named(mutant: &mut Vec<u8>, id: &str) {
    let at = mutant.windows(6).position(|found| found == b"@@@@@@");
    if let Some(at) = at {
        mutant.splice(at..at + 6, id.bytes());
    }
}

fn show(mutants: &[(usize, &Vec<u8>)], campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    for (n, mutant) in mutants {
        fs::write(project.record_path(&id(*n)), mutant).expect("a writable project");
    }
    let server = RawServer::start(&project, &[]);
    let verdicts = agreed(&project, &server, campaign)?;
    campaign.add("shown by all", verdicts.len() as u64);
    for (n, mutant) in mutants {
        let verdict = verdicts
            .get(&format!("{}.json", id(*n)))
            .ok_or("one is not listed")?;
        if verdict.is_none() && !is_record(mutant) {
            return Err(format!("{} is shown as a session", mutant.escape_ascii()));
        }
    }
    check_reconciled(&project, &verdicts, campaign)
}

/// The sessions may be settled; they stay sessions, and what is damaged stays as it is.
fn check_reconciled(
    project: &Project,
    verdicts: &Verdicts,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let sessions = project.path().join(".monoco/sessions");
    let is_session = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        verdicts.get(&*name).is_some_and(Option::is_none)
    };
    let before = Tree::of(&sessions).without(is_session);
    at_once(project, &["reconcile"], campaign)?;
    before.check_same(&Tree::of(&sessions).without(is_session))?;
    let listing = project
        .manager()
        .list()
        .map_err(|error| error.to_string())?;
    let n_sessions = verdicts
        .values()
        .filter(|verdict| verdict.is_none())
        .count();
    if listing.sessions.len() != n_sessions {
        return Err(format!(
            "{} sessions of {n_sessions} are left",
            listing.sessions.len()
        ));
    }
    Ok(())
}
