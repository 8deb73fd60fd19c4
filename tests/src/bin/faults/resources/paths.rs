//! Projects in odd places: about as long as a socket's address may be (107 bytes),
//! about as long as any path may be, with every byte that a name may hold.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use monoco_tests::{Project, Ran, Signal, finish, gone, kill, sounds};
use session_core::SessionId;

use super::started;
use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::check_deserted;

/// What a name is made of, by sorts.
const SORTS: [&[u8]; 5] = [
    b"abcdefghijklmnopqrstuvwxyz",
    b" \t'\"\\$`*?;&|<>()[]{}!~#%=-.,:@+^",
    b"\n\r\x1b\x07\x7f\x01",
    b"\xff\xfe\x80\xc3\xa9\xe2\x82",
    "äöüß漢字🦀".as_bytes(),
];
const NAME_MAX: usize = 255;

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, _, chance| {
        let length = match chance.below(4) {
            0 | 1 => 80 + chance.below(40),
            2 => 120 + chance.below(800),
            _ => 3900 + chance.below(190),
        };
        attempt(length as usize, chance, campaign)
    });
}

/// A path that is `length` bytes long with what comes before it.
fn odd_path(length: usize, chance: &mut Chance) -> PathBuf {
    let base = Project::new().path().as_os_str().len() + 1;
    let mut left = length.saturating_sub(base).max(1);
    let mut path = Vec::new();
    while left > 0 {
        let mut n = left.min(1 + chance.below(NAME_MAX as u64) as usize);
        if left - n == 1 {
            // No room for a slash and a name.
            n = if n == 1 { 2 } else { n - 1 };
        }
        let sort = *chance.pick(&SORTS);
        // A name of dots alone is no name.
        path.push(b'n');
        path.extend((1..n).map(|_| *chance.pick(sort)));
        left = left.saturating_sub(n + 1);
        if left > 0 {
            path.push(b'/');
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// From where the project is named, and how.
#[derive(Debug, Clone, Copy)]
enum Way {
    Inside,
    Below,
    Absolute,
    Relative,
}

struct Place<'a> {
    project: &'a Project,
    way: Way,
}

impl Place<'_> {
    fn monoco(&self, args: &[&str]) -> Ran {
        let path = self.project.path();
        let name = path.file_name().unwrap_or_default();
        let (cwd, named): (PathBuf, Option<OsString>) = match self.way {
            Way::Inside => (path.to_owned(), None),
            Way::Below => (path.join("b"), None),
            Way::Absolute => ("/".into(), Some(path.into())),
            Way::Relative => (path.join(".."), Some([OsStr::new("./"), name].concat_os())),
        };
        let mut command = self.project.monoco::<&str>(&[]);
        if let Some(named) = named {
            command.arg("--project").arg(named);
        }
        command.args(args).current_dir(cwd);
        finish(command.spawn().expect("monoco can be executed"))
    }
}

trait ConcatOs {
    fn concat_os(&self) -> OsString;
}

impl ConcatOs for [&OsStr; 2] {
    fn concat_os(&self) -> OsString {
        OsString::from_vec([self[0].as_bytes(), self[1].as_bytes()].concat())
    }
}

fn attempt(length: usize, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let path = odd_path(length, chance);
    let project = Project::in_subdirectory(&path);
    let way = *chance.pick(&[Way::Inside, Way::Below, Way::Absolute, Way::Relative]);
    let place = Place {
        project: &project,
        way,
    };
    let mut made = std::fs::DirBuilder::new();
    let made = made.mode(0o700).create(project.path().join(".monoco"));
    let below = std::fs::create_dir(project.path().join("b"));
    if made.is_err() || below.is_err() {
        // There is no such project.
        campaign.count("too long for any project");
        return Ok(());
    }
    let code = 1 + i32::try_from(chance.below(90)).expect("a small number");
    let told = |why: String| {
        let path = project.path();
        format!("{way:?} {} bytes, {path:?}: {why}", path.as_os_str().len())
    };
    let refused = live(&place, code, chance).map_err(told)?;
    check_deserted(&project, None).map_err(told)?;
    campaign.count(match (refused, project.path().as_os_str().len()) {
        (true, _) => "refused",
        (false, ..93) => "ran with room for a socket's address",
        (false, 93..4000) => "ran with a longer path",
        (false, _) => "ran with almost the longest",
    });
    if refused && project.path().as_os_str().len() < 3900 {
        return Err(told("a start was refused".to_owned()));
    }
    Ok(())
}

/// A session's life; tells whether it was refused.
fn live(place: &Place<'_>, code: i32, chance: &mut Chance) -> Result<bool, String> {
    let agent = monoco_tests::agent();
    let end = format!("catch:{code}");
    let ran = place.monoco(&["run", "-d", "--", agent, "be", "deaf", "out:10x1", &end]);
    let Some(id) = started(&ran)? else {
        return Ok(true);
    };
    for (verb, expected) in [
        ("suspend", "suspended"),
        ("resume", "running"),
        ("show", "running"),
    ] {
        let ran = place.monoco(&[verb, &id]);
        if ran.code != 0 || !place.monoco(&["ps", "--json"]).out().contains(expected) {
            return Err(format!("{verb}: {ran}"));
        }
    }
    let stops = chance.below(2) == 0;
    if stops {
        let stopped = place.monoco(&["stop", &id]);
        if stopped.code != 0 {
            return Err(format!("stop: {stopped}"));
        }
    } else {
        let manager = crate::promise::manager(place.project).ok_or("the project is lost")?;
        let id = SessionId::parse(&id).map_err(|error| error.to_string())?;
        let seen = manager.get(&id).map_err(|error| error.to_string())?;
        let pid = seen.session.pid().ok_or("it runs")?.get();
        monoco_tests::wait_until("it is ready", || {
            place.monoco(&["logs", id.as_str()]).stdout.len() >= 10
        });
        kill(pid, Signal::TERM);
        gone(&[pid]);
    }
    let waited = place.monoco(&["wait", &id]);
    let is_so = waited.code == code || (stops && [143, 137].contains(&waited.code));
    let logs = place.monoco(&["logs", &id]);
    if !is_so || (waited.code == code && logs.stdout != sounds(0, 10)) {
        return Err(format!(
            "{code} by wait was expected: {waited}; it said {logs}"
        ));
    }
    place.check_words()?;
    Ok(false)
}

impl Place<'_> {
    /// Whatever a path holds, words are one line, and nobody's terminal is written to.
    fn check_words(&self) -> Result<(), String> {
        let record = self.project.path().join(".monoco/sessions/broken.json");
        match std::fs::write(&record, "{") {
            // By its whole path, which only Monoco does without.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidFilename => return Ok(()),
            written => written.map_err(|error| error.to_string())?,
        }
        let shown = self.monoco(&["show", "broken"]);
        let err = shown.err();
        let is_plain = err.lines().count() == 1 && !err.trim_end().contains(char::is_control);
        std::fs::remove_file(&record).map_err(|error| error.to_string())?;
        if shown.code != 125 || !is_plain {
            return Err(format!("the words of an error: {shown}"));
        }
        let healthy = self.monoco(&["doctor"]);
        if healthy.code != 0 {
            return Err(format!("doctor: {healthy}"));
        }
        Ok(())
    }
}
