//! `hostile/files`: what is no file where monoco has its files, names that are no ids,
//! and texts that terminals obey. Nothing hangs, nothing is followed out of the
//! project, nothing outside is changed, and what is healthy is still told.

use std::path::{Path, PathBuf};

use monoco_tests::{Project, RawServer, Signal, gone, kill, works};

use super::looks::{self, NOBODY, Who, at_once_as, in_time};
use super::names;
use super::things::Thing;
use crate::campaign::Campaign;
use crate::tree::Tree;

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Record,
    Log,
    Run,
    Lease,
    Control,
    Ignore,
    Sessions,
    Logs,
    Runs,
    Base,
}

const PLACES: [Place; 10] = [
    Place::Record,
    Place::Log,
    Place::Run,
    Place::Lease,
    Place::Control,
    Place::Ignore,
    Place::Sessions,
    Place::Logs,
    Place::Runs,
    Place::Base,
];

/// Everything that is done while it stands there; `VICTIM` is the session that it is
/// about.
const COMMANDS: [&[&str]; 21] = [
    &["ps"],
    &["ps", "-a"],
    &["ps", "-a", "--json"],
    &["show", "VICTIM"],
    &["show", "--json", "healthy"],
    &["logs", "VICTIM"],
    &["logs", "-n", "2", "healthy"],
    &["doctor"],
    &["wait", "--timeout", "0.1", "VICTIM"],
    &["suspend", "VICTIM"],
    &["resume", "VICTIM"],
    &["stop", "-t", "0.1", "VICTIM"],
    &["kill", "VICTIM"],
    &["adopt", "VICTIM"],
    &["run", "-d", "--", "true"],
    &["run", "--", "true"],
    &["reconcile"],
    &["rm", "VICTIM"],
    &["prune", "--dry-run"],
    &["rm", "-f", "VICTIM"],
    &["rm", "-f", "healthy"],
];

pub(crate) fn run(campaign: &mut Campaign) {
    let pairs = PLACES
        .iter()
        .flat_map(|place| Thing::ALL.map(|thing| (*place, thing)));
    let pairs: Vec<_> = pairs
        .filter(|(place, thing)| place.can_be(*thing))
        .collect();
    // Whoever has little time begins elsewhere each time.
    let first = campaign.seed;
    campaign.each_trial(|campaign, trial, chance| match trial % 8 {
        0 => names::check_names(campaign, chance),
        1 => names::check_texts(campaign, chance),
        n => {
            let pair = first.wrapping_mul(7).wrapping_add(trial / 8 * 6 + n - 2);
            let pair = pair % pairs.len() as u64;
            let (place, thing) = pairs[usize::try_from(pair).expect("an index")];
            let done = attempt(place, thing, campaign);
            done.map_err(|why| format!("{thing:?} for {place:?}: {why}"))
        }
    });
}

impl Place {
    fn is_folder(self) -> bool {
        matches!(
            self,
            Self::Run | Self::Sessions | Self::Logs | Self::Runs | Self::Base
        )
    }

    /// A log may be as large as it likes, and takes its time to be read.
    fn can_be(self, thing: Thing) -> bool {
        thing.can_stand_for(self.is_folder()) && !(self == Self::Log && thing == Thing::Huge)
    }

    fn path(self, project: &Project, victim: &str) -> PathBuf {
        let base = project.path().join(".monoco");
        match self {
            Self::Record => project.record_path(victim),
            Self::Log => project.log_path(victim),
            Self::Run => base.join("run").join(victim),
            Self::Lease => base.join("run").join(victim).join("lease"),
            Self::Control => base.join("run").join(victim).join("control.sock"),
            Self::Ignore => base.join("sessions/.gitignore"),
            Self::Sessions => base.join("sessions"),
            Self::Logs => base.join("logs"),
            Self::Runs => base.join("run"),
            Self::Base => base,
        }
    }

    /// Whether the project cannot be looked at with `thing` here.
    fn spoils_all(self, thing: Thing) -> bool {
        matches!(self, Self::Sessions | Self::Runs | Self::Base) && !thing.is_fine_for(true)
    }
}

fn attempt(place: Place, thing: Thing, campaign: &mut Campaign) -> Result<(), String> {
    let who = if thing == Thing::Closed {
        Who::Nobody
    } else {
        Who::Us
    };
    let (project, victim) = project();
    let top = project
        .path()
        .join("..")
        .canonicalize()
        .map_err(|error| error.to_string())?;
    let outside = top.join("outside");
    let server = RawServer::start(&project, &[]);
    if let Err(why) = thing.plant(&place.path(&project, &victim), &outside) {
        campaign.skip(&format!("{thing:?} cannot be made here: {why}"));
        return Ok(());
    }
    if who == Who::Nobody && !give_away(&top, project.state_home()) {
        campaign.skip("modes mean nothing to root, and setpriv(1) does not run monoco as another");
        return Ok(());
    }
    let before = Tree::of(&outside);
    if who == Who::Us {
        check_daemon(&server, &victim, campaign)?;
    }
    for args in COMMANDS {
        let args = args
            .iter()
            .map(|arg| if *arg == "VICTIM" { &victim } else { *arg });
        let args: Vec<_> = args.collect();
        let ran = at_once_as(who, &project, &args, campaign)?;
        if args == ["ps", "-a", "--json"] {
            check_listing(place, thing, &victim, &ran)?;
        }
        before
            .check_same(&Tree::of(&outside))
            .map_err(|why| format!("{args:?}: {why}"))?;
    }
    if who == Who::Us {
        check_daemon(&server, &victim, campaign)?;
    }
    before.check_same(&Tree::of(&outside))?;
    campaign.count("things planted");
    Ok(())
}

/// A project with an ended session, and one whose owner and agent were killed.
fn project() -> (Project, String) {
    let project = Project::in_subdirectory("project");
    let outside = project.path().join("../outside");
    std::fs::create_dir(&outside).expect("a writable directory");
    std::fs::write(outside.join("canary"), "untouched").expect("a writable directory");
    let (victim, pid) = project.orphan(&[], &["sleep"]);
    kill(pid, Signal::KILL);
    gone(&[pid]);
    let healthy = super::corpus::completed("healthy");
    std::fs::write(project.record_path("healthy"), healthy).expect("a writable project");
    std::fs::write(project.log_path("healthy"), "one\ntwo\n").expect("a writable project");
    (project, victim)
}

/// Gives everything to an account whom modes mean something; tells whether it can run
/// monoco.
fn give_away(top: &Path, state_home: &Path) -> bool {
    let owner = format!("{NOBODY}:{NOBODY}");
    let [top, state_home] = [top, state_home].map(|path| path.display().to_string());
    let uid = format!("--reuid={NOBODY}");
    let gid = format!("--regid={NOBODY}");
    works(&["chown", "-hR", &owner, &top, &state_home])
        && works(&[
            "setpriv",
            &uid,
            &gid,
            "--clear-groups",
            monoco_tests::monoco(),
            "--version",
        ])
}

/// What is healthy is told beside what is not; and where nothing can be told, that is
/// no empty list.
fn check_listing(
    place: Place,
    thing: Thing,
    victim: &str,
    ran: &monoco_tests::Ran,
) -> Result<(), String> {
    if place.spoils_all(thing) {
        let is_told = ran.code == 125 && ran.stdout.is_empty() && ran.err().contains(".monoco");
        return if is_told {
            Ok(())
        } else {
            Err(format!("ps: {ran}"))
        };
    }
    if ran.code != 0 {
        return Err(format!("ps: {ran}"));
    }
    let listed = ran.json();
    let status = |id: &str| {
        let mut listed = listed.as_array().into_iter().flatten();
        listed
            .find(|element| element["id"] == id)
            .map(|element| element["status"].to_string())
    };
    // An empty directory holds nobody.
    let is_empty = thing == Thing::Folder && matches!(place, Place::Sessions | Place::Base);
    let is_damaged = place == Place::Record && !thing.is_fine_for(false);
    // Whether there is an owner cannot be told, so nobody says that there is none.
    let is_unknown = match place {
        // Root may ask about the leases of others.
        Place::Run => !thing.is_fine_for(true) && thing != Thing::Foreign,
        Place::Lease => thing.is_untold(),
        _ => false,
    };
    let expected = match (is_empty, is_damaged, is_unknown) {
        (true, _, _) => [None, None],
        (_, true, _) => [Some("\"completed\""), Some("\"corrupt\"")],
        (_, _, true) => [Some("\"completed\""), Some("\"unknown\"")],
        _ => [Some("\"completed\""), Some("\"terminated\"")],
    };
    let found = [status("healthy"), status(victim)];
    if found.each_ref().map(|status| status.as_deref()) == expected {
        Ok(())
    } else {
        Err(format!("{expected:?} expected, but {listed}"))
    }
}

/// The daemon goes on, and answers in time.
fn check_daemon(server: &RawServer, victim: &str, campaign: &mut Campaign) -> Result<(), String> {
    for path in ["", "/VICTIM", "/VICTIM/log", "/healthy", "/healthy/log"] {
        let path = format!("/api/v1/sessions{}", path.replace("VICTIM", victim));
        let answer = in_time(&path, campaign, || server.get(&path))?;
        // What it cannot read, or does not use, it says, with the reason.
        let is_told = ["cannot read", "does not use"].map(|word| answer.text().contains(word));
        if answer.status >= 500 && answer.status != 503 && !is_told.contains(&true) {
            return Err(format!("{path}: {answer}"));
        }
    }
    for verb in ["suspend", "resume", "stop", "kill"] {
        let path = format!("/api/v1/sessions/{victim}/{verb}");
        let answer = in_time(&path, campaign, || server.post(&path, "{}"))?;
        campaign.count(match answer.status {
            200..300 => "acts done",
            400..500 => "acts refused",
            _ => "acts failed",
        });
    }
    if server.peak() > 64 << 10 {
        return Err(format!("the daemon had {} KiB", server.peak()));
    }
    looks::alive(server)
}
