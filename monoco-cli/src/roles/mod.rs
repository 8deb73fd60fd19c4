//! Roles: what agents are told about who they are.
//!
//! They are built in, the user's or the project's, in files as the original program
//! has them. Of several with one name, the last wins. What cannot be read is named,
//! and hides no other file.

mod file;
mod write;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::text_file::{Folder, Refusal, Whose};

/// The roles that are there without any file.
const BUILT_IN: &str = include_str!("built_in.yaml");
/// The largest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// The most files that are read in one folder.
const MAX_FILES: usize = 256;

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Role {
    /// What `--role` calls it: a few words on one line.
    pub(crate) name: String,
    pub(crate) description: String,
    /// The event that calls for it, in the original program's words.
    pub(crate) trigger: String,
    pub(crate) goal: String,
    pub(crate) system_prompt: String,
    /// The engine that it is meant for; `None` for any.
    pub(crate) engine: Option<String>,
    pub(crate) source: Source,
}

/// Where a role comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Source {
    BuiltIn,
    User { path: PathBuf },
    Project { path: PathBuf },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::User { path } | Self::Project { path } => path.display().fmt(f),
        }
    }
}

/// Something that was skipped.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) path: PathBuf,
    pub(crate) problem: String,
}

/// All roles that there are.
#[derive(Debug)]
pub(crate) struct Roles {
    roles: Vec<Role>,
    damaged: Vec<Damaged>,
}

impl Roles {
    /// Reads the roles of the user whose home is `home`, and those of a project.
    pub(crate) fn load(home: Option<&Path>, project: Option<&Path>) -> Self {
        let mut roles = Self {
            roles: Vec::new(),
            damaged: Vec::new(),
        };
        let built_in = file::parse(BUILT_IN, &Source::BuiltIn);
        roles.extend(built_in.expect("what is built in is right"));
        // Whose home is a project has the same files twice.
        let project = project.filter(|project| home.is_none_or(|home| !is_same(home, project)));
        if let Some(home) = home {
            let source = |path| Source::User { path };
            roles.folder(&home.join(".monoco"), Whose::Users, source);
        }
        if let Some(project) = project {
            let source = |path| Source::Project { path };
            roles.folder(&project.join(".monoco"), Whose::Projects, source);
        }
        roles
    }

    /// The role that is called so, or the only one that is but for upper and lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&Role> {
        if let Some(role) = self.roles.iter().find(|role| role.name == name) {
            return Some(role);
        }
        let name = name.to_lowercase();
        let is_like = |role: &&Role| role.name.to_lowercase() == name;
        let mut alike = self.roles.iter().filter(is_like);
        alike.next().filter(|_| alike.next().is_none())
    }

    /// All, in the order in which they were met first.
    pub(crate) fn all(&self) -> &[Role] {
        &self.roles
    }

    /// What was skipped, and why.
    pub(crate) fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }

    fn extend(&mut self, roles: Vec<Role>) {
        for role in roles {
            match self.roles.iter_mut().find(|known| known.name == role.name) {
                Some(known) => *known = role,
                None => self.roles.push(role),
            }
        }
    }

    /// Reads `roles.yaml` in `dir`, then `roles/*.yaml`, by name.
    fn folder(&mut self, dir: &Path, whose: Whose, source: impl Fn(PathBuf) -> Source) {
        let Some(folder) = self.opened(dir, Folder::open(dir, whose)) else {
            return;
        };
        self.file(&folder, "roles.yaml".as_ref(), &source);
        let path = folder.path_of("roles");
        let Some(below) = self.opened(&path, folder.folder("roles")) else {
            return;
        };
        let names = match below.names() {
            Ok(names) => names,
            Err(refusal) => return self.skip(path, &refusal),
        };
        let is_yaml = |name: &Path| {
            let extension = name.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("yaml" | "yml"))
        };
        let names: Vec<_> = names
            .iter()
            .map(Path::new)
            .filter(|name| is_yaml(name))
            .collect();
        if names.len() > MAX_FILES {
            return self.skip(path, &Refusal::TooMany(MAX_FILES));
        }
        for name in names {
            self.file(&below, name, &source);
        }
    }

    fn opened(&mut self, path: &Path, opened: Result<Option<Folder>, Refusal>) -> Option<Folder> {
        opened.unwrap_or_else(|refusal| {
            self.skip(path.to_owned(), &refusal);
            None
        })
    }

    fn file(&mut self, folder: &Folder, name: &Path, source: impl Fn(PathBuf) -> Source) {
        let path = folder.path_of(name);
        let text = match folder.read(name, MAX_LEN) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(refusal) => return self.skip(path, &refusal),
        };
        match file::parse(&text, &source(path.clone())) {
            Ok(roles) => self.extend(roles),
            Err(error) => self.skip(path, &error),
        }
    }

    fn skip(&mut self, path: PathBuf, error: &(dyn std::error::Error + 'static)) {
        let problem = session_core::error_chain(error);
        self.damaged.push(Damaged { path, problem });
    }
}

fn is_same(home: &Path, project: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(home) == real(project)
}

#[cfg(test)]
mod tests;
