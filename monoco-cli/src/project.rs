//! Which project a command is about.

use std::path::{Path, PathBuf};

use session_core::SessionManager;

use crate::error::CliError;
use crate::xdg;

/// The environment variable that names the project's directory.
const PROJECT_VAR: &str = "MONOCO_PROJECT";

/// Opens the project that was named, or that the working directory is in.
pub(crate) fn open(named: Option<&Path>) -> Result<SessionManager, CliError> {
    match named_project(named)? {
        Some(project) => Ok(SessionManager::open(project)?),
        None => {
            let cwd = working_directory()?;
            match search(&cwd) {
                Some(project) if holds_sessions(&project) => Ok(SessionManager::open(project)?),
                _ => Err(CliError::NoProject(cwd)),
            }
        }
    }
}

/// Where `run` has its project, or makes one: the directory that was named, the root
/// of the project or of the git repository, or here.
pub(crate) fn here(named: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(project) = named_project(named)? {
        return Ok(project);
    }
    let cwd = working_directory()?;
    Ok(search(&cwd).unwrap_or(cwd))
}

/// The project that was named, or that the working directory is in: what `run` would
/// use, where it need not make one.
pub(crate) fn find(named: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    match named_project(named)? {
        Some(project) => Ok(Some(project)),
        None => Ok(search(&working_directory()?)),
    }
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

/// The project that a directory is in. A home whose `.monoco` has only the user's roles
/// is none: what is below it would be taken for one project.
fn search(cwd: &Path) -> Option<PathBuf> {
    let found = SessionManager::find_project(cwd)?;
    let home = xdg::home().and_then(|home| home.canonicalize().ok());
    if home.as_ref() != Some(&found) || found.join(".monoco/sessions").exists() {
        return Some(found);
    }
    let is_repository = |dir: &&Path| dir.join(".git").symlink_metadata().is_ok();
    cwd.ancestors().find(is_repository).map(Path::to_owned)
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

/// A path for people: from the project, or their home, on.
pub(crate) fn short(path: &Path, project: Option<&Path>) -> PathBuf {
    let below = |folder: Option<&Path>| path.strip_prefix(folder?).ok();
    match (below(project), below(xdg::home().as_deref())) {
        (Some(below), _) => below.to_owned(),
        (None, Some(below)) => Path::new("~").join(below),
        (None, None) => path.to_owned(),
    }
}

fn working_directory() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::WorkingDirectory)
}

fn holds_sessions(project: &Path) -> bool {
    project.join(".monoco").symlink_metadata().is_ok()
}
