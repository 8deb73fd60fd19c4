//! The stub of claude, for tests that have no real agent: it is found as `claude`, keeps
//! its conversations in a directory, and answers by itself.

use std::path::Path;

use tempfile::TempDir;

use super::Model;
use crate::project::sibling;

/// Where the stub stands and remembers.
#[derive(Debug)]
pub struct Stub {
    home: TempDir,
}

impl Default for Stub {
    fn default() -> Self {
        Self::new()
    }
}

impl Stub {
    /// A stub that answers, and knows no conversation.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn new() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let bin = home.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a new directory");
        std::fs::create_dir_all(home.path().join("conversations")).expect("a new directory");
        let program = sibling("stub-claude");
        std::os::unix::fs::symlink(program, bin.join("claude")).expect("a new link");
        let stub = Self { home };
        stub.be("answers");
        stub
    }

    /// The environment in which it is found, and no settings of whoever runs the tests.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let home = self.home.path().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let variable = |name: &str, value: String| (name.to_owned(), value);
        vec![
            variable("PATH", format!("{home}/bin:{path}")),
            variable("XDG_CONFIG_HOME", format!("{home}/.config")),
            variable("STUB_CLAUDE", home.clone()),
            variable("HOME", home),
        ]
    }

    /// Has it know no conversation any more.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn forget(&self) {
        let folder = self.home.path().join("conversations");
        std::fs::remove_dir_all(&folder).expect("it is ours");
        std::fs::create_dir_all(&folder).expect("a new directory");
    }

    /// Whether a conversation was ever held by two at once.
    #[must_use]
    pub fn was_held_twice(&self) -> bool {
        self.home.path().join("twice").exists()
    }
}

impl Model for Stub {
    fn be(&self, mood: &str) {
        write(self.home.path(), "mood", mood);
    }

    fn heard(&self) -> Vec<Vec<String>> {
        let heard = std::fs::read_to_string(self.home.path().join("heard"));
        let heard = heard.unwrap_or_default();
        let request = |line: &str| serde_json::from_str(line).ok();
        heard.lines().filter_map(request).collect()
    }
}

/// Replaces a file as a whole: somebody may read it meanwhile.
fn write(folder: &Path, file: &str, text: &str) {
    let new = folder.join(format!("{file}.new"));
    let written = std::fs::write(&new, text);
    let written = written.and_then(|()| std::fs::rename(&new, folder.join(file)));
    written.expect("room for a file");
}
