//! Programs that cannot be executed, told apart from those that can and end with
//! the codes that stand for it.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use monoco_tests::Project;
use session_core::{Outcome, SpawnFailure};

use crate::campaign::Campaign;
use crate::chance::Chance;
use crate::promise::{check_deserted, manager};

/// What is wrong with a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Missing,
    MissingFolder,
    BelowAFile,
    Dangling,
    NameTooLong,
    Unexecutable,
    Folder,
    Loop,
    NoInterpreter,
    InterpreterIsAFolder,
    NoFirstLine,
    EmptyFile,
    HalfABinary,
    BeingWritten,
    TooManyArguments,
    NulFirst,
    /// Nothing: it runs, and ends with this code.
    None(i32),
}

const FLAWS: [Flaw; 20] = [
    Flaw::Missing,
    Flaw::MissingFolder,
    Flaw::BelowAFile,
    Flaw::Dangling,
    Flaw::NameTooLong,
    Flaw::Unexecutable,
    Flaw::Folder,
    Flaw::Loop,
    Flaw::NoInterpreter,
    Flaw::InterpreterIsAFolder,
    Flaw::NoFirstLine,
    Flaw::EmptyFile,
    Flaw::HalfABinary,
    Flaw::BeingWritten,
    Flaw::TooManyArguments,
    Flaw::NulFirst,
    Flaw::None(125),
    Flaw::None(126),
    Flaw::None(127),
    Flaw::None(0),
];

pub(crate) fn run(campaign: &mut Campaign) {
    campaign.each_trial(|campaign, _, chance| {
        let flaw = *chance.pick(&FLAWS);
        attempt(flaw, chance, campaign).map_err(|why| format!("{flaw:?}: {why}"))
    });
}

impl Flaw {
    /// The code that Monoco ends with, if that is no agent's.
    fn code(self) -> Option<i32> {
        match self {
            Self::Missing | Self::MissingFolder | Self::BelowAFile | Self::Dangling => Some(127),
            Self::None(_) => None,
            _ => Some(126),
        }
    }

    /// Makes the program; returns what is held open meanwhile.
    fn make(self, path: &Path) -> std::io::Result<Option<File>> {
        let file = |text: &[u8]| {
            std::fs::write(path, text)?;
            std::fs::set_permissions(path, Permissions::from_mode(0o755))
        };
        match self {
            Self::Missing | Self::MissingFolder | Self::NameTooLong => {}
            Self::BelowAFile => std::fs::write(path.parent().unwrap_or(path), "")?,
            Self::Dangling => symlink("nowhere", path)?,
            Self::Loop => symlink(path, path)?,
            Self::Folder => std::fs::create_dir(path)?,
            Self::Unexecutable => std::fs::write(path, "#!/bin/sh\n")?,
            Self::NoInterpreter => file(b"#!/no/such/interpreter\n")?,
            Self::InterpreterIsAFolder => file(b"#!/tmp\n")?,
            Self::NoFirstLine => file(b"exit 0\n")?,
            Self::EmptyFile => file(b"")?,
            Self::NulFirst => file(b"\0\0\0\0\0\0\0\0")?,
            Self::HalfABinary => {
                let whole = std::fs::read("/proc/self/exe")?;
                file(&whole[..40])?;
            }
            Self::BeingWritten => {
                std::fs::copy("/bin/true", path)?;
                return File::options().append(true).open(path).map(Some);
            }
            Self::TooManyArguments => file(b"#!/bin/sh\nexit 0\n")?,
            Self::None(code) => file(format!("#!/bin/sh\nexit {code}\n").as_bytes())?,
        }
        Ok(None)
    }

    fn name(self, chance: &mut Chance) -> String {
        match self {
            Self::MissingFolder => "no-folder/program".to_owned(),
            Self::BelowAFile => "file/program".to_owned(),
            Self::NameTooLong => "x".repeat(256 + chance.below(1000) as usize),
            _ => "program".to_owned(),
        }
    }
}

fn attempt(flaw: Flaw, chance: &mut Chance, campaign: &mut Campaign) -> Result<(), String> {
    let project = Project::new();
    let path = project.path().join(flaw.name(chance));
    let _held = flaw
        .make(&path)
        .map_err(|error| format!("the program: {error}"))?;
    let program = path.display().to_string();
    let detached = chance.below(2) == 0;
    let mut words = vec!["run"];
    words.extend(detached.then_some("-d"));
    words.extend(["--", &program]);
    // One argument may have 128 KiB, all that the kernel's limit allows less.
    let long = "x".repeat(128 << 10);
    if flaw == Flaw::TooManyArguments {
        words.push(&long);
    }
    let ran = monoco_tests::finish(
        project
            .monoco(&words)
            .spawn()
            .or_else(|error| {
                // The kernel does not take them from us either.
                let too_long = flaw == Flaw::TooManyArguments;
                if too_long {
                    project.monoco(&["run", "--", "/tmp"]).spawn()
                } else {
                    Err(error)
                }
            })
            .map_err(|error| error.to_string())?,
    );
    let expected = match (flaw.code(), flaw) {
        (Some(code), _) => code,
        (None, Flaw::None(code)) if !detached => code,
        _ => 0,
    };
    if ran.code != expected {
        return Err(format!("{expected} was expected: {ran}"));
    }
    let manager = manager(&project).ok_or("the project is lost")?;
    let listing = manager.list().map_err(|error| error.to_string())?;
    let [seen] = &*listing.sessions else {
        return Err(format!("{} sessions are there", listing.sessions.len()));
    };
    let id = seen.session.id.to_string();
    let waited = project.run(&["wait", &id]);
    let session = manager
        .get(&seen.session.id)
        .map_err(|error| error.to_string())?
        .session;
    let is_told = match (flaw, session.outcome()) {
        (Flaw::None(code), Some(Outcome::Exited { code: told })) => {
            campaign.count("agents that ran");
            waited.code == code && code == *told
        }
        (_, Some(Outcome::SpawnFailed { reason, .. })) => {
            campaign.count("programs that could not be executed");
            let meant = match expected {
                127 => SpawnFailure::NotFound,
                _ => SpawnFailure::NotExecutable,
            };
            let lines = ran.err().lines().count();
            waited.code == expected
                && lines == 1
                && *reason == Some(meant)
                && session.pid().is_none()
        }
        _ => false,
    };
    if !is_told {
        return Err(format!("{:?}, and wait says {waited}", session.outcome()));
    }
    check_deserted(&project, Some(&id))
}
