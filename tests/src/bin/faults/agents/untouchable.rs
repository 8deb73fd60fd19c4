//! An agent that becomes somebody else, whom its owner may not signal: that is told
//! to who asks, and nothing is recorded that did not happen.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use monoco_tests::{Project, Ran, Signal, agent, finish, gone, kill, monoco, wait_until, works};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::check_deserted;

const NOBODY: u32 = 65534;

pub(crate) fn run(campaign: &mut Campaign) {
    if !geteuid().is_root() || !works(&["setpriv", "--reuid", "65534", "true"]) {
        return campaign.skip("it needs root, and setpriv(1)");
    }
    let programs = LazyLock::new(Programs::copy);
    if !programs.become_root() {
        return campaign.skip("programs that are setuid do not become root here");
    }
    campaign.each_trial(|campaign, _, chance| attempt(&programs, chance, campaign));
}

/// Copies that anybody may execute.
struct Programs {
    monoco: PathBuf,
    agent: PathBuf,
    _folder: TempDir,
}

impl Programs {
    fn copy() -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        set_mode(folder.path(), 0o755);
        let copy = |from: &str, name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::copy(from, &path).expect("room for a copy");
            set_mode(&path, mode);
            path
        };
        Self {
            monoco: copy(monoco(), "monoco", 0o755),
            agent: copy(agent(), "agent", 0o4755),
            _folder: folder,
        }
    }

    fn become_root(&self) -> bool {
        let agent = self.agent.display().to_string();
        let be = ["--clear-groups", &agent, "be", "root", "exit:0"];
        works(
            &[
                &["setpriv", "--reuid", "65534", "--regid", "65534"],
                &be[..],
            ]
            .concat(),
        )
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

fn attempt(
    programs: &Programs,
    chance: &mut Chance,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let project = Project::new();
    for folder in [project.path(), project.state_home()] {
        chown(folder, Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
    }
    let as_nobody = |words: &[&str]| -> Ran {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&programs.monoco)
            .args(words);
        finish(project.at_home(command).spawn().expect("setpriv was there"))
    };
    let ready = project.state_home().join("ready");
    let agent = programs.agent.display().to_string();
    let told = format!("ready:{}", ready.display());
    // One that is setuid only stays within reach: its real uid is nobody's still.
    let out_of_reach = chance.below(4) != 0;
    let mut be: Vec<&str> = vec!["run", "-d", "--", &agent, "be"];
    be.extend((chance.below(2) == 0).then_some("member"));
    be.extend(out_of_reach.then_some("root"));
    be.extend([told.as_str(), "sleep"]);
    let id = as_nobody(&be).ok().out().trim_end().to_owned();
    wait_until("the agent is ready", || ready.exists());
    let pid = project.agent(&id);
    let asked: &[&str] = match chance.below(3) {
        0 => &["stop", "-t", "0", &id],
        1 => &["stop", "-t", "0.2", &id],
        _ => &["kill", &id],
    };
    let answer = as_nobody(asked);
    if !out_of_reach {
        campaign.count("within reach");
        answer.ok();
        gone(&[pid]);
        return check_deserted(&project, Some(&id));
    }
    campaign.count("out of reach");
    if answer.code != 125 || !answer.err().contains("another user") {
        return Err(format!("{asked:?}: {answer}"));
    }
    let word = project.status(&id);
    if word != "running" {
        return Err(format!("{word} is recorded of an agent that runs"));
    }
    kill(pid, Signal::KILL);
    as_nobody(&["wait", &id]).code(137);
    // Root's own manager refuses a project of somebody else.
    let outcome = &project.record(&id)["outcome"];
    if outcome["kind"] != "stopped" || outcome["wait_status"]["signal"] != 9 {
        return Err(format!("{outcome} is recorded"));
    }
    check_deserted(&project, Some(&id))
}
