//! A systemd user manager of a test's own: in namespaces and a control group that
//! go with it, so that nothing of the machine's own manager is touched.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::project::{Project, monoco};
use crate::ran::{Ran, finish};
use crate::skip::{skip, works};
use crate::wait::{PATIENCE, wait_until};

/// What runs first in the namespaces. systemd goes up only where it seems to be
/// the init (`sd_booted(3)`), and in a control group that it may divide.
const INIT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
"$1" --user --log-target=null &
wait
"#;

/// A user manager; it ends, with everything it started, when it is dropped.
#[derive(Debug)]
pub struct UserManager<'a> {
    project: &'a Project,
    init: Child,
    group: PathBuf,
}

impl<'a> UserManager<'a> {
    /// Starts one whose home is `project`; `None`, told with a SKIPPED line, where
    /// that cannot be had.
    #[must_use]
    pub fn start(project: &'a Project) -> Option<Self> {
        match Self::try_start(project) {
            Ok(manager) => Some(manager),
            Err(reason) => {
                skip(&reason);
                None
            }
        }
    }

    fn try_start(project: &'a Project) -> Result<Self, String> {
        let mount = "unshare --mount --pid --fork --cgroup mount -t cgroup2 cgroup2 /mnt";
        if !works(&mount.split(' ').collect::<Vec<_>>()) {
            return Err("it needs unshare(1), and the privilege to mount".to_owned());
        }
        let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .ok_or("it needs systemd")?;
        let group = own_group()
            .ok_or("it needs a mounted hierarchy of control groups, version 2")?
            .join(format!("monoco-test-{}", project_name(project)));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let mut init = Command::new("sh");
        init.args([
            "-c",
            r#"echo $$ >"$0/cgroup.procs" && exec unshare --mount --pid --fork --kill-child \
               --mount-proc --cgroup --ipc sh -c "$1" init "$2""#,
        ]);
        init.arg(&group).arg(INIT).arg(systemd);
        let mut init = at_home(project, init);
        init.stdout(Stdio::null()).stderr(Stdio::null());
        let init = init.spawn().expect("sh can be executed");
        let mut manager = Self {
            project,
            init,
            group,
        };
        manager.wait_until_up()?;
        Ok(manager)
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let asked = self.run(&["systemctl", "--user", "is-system-running"]);
            if ["running", "degraded"].contains(&asked.out().trim()) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.init.try_wait() {
                return Err(format!("no user manager comes up here: {status}"));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("no user manager comes up here: {asked}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Runs a command beside the manager, as somebody who is logged in.
    ///
    /// # Panics
    /// When nsenter(1) is not there.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Ran {
        let namespaces = format!("/proc/{}/ns", self.init.id());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--pid={namespaces}/pid_for_children"))
            .arg(format!("--cgroup={namespaces}/cgroup"))
            // Entering a mount namespace leaves the directory.
            .args(["sh", "-c", r#"cd "$0" && exec "$@""#])
            .arg(self.project.path())
            .args(argv);
        let mut command = at_home(self.project, command);
        finish(command.spawn().expect("nsenter can be executed"))
    }

    /// Runs `monoco` with `args` there.
    #[track_caller]
    pub fn monoco(&self, args: &[&str]) -> Ran {
        self.run(&[&[monoco()], args].concat())
    }

    /// Runs `systemctl --user` with `args` there.
    #[track_caller]
    pub fn systemctl(&self, args: &[&str]) -> Ran {
        self.run(&[&["systemctl", "--user", "--no-pager"], args].concat())
    }

    /// A property of a unit.
    #[must_use]
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let property = format!("--property={name}");
        let ran = self.systemctl(&["show", "--value", &property, unit]).ok();
        ran.out().trim_end().to_owned()
    }
}

impl Drop for UserManager<'_> {
    fn drop(&mut self) {
        // With the first process of a pid namespace all others die.
        let _ = self.init.kill();
        let _ = self.init.wait();
        wait_until("the control group is empty", || remove_tree(&self.group));
    }
}

/// Removes a control group with those below; `false` while somebody is in one.
fn remove_tree(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// The directory of our own control group (version 2).
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let mount = PathBuf::from(mount.split(' ').nth(4)?);
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(mount.join(own)).filter(|group| group.join("cgroup.procs").exists())
}

fn project_name(project: &Project) -> String {
    let name = project.path().file_name().expect("a directory has a name");
    let name = name.to_string_lossy();
    name.trim_start_matches('.').to_owned()
}

/// The environment of a login whose home is the project.
fn at_home(project: &Project, command: Command) -> Command {
    let mut command = project.at_home(command);
    command
        .env("HOME", project.path())
        .env("XDG_RUNTIME_DIR", "/run/user/0")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    command
}
