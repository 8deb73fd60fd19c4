//! Mounts that nobody else sees: the campaigns run in a mount namespace of their
//! own, where that can be had.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use monoco_tests::works;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

/// Says that this process has a mount namespace of its own.
const OURS: &str = "FAULTS_OWN_MOUNTS";

/// Goes on in a mount namespace of this process's own, if it may have one.
pub(crate) fn take_ones_own() {
    let place = std::env::temp_dir().to_string_lossy().into_owned();
    if are_ours() || !works(&["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", &place]) {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // Returns only when it cannot be had: the campaigns that need it are skipped.
    let _ = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(OURS, "1")
        .exec();
}

/// Whether what is mounted here is mounted for nobody else.
pub(crate) fn are_ours() -> bool {
    std::env::var_os(OURS).is_some()
}

/// Something that is mounted, until this value goes.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// A disk of so many KiB, for so many files.
    pub(crate) fn disk(path: &Path, kib: u64, inodes: u64) -> Result<Self, String> {
        let data = options(kib, inodes);
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), &*data).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }

    /// What is there already, but only to be read.
    pub(crate) fn read_only(path: &Path) -> Result<Self, String> {
        mount_bind(path, path).map_err(failed)?;
        let mounted = Self(path.to_owned());
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(path, flags, "").map_err(failed)?;
        Ok(mounted)
    }

    /// Gives the disk another size.
    pub(crate) fn resize(&self, kib: u64, inodes: u64) -> Result<(), String> {
        let data = options(kib, inodes);
        mount_remount(&self.0, MountFlags::empty(), &*data).map_err(failed)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Who still has files open there keeps them; the namespace goes with us.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn options(kib: u64, inodes: u64) -> CString {
    CString::new(format!("size={kib}k,nr_inodes={inodes}")).expect("numbers hold no NUL")
}

fn failed(error: rustix::io::Errno) -> String {
    format!("cannot mount: {error}")
}
