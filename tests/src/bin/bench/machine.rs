//! What machine this is: a figure without it says nothing.

use std::fs;

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

/// The type of the filesystem that `path` is on: the longest mount point before it.
fn filesystem(path: &std::path::Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(point, _)| path.starts_with(point));
    let (_, kind) = above.max_by_key(|(point, _)| point.len())?;
    Some(kind.to_owned())
}
