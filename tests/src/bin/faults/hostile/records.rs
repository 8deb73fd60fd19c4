//! `hostile/records`: records that are none, many at once, beside healthy ones. All
//! readers tell the same ones, with the same reasons; whatever else looks or acts
//! leaves them as they are; only `rm -f` removes them.

use std::fs;
use std::path::Path;

use monoco_tests::{Project, RawServer};
use session_core::SessionManager;

use super::corpus::{self, Case, Expected};
use super::looks::{Verdicts, agreed, at_once};
use super::terminal;
use crate::campaign::Campaign;
use crate::tree::Tree;

/// In how many trials the whole corpus is seen once.
pub(crate) const TRIALS: u64 = 60;
/// The most memory the daemon may ever have had, in KiB.
const PEAK: u64 = 64 << 10;

pub(crate) fn run(campaign: &mut Campaign) {
    let (all, healthy) = (corpus::all(), corpus::healthy());
    campaign.each_trial(|campaign, trial, _| {
        // Whoever has little time begins elsewhere each time.
        let share = trial.wrapping_add(campaign.seed) % TRIALS;
        let cases = all.iter().skip(share as usize).step_by(TRIALS as usize);
        attempt(&healthy.iter().chain(cases).collect::<Vec<_>>(), campaign)
    });
}

fn attempt(cases: &[&Case], campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    for (n, case) in cases.iter().enumerate() {
        let id = id(n);
        fs::write(project.record_path(&id), case.bytes(&id)).expect("a writable project");
        fs::write(project.log_path(&id), "the log\n").expect("a writable project");
    }
    huge(&project);
    // What takes a command too much memory would take a daemon, and us, as much.
    at_once(&project, &["ps", "-a", "--no-reconcile"], campaign)?;
    let server = RawServer::start(&project, &[]);
    let verdicts = agreed(&project, &server, campaign)?;
    check_expected(cases, &verdicts)?;
    let damaged: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict)| verdict.is_some())
        .collect();
    let damaged: Vec<_> = damaged
        .iter()
        .map(|(name, _)| name.trim_end_matches(".json"))
        .collect();
    campaign.add("damaged records", damaged.len() as u64);
    campaign.add("healthy records", (verdicts.len() - damaged.len()) as u64);
    check_untouched(&project, &damaged, campaign)?;
    check_each(&server, &verdicts)?;
    if agreed(&project, &server, campaign)? != verdicts {
        return Err("they were told otherwise after others had looked".to_owned());
    }
    check_event(&project, &server)?;
    campaign.measure("KiB that a daemon had", server.peak());
    if server.peak() > PEAK {
        return Err(format!("the daemon had {} KiB", server.peak()));
    }
    check_removal(&project, &damaged, campaign)
}

fn id(n: usize) -> String {
    format!("r{n:05}")
}

/// One that nobody can read to its end.
fn huge(project: &Project) {
    let file = fs::File::create(project.record_path("huge")).expect("a writable project");
    file.set_len(10 << 30).expect("a sparse file");
}

fn check_expected(cases: &[&Case], verdicts: &Verdicts) -> Result<(), String> {
    for (n, case) in cases.iter().enumerate() {
        let id = id(n);
        let verdict = verdicts.get(&format!("{id}.json"));
        let verdict = verdict.ok_or_else(|| format!("{id} is not listed"))?;
        let is_as_expected = match case.expected {
            Expected::Healthy => verdict.is_none(),
            Expected::Damaged => verdict.is_some(),
            Expected::Either => true,
        };
        if !is_as_expected {
            let bytes = case.bytes(&id);
            let text = bytes[..bytes.len().min(2000)].escape_ascii();
            return Err(format!(
                "{:?} expected, but {verdict:?}: {text}",
                case.expected
            ));
        }
    }
    if verdicts.len() != cases.len() + 1 || verdicts["huge.json"].is_none() {
        return Err(format!(
            "{} are listed, of {}",
            verdicts.len(),
            cases.len() + 1
        ));
    }
    Ok(())
}

/// Every command looks and acts; what is damaged stays as it is.
fn check_untouched(
    project: &Project,
    damaged: &[&str],
    campaign: &mut Campaign,
) -> Result<(), String> {
    let sessions = project.path().join(".monoco/sessions");
    let is_healthy = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        !damaged.contains(&&*name)
    };
    let before = Tree::of(&sessions).without(is_healthy);
    for args in [
        &["ps"][..],
        &["ps", "-a"],
        &["doctor"],
        &["reconcile"],
        &["prune", "--dry-run"],
    ] {
        at_once(project, args, campaign)?;
    }
    // `show` refuses each; what acts does nothing to any of them.
    for verb in ["show", "stop", "kill", "suspend", "resume", "rm", "adopt"] {
        let ids = damaged.iter().copied();
        let ran = at_once(
            project,
            &[verb].into_iter().chain(ids).collect::<Vec<_>>(),
            campaign,
        )?;
        if ran.code == 0 || !ran.stdout.is_empty() {
            return Err(format!("{verb} of damaged records: {ran}"));
        }
        if let Some(id) = damaged.iter().find(|id| !ran.err().contains(**id)) {
            return Err(format!("{verb} says nothing of {id}"));
        }
    }
    for id in damaged.iter().take(3) {
        at_once(project, &["logs", id], campaign)?;
        at_once(project, &["wait", id], campaign)?;
        at_once(project, &["show", "--json", id], campaign)?;
    }
    terminal::check(project, damaged.first().copied(), campaign)?;
    before.check_same(&Tree::of(&sessions).without(is_healthy))
}

/// The daemon shows each one as it lists it.
fn check_each(server: &RawServer, verdicts: &Verdicts) -> Result<(), String> {
    let mut raw = server.connect();
    for (name, verdict) in verdicts {
        let id = name.trim_end_matches(".json");
        let request = server.text(
            &format!("GET /api/v1/sessions/{id}"),
            &[&server.bearer()],
            "",
        );
        raw.send(&request).map_err(|error| error.to_string())?;
        let shown = raw.answer().ok_or("no answer")?;
        let said = shown.json();
        let is_corrupt = said["status"] == "corrupt";
        if is_corrupt != verdict.is_some()
            || (is_corrupt && said["error"].as_str() != verdict.as_deref())
        {
            return Err(format!("{id} is {verdict:?}, and shown as {shown}"));
        }
    }
    Ok(())
}

/// Who listens hears of damage that comes.
fn check_event(project: &Project, server: &RawServer) -> Result<(), String> {
    let mut listener = server.connect();
    let request = server.text("GET /api/v1/events", &[&server.bearer()], "");
    listener.send(&request).map_err(|error| error.to_string())?;
    listener.until("text/event-stream");
    let new = project.path().join("new");
    fs::write(&new, "{\"id\":").expect("a writable project");
    fs::rename(&new, project.record_path("huge")).expect("a writable project");
    let heard = listener.until("EOF while parsing");
    if heard.contains("corrupt") {
        Ok(())
    } else {
        Err(format!("the event of a damaged record is {heard}"))
    }
}

/// Only by force, and only these.
fn check_removal(
    project: &Project,
    damaged: &[&str],
    campaign: &mut Campaign,
) -> Result<(), String> {
    let force = ["rm", "-f"].into_iter().chain(damaged.iter().copied());
    let ran = at_once(project, &force.collect::<Vec<_>>(), campaign)?;
    if ran.code != 0 && !ran.err().lines().all(|line| line.contains("no session")) {
        return Err(format!("rm -f: {ran}"));
    }
    let sessions = project.path().join(".monoco/sessions");
    let left = |id: &&&str| {
        sessions
            .join(format!("{id}.json"))
            .symlink_metadata()
            .is_ok()
    };
    if let Some(id) = damaged.iter().find(left) {
        return Err(format!("{id} is there after rm -f"));
    }
    let listing = project
        .manager()
        .list()
        .map_err(|error| error.to_string())?;
    if !listing.damaged.is_empty() || listing.sessions.is_empty() {
        return Err(format!("{} are damaged after that", listing.damaged.len()));
    }
    let logs = project.path().join(".monoco/logs");
    let kept = fs::read_dir(logs).map_or(0, |logs| logs.flatten().filter(is_log).count());
    if kept != listing.sessions.len() {
        return Err(format!(
            "{kept} logs of {} sessions",
            listing.sessions.len()
        ));
    }
    campaign.add("removed by force", damaged.len() as u64);
    Ok(())
}

fn is_log(entry: &fs::DirEntry) -> bool {
    entry
        .path()
        .extension()
        .is_some_and(|extension| extension == "log")
}
