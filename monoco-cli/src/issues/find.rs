//! Finding the issue that an id names.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::front_matter::{FrontMatter, Status};
use super::read;
use super::tree::{self, TreeError};

/// An issue's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Its title, where the file can be read.
    pub(crate) title: Option<String>,
    /// Its status: what the file says, else the folder that it is in.
    pub(crate) status: Option<Status>,
}

/// Looks for the issue `id` in the project's `Issues` folder. Of several files the
/// first that is not closed is meant.
///
/// # Errors
/// When the folder cannot be looked through. That there is none is no error.
pub(crate) fn find(project: &Path, id: &str) -> Result<Option<Found>, TreeError> {
    let found = files_of(project, id)?.into_iter().map(look);
    let is_settled =
        |found: &Found| matches!(found.status, Some(Status::Closed | Status::Archived));
    // Of equal ones the first is taken.
    Ok(found.min_by_key(is_settled))
}

/// All files of the issue `id`, in order.
pub(crate) fn files_of(project: &Path, id: &str) -> Result<Vec<PathBuf>, TreeError> {
    let Some(folder) = tree::folder_in(project) else {
        return Ok(Vec::new());
    };
    let mut files = tree::files(&folder)?;
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| tree::belongs_to(name, id))
    });
    Ok(files)
}

fn look(path: PathBuf) -> Found {
    let front = read::read(&path)
        .ok()
        .and_then(|text| FrontMatter::read(&Document::new(&text)).0);
    let (title, status) = match &front {
        Some(front) => (front.title.value().cloned(), front.status.value().copied()),
        None => (None, None),
    };
    let folder = || tree::status_of(&path).and_then(|(_, status)| status);
    let status = status.or_else(folder);
    Found {
        path,
        title,
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::FOLDER;

    #[test]
    fn an_issue_is_found_by_its_id() {
        let dir = tempfile::tempdir().expect("room");
        let project = dir.path();
        assert_eq!(find(project, "FEAT-1").expect("readable"), None);
        let write = |path: &str, text: &str| {
            let path = project.join(FOLDER).join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
            std::fs::write(&path, text).expect("room");
            path
        };
        write("Features/open/FEAT-10-other.md", "");
        let closed = write("Features/closed/FEAT-1-old.md", "no front matter");
        let found = find(project, "FEAT-1").expect("readable");
        let expected = Found {
            path: closed,
            title: None,
            status: Some(Status::Closed),
        };
        assert_eq!(found, Some(expected));
        let open = write(
            "Features/open/FEAT-1.md",
            "---\ntitle: 持久化\nstatus: open\n---\n",
        );
        let found = find(project, "FEAT-1").expect("readable");
        let expected = Found {
            path: open,
            title: Some("持久化".to_owned()),
            status: Some(Status::Open),
        };
        assert_eq!(found, Some(expected));
        assert_eq!(find(project, "../FEAT-1").expect("readable"), None);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let dir = tempfile::tempdir().expect("room");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("room");
        std::fs::write(elsewhere.join("FEAT-1.md"), "").expect("room");
        let project = dir.path().join("project");
        std::fs::create_dir(&project).expect("room");
        std::os::unix::fs::symlink(&elsewhere, project.join(FOLDER)).expect("a link");
        assert_eq!(find(&project, "FEAT-1").expect("readable"), None);
    }
}
