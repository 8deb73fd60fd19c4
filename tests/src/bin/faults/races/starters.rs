//! Sixty-four at once want to start, or adopt, or claim one and the same session:
//! exactly one does, and everybody else is told who has it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;

use monoco_tests::{Project, Signal, agent, finish, kill, monoco};
use session_core::{ClaimError, LeaseError, NewSession, SessionId, SessionManager, error_chain};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::manager;

const STARTERS: usize = 64;
/// How many trials share a project.
const SHARED: u64 = 25;

/// Each contender is forked, and waits for the end of what nobody writes; then all
/// execute the program at once. What each printed is in a file of its own.
const CONTEND: &str = r#"
    exec 3<gate
    i=0; pids=
    while [ $i -lt HOW_MANY ]; do
        ( read -r _ <&3; exec 3<&-; exec "$@" >said/$i.out 2>said/$i.err ) &
        pids="$pids $!"
        i=$((i + 1))
    done
    exec 3<&-
    echo ready
    for pid in $pids; do
        code=0; wait $pid || code=$?
        echo $code >&2
    done"#;

pub(crate) fn run(campaign: &mut Campaign) {
    let make = || Ok(Project::new());
    campaign.each_on_shared(SHARED, make, |campaign, project, trial, chance| {
        // By number, so that it is known how many there are of each kind.
        match trial % 10 {
            0 => adopters(project, campaign),
            1 => claimants(project, chance, campaign),
            _ => starters(project, trial, campaign),
        }
    });
}

/// What one of those who raced did.
struct Contender {
    code: i32,
    out: String,
    err: String,
}

/// Has all of them execute `monoco` with `words` at once.
fn contend(project: &Project, words: &[&str]) -> Result<Vec<Contender>, String> {
    let said = project.path().join("said");
    let gate = project.path().join("gate");
    // What earlier ones said is in the way.
    let _ = std::fs::remove_dir_all(&said);
    std::fs::create_dir(&said).map_err(|error| error.to_string())?;
    if !gate.exists() {
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU)
            .map_err(|error| error.to_string())?;
    }
    // For reading as well, so that nobody has to wait for the other side.
    let mut options = std::fs::File::options();
    let open = options.read(true).write(true).open(&gate);
    let open = open.map_err(|error| error.to_string())?;
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &CONTEND.replace("HOW_MANY", &STARTERS.to_string()),
            "sh",
        ])
        .arg(monoco())
        .args(words);
    let mut child = project
        .at_home(command)
        .spawn()
        .map_err(|e| e.to_string())?;
    // A line, once all are forked.
    let mut ready = [0; 6];
    let mut stdout = child.stdout.take().ok_or("it was piped")?;
    stdout.read_exact(&mut ready).map_err(|e| e.to_string())?;
    drop(open);
    let ran = finish(child);
    drop(stdout);
    contenders(&said, &ran.err())
}

fn contenders(said: &Path, codes: &str) -> Result<Vec<Contender>, String> {
    let read = |name: PathBuf| std::fs::read_to_string(said.join(name)).unwrap_or_default();
    let contender = |(i, code): (usize, &str)| {
        let code = code.parse().map_err(|_| format!("sh said {code:?}"))?;
        let out = read(format!("{i}.out").into());
        let err = read(format!("{i}.err").into());
        Ok(Contender { code, out, err })
    };
    let all: Result<Vec<_>, String> = codes.lines().enumerate().map(contender).collect();
    let all = all?;
    if all.len() != STARTERS {
        return Err(format!("{} of {STARTERS} raced", all.len()));
    }
    Ok(all)
}

/// The one that won, if exactly one did and all others failed with all of `words`.
fn winner<'a>(all: &'a [Contender], words: &[&str]) -> Result<&'a Contender, String> {
    let won: Vec<_> = all.iter().filter(|one| one.code == 0).collect();
    let [winner] = won[..] else {
        let first = all.iter().find(|one| one.code != 0);
        let first = first.map(|one| one.err.as_str()).unwrap_or_default();
        return Err(format!("{} won; a loser was told: {first}", won.len()));
    };
    let is_told = |one: &&Contender| {
        let told = words.iter().all(|word| one.err.contains(word));
        one.code == 125 && told && one.out.is_empty() && one.err.lines().count() == 1
    };
    let mut losers = all.iter().filter(|one| one.code != 0);
    match losers.find(|one| !is_told(one)) {
        Some(odd) => Err(format!(
            "a loser exited {} and said {:?}",
            odd.code, odd.err
        )),
        None => Ok(winner),
    }
}

/// Starters of one name: one agent runs, and everybody else is told whose the name is.
fn starters(project: &Project, trial: u64, campaign: &mut Campaign) -> Result<(), String> {
    let name = format!("name-{trial}");
    let words = ["run", "-d", "--name", &name, "--", agent(), "sleep"];
    let all = contend(project, &words)?;
    let id = all
        .iter()
        .find(|one| one.code == 0)
        .map(|one| one.out.trim_end().to_owned());
    let id = id.ok_or("nobody won")?;
    winner(&all, &["in use", &name, &id])?;
    campaign.count("starters' races");
    campaign.add("starters", STARTERS as u64);
    check_sole(project, &id)?;
    end(project, &id)
}

/// Adopters of one orphan: it has one owner then, and all others hear that it has one.
fn adopters(project: &Project, campaign: &mut Campaign) -> Result<(), String> {
    let (id, _) = project.orphan(&[], &["sleep"]);
    let all = contend(project, &["adopt", &id])?;
    let winner = winner(&all, &[&id, "own"])?;
    if winner.out.trim_end() != id {
        return Err(format!("who adopted {id} said {:?}", winner.out));
    }
    campaign.count("adopters' races");
    check_sole(project, &id)?;
    end(project, &id)
}

/// Programs that claim one id.
fn claimants(
    project: &Project,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let id = SessionId::parse(&format!("c{:016x}", chance.next())).map_err(|e| e.to_string())?;
    let manager = SessionManager::create(project.path()).map_err(|error| error.to_string())?;
    let barrier = Barrier::new(STARTERS);
    let claim = || {
        barrier.wait();
        let id = Some(id.clone());
        manager.claim_new(NewSession {
            id,
            ..NewSession::default()
        })
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..STARTERS).map(|_| scope.spawn(claim)).collect();
        all.into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect()
    });
    campaign.count("claimants' races");
    let mut won = Vec::new();
    for one in all {
        match one.map_err(|_| "a claimant gave up")? {
            Ok(claim) => won.push(claim),
            Err(ClaimError::Exists(_) | ClaimError::Lease(LeaseError::Held(_))) => {}
            Err(error) => return Err(format!("a claimant was told: {}", error_chain(&error))),
        }
    }
    if won.len() != 1 {
        return Err(format!("{} claimed one id", won.len()));
    }
    drop(won);
    check_clean(project, 0)?;
    manager.remove(&id).map_err(|error| error_chain(&error))
}

/// One session lives, one agent, one supervisor, and nothing else is left.
fn check_sole(project: &Project, id: &str) -> Result<(), String> {
    let living = manager(project).ok_or("the project is lost")?.living();
    let living = living.map_err(|error| error.to_string())?.sessions;
    let ids: Vec<_> = living.iter().map(|seen| seen.session.id.as_str()).collect();
    if ids != [id] || living[0].liveness.as_str() != "owned" {
        return Err(format!("{ids:?} live, and {id} was started"));
    }
    check_clean(project, 1)?;
    let mut survivors = project.survivors();
    let mut expected = vec![project.supervisor(id), project.agent(id)];
    survivors.sort_unstable();
    expected.sort_unstable();
    if survivors != expected {
        return Err(format!("{survivors:?} run, and not only {expected:?}"));
    }
    Ok(())
}

/// No more run directories than that, and no records but one.
fn check_clean(project: &Project, runs: usize) -> Result<(), String> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(project.path().join(".monoco").join(folder));
        let entries = entries.map_err(|error| error.to_string())?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())?;
        Ok::<_, String>(
            names
                .into_iter()
                .filter(|name| name != ".gitignore")
                .collect::<Vec<_>>(),
        )
    };
    let (run, records) = (names("run")?, names("sessions")?);
    if run.len() != runs || records.len() != 1 {
        return Err(format!("left behind: {run:?} and {records:?}"));
    }
    Ok(())
}

fn end(project: &Project, id: &str) -> Result<(), String> {
    let agent = project.agent(id);
    kill(agent, Signal::KILL);
    project.wait_for_release(id);
    let manager = manager(project).ok_or("the project is lost")?;
    let id = SessionId::parse(id).map_err(|error| error.to_string())?;
    manager
        .discard(&id, true, "a campaign")
        .map_err(|error| error_chain(&error))?;
    Ok(())
}
