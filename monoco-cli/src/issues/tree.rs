//! The files of a project's `Issues` folder.
//!
//! Links are not followed, so nothing outside of the folder is ever met; how deep
//! and how much is looked at is bounded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FOLDER;
use super::front_matter::Status;

/// How deep folders are nested at most.
const MAX_DEPTH: usize = 16;
/// How many files and folders are looked at, at most.
const MAX_ENTRIES: usize = 500_000;
/// Texts about domains, no issues.
const DOMAINS: &str = "Domains";

/// A folder of issues cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// The system refused.
    #[error("cannot look through {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// There is no end to it.
    #[error("{} holds more than {MAX_ENTRIES} files; name those that are meant", .0.display())]
    TooMany(PathBuf),
}

/// Whether `text` is an issue's id, such as `FEAT-0138`.
pub(crate) fn is_id(text: &str) -> bool {
    let Some((kind, number)) = text.split_once('-') else {
        return false;
    };
    let all = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| of(&b));
    all(kind, u8::is_ascii_uppercase) && all(number, u8::is_ascii_digit)
}

/// Whether a file called `name` is that of the issue `id`: `ID.md`, `ID-title.md`.
pub(crate) fn belongs_to(name: &str, id: &str) -> bool {
    let rest = name
        .strip_suffix(".md")
        .and_then(|stem| stem.strip_prefix(id));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The `Issues` folder in `project`. A link is none: it may lead anywhere.
pub(crate) fn folder_in(project: &Path) -> Option<PathBuf> {
    let folder = project.join(FOLDER);
    let metadata = folder.symlink_metadata().ok()?;
    metadata.is_dir().then_some(folder)
}

/// The innermost `Issues` folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> Option<&Path> {
    let is_folder = |path: &&Path| path.file_name().is_some_and(|name| name == FOLDER);
    path.ancestors().skip(1).find(is_folder)
}

/// The status that a file's place in the `Issues` folder says it has.
pub(crate) fn status_of(path: &Path) -> Option<(&str, Option<Status>)> {
    let inside = folder_of(path);
    for (depth, folder) in path.ancestors().skip(1).enumerate() {
        if Some(folder) == inside || (inside.is_none() && depth > 0) {
            break;
        }
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let status = Status::parse(&name.to_lowercase());
        // No status has such a folder, but people make them.
        let is_stage = inside.is_some() && matches!(name, "done" | "freezed");
        if status.is_some() || is_stage {
            return Some((name, status));
        }
    }
    None
}

/// The files below `folder` that are issues, in order: those that are named like
/// one, or that are in the folder of a status.
pub(crate) fn issues(folder: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let mut files = files(folder)?;
    files.retain(|path| is_named_like_one(path) || status_of(path).is_some());
    Ok(files)
}

fn is_named_like_one(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let id = stem.map(|stem| stem.splitn(3, '-').take(2).collect::<Vec<_>>().join("-"));
    id.is_some_and(|id| is_id(&id))
}

/// All markdown files below `folder`, in order.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, TreeError> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    let mut n_entries = 0;
    while let Some((path, depth)) = open.pop() {
        let failed = |source| TreeError::Io {
            path: path.clone(),
            source,
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            n_entries += 1;
            if n_entries > MAX_ENTRIES {
                return Err(TreeError::TooMany(folder.to_owned()));
            }
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Does not follow links.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth < MAX_DEPTH && name != DOMAINS {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file() && name.as_encoded_bytes().ends_with(b".md") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_the_names_of_their_files() {
        for id in ["FEAT-0138", "EPIC-0000", "FIX-1"] {
            assert!(is_id(id), "{id}");
        }
        for no in [
            "", "FEAT", "FEAT-", "-1", "feat-1", "FEAT-1-2", "FEAT-1a", "#FEAT-1",
        ] {
            assert!(!is_id(no), "{no}");
        }
        assert!(belongs_to("FEAT-1.md", "FEAT-1") && belongs_to("FEAT-1-持久.md", "FEAT-1"));
        for other in [
            "FEAT-10.md",
            "FEAT-1.txt",
            "FEAT-1-x",
            "x-FEAT-1.md",
            "FEAT-1x.md",
        ] {
            assert!(!belongs_to(other, "FEAT-1"), "{other}");
        }
    }

    #[test]
    fn a_place_says_which_status() {
        let of = |path: &str| {
            let (folder, status) = status_of(Path::new(path))?;
            Some((folder.to_owned(), status))
        };
        let open = Some(("open".to_owned(), Some(Status::Open)));
        assert_eq!(of("/p/Issues/Features/open/FEAT-1-x.md"), open);
        assert_eq!(of("/p/Issues/Features/open/deep/er/FEAT-1-x.md"), open);
        assert_eq!(of("/elsewhere/open/FEAT-1-x.md"), open);
        assert_eq!(of("/open/elsewhere/FEAT-1-x.md"), None);
        assert_eq!(of("/open/Issues/FEAT-1-x.md"), None);
        let done = Some(("done".to_owned(), None));
        assert_eq!(of("/p/Issues/Features/done/FEAT-1-x.md"), done);
        assert_eq!(of("/p/done/FEAT-1-x.md"), None);
    }

    #[test]
    fn links_and_hidden_files_are_left_alone() {
        let dir = tempfile::tempdir().expect("room");
        let folder = dir.path().join(FOLDER);
        for path in ["Features/open", "Domains", ".hidden"] {
            fs::create_dir_all(folder.join(path)).expect("room");
        }
        let write = |path: &str| fs::write(folder.join(path), "x").expect("room");
        write("Features/open/FEAT-2-b.md");
        write("Features/open/notes.md");
        write("FEAT-1.md");
        write("README.md");
        write("Domains/FEAT-3.md");
        write(".hidden/FEAT-4.md");
        std::os::unix::fs::symlink("/", folder.join("root")).expect("a link");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("FEAT-5.md")).expect("a link");
        let found = issues(&folder).expect("readable");
        let names: Vec<_> = found
            .iter()
            .filter_map(|path| path.strip_prefix(&folder).ok()?.to_str())
            .collect();
        assert_eq!(
            names,
            [
                "FEAT-1.md",
                "Features/open/FEAT-2-b.md",
                "Features/open/notes.md"
            ]
        );
    }
}
