//! Records that somebody else wrote, with the pid of a victim in them and
//! whatever else may be wrong or right; cloned records; run directories that were
//! made up. Whatever is asked for them, the victim sees no signal. Where a record
//! is right about the victim in everything, it is the record of an orphan, which
//! may be signalled, but by nothing that does not mean to.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use monoco_tests::Project;
use serde_json::{Value, json};
use session_core::{Process, SessionId};

use super::Stage;
use super::drive::{N_COMMANDS, VERBS, command, drive, may_signal};
use super::witness::Witness;
use crate::campaign::Campaign;
use crate::chance::Chance;

/// How often somebody runs the program for it, too.
const ONE_COMMAND_IN: u64 = 40;

pub(crate) fn run(campaign: &mut Campaign) {
    let make = || Ok((Stage::new()?, Witness::new()?));
    campaign.each_on(make, |campaign, (stage, witness), _, chance| {
        attempt(stage, witness, chance, campaign)
    });
}

fn attempt(
    stage: &Stage,
    witness: &Witness,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let id = draw_id(chance);
    let truth = witness.process()?;
    let (mut record, is_right) = draw_record(chance, &truth, &id);
    if !is_right {
        campaign.count("records wrong in something");
        plant(&stage.project, chance, &id, &record)?;
        let asked = ask(stage, chance, campaign, &id, |_| witness.check());
        clear(&stage.project, &id);
        return asked.map_err(|why| format!("{why}, for {record}"));
    }
    // It is an orphan by all that can be known: it may be signalled, but by what means to.
    campaign.count("records right in everything");
    let orphan = Witness::new()?;
    let identity = orphan.process()?;
    record["pid"] = orphan.pid.into();
    record["process"] = process_json(&identity)?;
    plant(&stage.project, chance, &id, &record)?;
    let mut meant = false;
    let asked = ask(stage, chance, campaign, &id, |verb| {
        meant |= may_signal(verb) || verb == "command";
        if meant { Ok(()) } else { orphan.check() }
    });
    if meant && orphan.check().is_err() {
        campaign.count("orphans signalled by what means to");
    }
    // An adopter would watch it for ever.
    let _ = drive(&stage.manager, "stop", &id_of(&id)?);
    clear(&stage.project, &id);
    asked.map_err(|why| format!("{why}, for {record}"))
}

/// Asks for several things, and `check`s after each.
fn ask(
    stage: &Stage,
    chance: &mut Chance,
    campaign: &mut Campaign,
    id: &str,
    mut check: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let id = id_of(id)?;
    for _ in 0..1 + chance.below(4) {
        let verb = *chance.pick(&VERBS);
        let done = drive(&stage.manager, verb, &id);
        campaign.count(if done.is_ok() { "done" } else { "refused" });
        check(verb).map_err(|why| format!("{verb}: {why} ({done:?})"))?;
    }
    if chance.below(ONE_COMMAND_IN) == 0 {
        let which = chance.below(N_COMMANDS);
        command(&stage.project, which, id.as_str());
        campaign.count("commands");
        check("command").map_err(|why| format!("command {which}: {why}"))?;
    }
    Ok(())
}

fn id_of(id: &str) -> Result<SessionId, String> {
    SessionId::parse(id).map_err(|error| error.to_string())
}

fn draw_id(chance: &mut Chance) -> String {
    format!("f{:016x}", chance.next())
}

/// A record, and whether it is right about the victim in everything.
fn draw_record(chance: &mut Chance, truth: &Process, id: &str) -> (Value, bool) {
    let (pid, pid_is_right) = draw_pid(chance, truth.pid.get());
    let (process, process_is_right) = draw_process(chance, truth);
    let (schema, schema_is_ours) = match chance.below(8) {
        0 => (json!(999), false),
        1 => (json!(-1), false),
        2 => (json!("1"), false),
        3 => (Value::Null, true),
        _ => (json!(1), true),
    };
    let (status, status_lives) = match chance.below(10) {
        0 => ("pending", false),
        1 => ("suspended", true),
        2 => ("terminated", false),
        3 => ("completed", false),
        4 => ("Running", false),
        _ => ("running", true),
    };
    let (own_id, id_is_right) = match chance.below(8) {
        0 => ("cloned-from-another", false),
        1 => ("../../victim", false),
        _ => (id, true),
    };
    let mut record = json!({
        "id": own_id,
        "issue_id": "$(kill -9 -1)",
        "role_name": "; kill -9 -1 ;",
        "status": status,
        "branch_name": format!("agent/{}", "../".repeat(5)),
        "pid": pid,
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "schema": schema,
        "command": ["sh", "-c", format!("kill -9 {}", truth.pid)],
        "cwd": "/proc/1/root",
        "name": format!("`kill {}`", truth.pid),
        "labels": { "$(reboot)": "-1" },
        "parent_id": id,
        "engine": "claude",
    });
    let fields = record.as_object_mut().expect("it is an object");
    if let Some(process) = process {
        fields.insert("process".to_owned(), process);
    }
    if matches!(status, "terminated") {
        let lost = json!({ "kind": "lost", "cause": "owner_died" });
        fields.insert("outcome".to_owned(), lost);
    }
    let is_right =
        pid_is_right && process_is_right && schema_is_ours && status_lives && id_is_right;
    (record, is_right)
}

fn draw_pid(chance: &mut Chance, victim: i32) -> (Value, bool) {
    let victim = i64::from(victim);
    match chance.below(24) {
        0 => (json!(-victim), false),
        1 => (json!(0), false),
        2 => (json!(1), false),
        3 => (json!(-1), false),
        4 => (json!(std::process::id()), false),
        5 => (json!(victim + (1 << 32)), false),
        6 => (json!(i64::MAX), false),
        7 => (json!(victim.to_string()), false),
        8 => (json!(victim as f64), false),
        9 => (Value::Null, false),
        _ => (json!(victim), true),
    }
}

/// What a record says of who the process is, and whether that is right.
fn draw_process(chance: &mut Chance, truth: &Process) -> (Option<Value>, bool) {
    if chance.below(6) == 0 {
        // As in records of the original format.
        return (None, false);
    }
    let mut process = process_json(truth).unwrap_or_default();
    let ticks = process["start_ticks"].as_u64().unwrap_or(0);
    // Mostly one thing is wrong, so that everything else is right beside it.
    let wrong = match chance.below(26) {
        0 => Some(("start_ticks", json!(ticks + 1))),
        1 => Some(("start_ticks", json!(ticks.saturating_sub(1)))),
        2 => Some(("start_ticks", json!(0))),
        3 => Some(("start_ticks", json!(u64::MAX))),
        4 => Some(("boot_id", json!("00000000-0000-0000-0000-000000000000"))),
        5 => Some(("boot_id", json!(""))),
        6 => Some(("host", json!("another"))),
        7 => Some(("host", json!(""))),
        8 => Some(("pid_namespace", json!(1))),
        9 => Some(("pid_namespace", json!(0))),
        10 => Some(("start_ticks", Value::Null)),
        11 => Some(("boot_id", Value::Null)),
        12 => Some(("start_ticks", json!(-1))),
        _ => None,
    };
    match wrong {
        Some((field, value)) => {
            process[field] = value;
            (Some(process), false)
        }
        None => (Some(process), true),
    }
}

fn process_json(process: &Process) -> Result<Value, String> {
    let identity = process.identity.as_ref().ok_or("the victim is gone")?;
    serde_json::to_value(identity).map_err(|error| error.to_string())
}

/// Puts the record into the project, often with a run directory of its own.
fn plant(project: &Project, chance: &mut Chance, id: &str, record: &Value) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(record).map_err(|error| error.to_string())?;
    if chance.below(20) == 0 {
        // A second pid beside the first.
        text = text.replacen('{', "{ \"pid\": 4242,", 1);
    }
    std::fs::write(project.record_path(id), text).map_err(|error| error.to_string())?;
    let run = project.path().join(".monoco/run").join(id);
    plant_run(chance, &run).map_err(|error| format!("{}: {error}", run.display()))
}

fn plant_run(chance: &mut Chance, run: &Path) -> std::io::Result<()> {
    let kind = chance.below(6);
    if kind == 0 {
        return Ok(());
    }
    std::fs::create_dir(run)?;
    if kind == 1 {
        return Ok(());
    }
    std::fs::write(run.join("lease"), "")?;
    if kind == 2 {
        // A socket of nobody's any more: the record is not to be believed for it.
        drop(UnixListener::bind(run.join("control.sock"))?);
    }
    if kind == 3 {
        listen_and_lie(UnixListener::bind(run.join("control.sock"))?);
    }
    Ok(())
}

/// Answers in an owner's place, for a while, that all is well.
fn listen_and_lie(listener: UnixListener) {
    std::thread::spawn(move || {
        // The first is enough; it ends with the process at the latest.
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
        let _ = std::io::Write::write_all(&mut stream, b"{\"session\":{\"pid\":1}}\n");
    });
}

fn clear(project: &Project, id: &str) {
    // Whatever was asked for may have removed them.
    let _ = std::fs::remove_file(project.record_path(id));
    let run = project.path().join(".monoco/run").join(id);
    if let Ok(stream) = std::os::unix::net::UnixStream::connect(run.join("control.sock")) {
        // Who lies there has heard enough.
        drop(stream);
    }
    let _ = std::fs::remove_dir_all(run);
}
