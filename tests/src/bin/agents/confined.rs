//! Nobody but the loopback: this program once more, in a network namespace of its own.

use std::process::{Command, ExitCode};

/// The variable that says that we are inside.
const INSIDE: &str = "AGENTS_CONFINED";
/// What of the environment goes along: no key and no setting of whoever runs this.
const KEPT: [&str; 4] = ["PATH", "TMPDIR", "MONOCO_UNDER_TEST", "RUST_BACKTRACE"];
const ENTER: &str = "ip link set lo up && exec \"$0\" \"$@\"";

/// Runs this program again where only the loopback is; nothing, if we are there.
///
/// Where a network namespace needs a privilege, the user namespace gives it.
pub(crate) fn enter() -> Result<Option<ExitCode>, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let ways: [&[&str]; 2] = [&["-n"], &["-n", "-r"]];
    let permitted = |way: &&&[&str]| {
        let probe = [&["unshare"][..], way, &["ip", "link", "set", "lo", "up"]].concat();
        monoco_tests::works(&probe)
    };
    let way = ways.iter().find(permitted);
    let way = way.ok_or("a network namespace cannot be made here (unshare -n, ip)")?;
    let kept = KEPT
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let status = Command::new("unshare")
        .args(*way)
        .args(["sh", "-ec", ENTER])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env_clear()
        .envs(kept)
        .env(INSIDE, "1")
        .status()
        .map_err(|error| format!("cannot run unshare: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)))
}
