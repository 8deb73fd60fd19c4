//! Which project a command is about.

use std::path::{Path, PathBuf};

use session_core::SessionManager;

use crate::error::CliError;

/// The environment variable that names the project's directory.
const PROJECT_VAR: &str = "MONOCO_PROJECT";

/// Opens the project that was named, or that the working directory is in.
pub(crate) fn open(named: Option<&Path>) -> Result<SessionManager, CliError> {
    match named_project(named)? {
        Some(project) => Ok(SessionManager::open(project)?),
        None => {
            let cwd = working_directory()?;
            match SessionManager::find_project(&cwd) {
                Some(project) if holds_sessions(&project) => Ok(SessionManager::open(project)?),
                _ => Err(CliError::NoProject(cwd)),
            }
        }
    }
}

/// As [`open`]; where there is no project, makes one: in the directory that was
/// named, at the root of the git repository, or here.
pub(crate) fn open_or_create(named: Option<&Path>) -> Result<SessionManager, CliError> {
    Ok(SessionManager::create(here(named)?)?)
}

/// The directory of the project that was named, or that `run` would use here.
pub(crate) fn here(named: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(project) = named_project(named)? {
        return Ok(project);
    }
    let cwd = working_directory()?;
    Ok(SessionManager::find_project(&cwd).unwrap_or(cwd))
}

/// The projects that are to be served: those that were named, or the one that `run`
/// would use here, whether it is there yet or not.
pub(crate) fn to_serve(named: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    if named.is_empty() {
        return Ok(vec![here(None)?]);
    }
    let projects = named.iter().map(|path| here(Some(path)));
    projects.collect()
}

fn named_project(named: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    let from_environment = || {
        let dir = std::env::var_os(PROJECT_VAR)?;
        (!dir.is_empty()).then(|| PathBuf::from(dir))
    };
    let Some(path) = named.map(Path::to_owned).or_else(from_environment) else {
        return Ok(None);
    };
    let absolute = path.canonicalize();
    absolute
        .map(Some)
        .map_err(|source| CliError::Project { path, source })
}

fn working_directory() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::WorkingDirectory)
}

fn holds_sessions(project: &Path) -> bool {
    project.join(".monoco").symlink_metadata().is_ok()
}
