//! From an argument vector to a program that can be executed, and, where it
//! cannot, to words that say why.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use session_core::WorkerError;

use crate::sys::Image;

/// Where programs are looked for when `PATH` is not set (`execvp(3)`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program with its arguments and its environment.
#[derive(Debug, Clone)]
pub struct Program {
    /// The argument vector; the first is the program, found through `PATH` if it
    /// holds no slash.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Program {
    /// `argv` with the environment of this process.
    #[must_use]
    pub fn inheriting_env(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            env: std::env::vars_os().collect(),
        }
    }

    /// Sets one variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    /// Leaves variables out.
    pub(crate) fn remove(&mut self, names: &[OsString]) {
        self.env.retain(|(known, _)| !names.contains(known));
    }

    /// Everything the child needs, in the form it needs it in.
    pub(crate) fn image(&self) -> Result<Image, WorkerError> {
        let file = self.argv.first().filter(|file| !file.is_empty());
        let file = file.ok_or_else(|| WorkerError::NotFound("an empty command".to_owned()))?;
        let variable = |(name, value): &(OsString, OsString)| {
            let assignment = [name.as_bytes(), b"=", value.as_bytes()].concat();
            c_string(OsString::from_vec(assignment))
        };
        Ok(Image {
            candidates: self
                .candidates(file)
                .into_iter()
                .map(c_string)
                .collect::<Result<_, _>>()?,
            argv: self
                .argv
                .iter()
                .cloned()
                .map(c_string)
                .collect::<Result<_, _>>()?,
            env: self.env.iter().map(variable).collect::<Result<_, _>>()?,
        })
    }

    /// Where the program `file` may be, in the order in which it is looked for.
    pub(crate) fn candidates(&self, file: &OsStr) -> Vec<OsString> {
        if file.as_bytes().contains(&b'/') {
            return vec![file.to_owned()];
        }
        let path = self.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or_else(|| OsString::from(DEFAULT_PATH), |(_, path)| path.clone());
        std::env::split_paths(&path)
            .map(|dir| {
                if dir.as_os_str().is_empty() {
                    Path::new(".").join(file)
                } else {
                    dir.join(file)
                }
            })
            .map(Into::into)
            .collect()
    }

    /// What the errno of a failed exec means for a person.
    pub(crate) fn exec_error(&self, errno: i32) -> WorkerError {
        let file = self.argv.first().cloned().unwrap_or_default();
        let program = file.to_string_lossy().into_owned();
        let executable = |reason: &str| WorkerError::NotExecutable {
            program: program.clone(),
            reason: reason.to_owned(),
        };
        let exists = self
            .candidates(&file)
            .iter()
            .any(|path| Path::new(path).is_file());
        match errno {
            // The kernel says ENOENT for a script whose interpreter is missing as well.
            libc::ENOENT if exists => {
                executable("the interpreter that its first line names does not exist")
            }
            libc::ENOENT | libc::ENOTDIR => WorkerError::NotFound(program),
            libc::EACCES => executable("permission denied"),
            libc::ENOEXEC => executable("not a program, nor a script with a `#!` line"),
            errno => executable(&std::io::Error::from_raw_os_error(errno).to_string()),
        }
    }
}

pub(crate) fn c_string(text: OsString) -> Result<CString, WorkerError> {
    CString::new(text.into_vec()).map_err(|error| {
        let program = String::from_utf8_lossy(&error.into_vec()).replace('\0', "\\0");
        WorkerError::NotExecutable {
            program,
            reason: "an argument holds a NUL byte".to_owned(),
        }
    })
}
