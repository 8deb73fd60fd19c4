//! What machine this is: a figure without it says nothing.

use std::fs;
use std::path::Path;

/// Processors, memory, kernel, the filesystem of the projects.
pub(crate) fn described() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = value(&meminfo, "MemTotal").and_then(|kb| kb.split(' ').next()?.parse().ok());
    let memory = memory.map_or(0.0, |kb: f64| kb / f64::from(1 << 20));
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let filesystem = filesystem(&std::env::temp_dir()).unwrap_or_else(|| "unknown".to_owned());
    format!("{cores} × {model}, {memory:.0} GiB, Linux {kernel}, projects on {filesystem}")
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The type of the filesystem that `path` is on (the longest mount point before it),
/// and whether an ext4 lacks the journal that it mostly has: how long a file takes to
/// make, and to be made durable, depends on that.
fn filesystem(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(_, point, _)| path.starts_with(point));
    let (device, _, kind) = above.max_by_key(|(_, point, _)| point.len())?;
    let has_journal = || -> Option<bool> {
        let device = fs::canonicalize(device).ok()?;
        let name = format!("{}-", device.file_name()?.to_str()?);
        let journals = fs::read_dir("/proc/fs/jbd2").ok()?;
        let mut names = journals.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Some(names.any(|journal| journal.starts_with(&name)))
    };
    let lacks_it = kind == "ext4" && has_journal() == Some(false);
    let journal = if lacks_it { " without a journal" } else { "" };
    Some(format!("{kind}{journal}"))
}
