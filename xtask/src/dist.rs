//! The binary for those who do not build it themselves: one static file, which needs
//! no library of the machine that it runs on, starts faster and dirties fewer pages.

use std::path::PathBuf;
use std::process::Command;

use crate::{BUILD_RELEASE, cargo, target};

/// Builds it; where it then stands.
pub(crate) fn build() -> Result<PathBuf, String> {
    let host = host()?;
    // Not position-independent, as Go's programs are not: an address is then where the
    // linker put it, and no supervisor rewrites pages full of them when it starts.
    let flags = "-C target-feature=+crt-static -C relocation-model=static";
    // Named, so that the flags are not for what runs while it is built.
    let arguments = [&BUILD_RELEASE[..], &["--target", &host]].concat();
    cargo(&arguments, &[("RUSTFLAGS", flags)]).map_err(|error| {
        format!("{error} (it needs the static C library: libc6-dev, glibc-static)")
    })?;
    Ok(target().join(host).join("release/monoco"))
}

/// What `rustc` builds for here.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "host-tuple"]).output();
    let output = output.map_err(|error| format!("cannot run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && !text.is_empty() {
        true => Ok(text),
        false => Err("rustc does not tell its host".to_owned()),
    }
}
