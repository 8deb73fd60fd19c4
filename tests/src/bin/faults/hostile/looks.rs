//! The three readers, and what each makes of what stands in the place of records.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use monoco_tests::{PATIENCE, Project, Ran, RawServer, finish, monoco, works};
use serde_json::Value;

use crate::campaign::Campaign;

/// How long any command may take, and any answer.
pub(super) const LIMIT: Duration = Duration::from_secs(1);
/// How long [`slowness`] takes on a machine that has nothing else to do.
const USUAL: Duration = Duration::from_millis(20);
/// How much address space a command may have, in KiB: its threads' stacks, and no
/// file that is larger than a record may be.
const SPACE: u64 = 256 << 10;

/// By the file's name: why it is damaged; `None` for what is healthy.
pub(super) type Verdicts = BTreeMap<String, Option<String>>;

/// What all three say, who must agree.
pub(super) fn agreed(
    project: &Project,
    server: &RawServer,
    campaign: &mut Campaign,
) -> Result<Verdicts, String> {
    // The command first: what takes it too much memory would take us as much.
    let command = by_command(project, campaign)?;
    let library = by_library(project, campaign)?;
    same("the command", &command, "the library", &library)?;
    let start = Instant::now();
    // The daemon is told of changes, and has a moment to read them.
    loop {
        let daemon = by_daemon(server, campaign)?;
        match same("the library", &library, "the daemon", &daemon) {
            Err(why) if start.elapsed() > PATIENCE => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok(()) => break,
        }
    }
    campaign.measure_since("ms until a daemon knew", start);
    Ok(library)
}

fn same(one: &str, says: &Verdicts, other: &str, said: &Verdicts) -> Result<(), String> {
    let mut names = says.keys().chain(said.keys());
    match names.find(|name| says.get(*name) != said.get(*name)) {
        None => Ok(()),
        Some(name) => Err(format!(
            "of {name} {one} says {:?}, {other} {:?}",
            says.get(name),
            said.get(name)
        )),
    }
}

fn by_library(project: &Project, campaign: &mut Campaign) -> Result<Verdicts, String> {
    let listing = in_time("the library", campaign, || project.manager().list())?;
    let listing = listing.map_err(|error| error.to_string())?;
    let healthy = listing
        .sessions
        .iter()
        .map(|seen| (format!("{}.json", seen.session.id), None));
    let damaged = listing.damaged.iter().map(|damaged| {
        (
            name_of(&damaged.path.to_string_lossy()),
            Some(damaged.damage.to_string()),
        )
    });
    Ok(healthy.chain(damaged).collect())
}

fn by_command(project: &Project, campaign: &mut Campaign) -> Result<Verdicts, String> {
    let ran = at_once(project, &["ps", "-a", "--json", "--no-reconcile"], campaign)?;
    if ran.code != 0 {
        return Err(format!("ps: {ran}"));
    }
    let listed = ran.json();
    Ok(verdicts(listed.as_array().ok_or("ps lists no array")?))
}

fn by_daemon(server: &RawServer, campaign: &mut Campaign) -> Result<Verdicts, String> {
    let mut all = Verdicts::new();
    let mut path = "/api/v1/sessions?limit=1000".to_owned();
    loop {
        let answer = in_time("the daemon", campaign, || server.get(&path))?;
        let page = answer.is(200).json();
        all.extend(verdicts(page["sessions"].as_array().ok_or("no array")?));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/sessions?limit=1000&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}

fn verdicts(elements: &[Value]) -> Verdicts {
    let verdict = |element: &Value| {
        let text = |field: &str| element[field].as_str().unwrap_or_default().to_owned();
        if element["status"] == "corrupt" {
            (name_of(&text("path")), Some(text("error")))
        } else {
            (format!("{}.json", text("id")), None)
        }
    };
    elements.iter().map(verdict).collect()
}

fn name_of(path: &str) -> String {
    let name = Path::new(path).file_name().map(OsStr::to_string_lossy);
    name.unwrap_or_default().into_owned()
}

/// Who runs the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever runs the campaign.
    Us,
    /// An account whom modes of files mean something.
    Nobody,
}

/// The account that owns nothing.
pub(super) const NOBODY: u32 = 65534;

/// Runs a command with little memory; it must end in time, and not by a signal.
pub(super) fn at_once(
    project: &Project,
    args: &[impl AsRef<OsStr>],
    campaign: &mut Campaign,
) -> Result<Ran, String> {
    at_once_as(Who::Us, project, args, campaign)
}

/// The same for somebody else.
pub(super) fn at_once_as(
    who: Who,
    project: &Project,
    args: &[impl AsRef<OsStr>],
    campaign: &mut Campaign,
) -> Result<Ran, String> {
    let words: Vec<_> = args.iter().map(AsRef::as_ref).collect();
    let name = words.first().copied().unwrap_or_default();
    let name = format!("monoco {}", name.display());
    let ran = in_time(&name, campaign, || finish(spawn(who, project, &words)))?;
    campaign.count("commands");
    if ran.code == 101 || ran.code >= 128 {
        return Err(format!("{name}: {ran}"));
    }
    if ran
        .stderr
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\n')
    {
        return Err(format!("{name} says {:?}", ran.err()));
    }
    Ok(ran)
}

fn spawn(who: Who, project: &Project, args: &[&OsStr]) -> std::process::Child {
    let mut command = Command::new("sh");
    let prefix = match who {
        Who::Us => String::new(),
        Who::Nobody => format!("setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "),
    };
    let script = format!("ulimit -v {SPACE} && exec {prefix}\"$@\"");
    command.args(["-c", &script, "sh", monoco()]).args(args);
    let mut command = project.at_home(command);
    command.spawn().expect("sh can be executed")
}

/// Does it within the limit. A machine that has much else to do takes longer for
/// everything, so the limit grows with what else takes longer.
pub(super) fn in_time<T>(
    what: &str,
    campaign: &mut Campaign,
    act: impl FnOnce() -> T,
) -> Result<T, String> {
    let start = Instant::now();
    let done = act();
    let took = start.elapsed();
    campaign.measure_since("ms that a look took", start);
    if took <= LIMIT {
        return Ok(done);
    }
    let slowness = slowness();
    if took > LIMIT.mul_f64(slowness.max(1.0)) {
        return Err(format!(
            "{what} took {took:?}, {slowness:.1} times the usual allowed"
        ));
    }
    campaign.count("looks on a busy machine");
    Ok(done)
}

/// The daemon answers.
pub(super) fn alive(server: &RawServer) -> Result<(), String> {
    match server.get("/health") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("the daemon is not well: {answer}")),
    }
}

/// How many times longer than usual it takes here and now to start a program, and to
/// write something durably.
fn slowness() -> f64 {
    let start = Instant::now();
    let script = ["sh", "-c", "echo > \"$0\" && sync \"$0\" && rm \"$0\""];
    let file = std::env::temp_dir().join(format!("slowness-{}", std::process::id()));
    for _ in 0..3 {
        // How long it takes is all that is asked.
        let _ = works(&[&script[..], &[&file.to_string_lossy()]].concat());
    }
    start.elapsed().as_secs_f64() / USUAL.as_secs_f64()
}
