//! The floors: small C programs that do the least that could be done. `cargo xtask
//! bench` compiles them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

/// One of them; `tests/floors` says what each does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Floor {
    Agent,
    End,
    ReadAll,
    Supervise,
}

impl Floor {
    /// Where it stands.
    pub(crate) fn path(self) -> &'static str {
        static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
            let folder = std::env::var_os("MONOCO_FLOORS");
            folder
                .expect("`cargo xtask bench` compiles the floors")
                .into()
        });
        let name = match self {
            Self::Agent => "agent",
            Self::End => "end",
            Self::ReadAll => "readall",
            Self::Supervise => "supervise",
        };
        let path = FOLDER.join(name).into_os_string().into_string();
        Box::leak(path.expect("a plain path").into_boxed_str())
    }

    /// A run of it.
    pub(crate) fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path());
        command.args(arguments);
        command
    }
}
