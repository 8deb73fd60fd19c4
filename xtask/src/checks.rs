//! What must hold before anything lands.

use crate::{cargo, cargo_command};

/// Who may depend on whom, within the workspace.
const ALLOWED: &[(&str, &[&str])] = &[
    ("session-core", &[]),
    ("session-worker", &["session-core"]),
    ("session-daemon", &["session-core"]),
    (
        "monoco-cli",
        &["session-core", "session-worker", "session-daemon"],
    ),
    (
        "monoco-tests",
        &[
            "session-core",
            "session-worker",
            "session-daemon",
            "monoco-cli",
        ],
    ),
    ("xtask", &[]),
];

/// Packages that the embeddable core must not bring along.
const NOT_IN_CORE: &[&str] = &["tokio", "axum", "hyper", "clap"];

pub(crate) fn lint() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    let fuzz = ["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"];
    cargo(&fuzz, &[])?;
    cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ],
        &[],
    )?;
    let failpoints = ["--package", "monoco-tests", "--features", "failpoints"];
    let denied = ["--all-targets", "--locked", "--", "--deny", "warnings"];
    cargo(&[&["clippy"], &failpoints[..], &denied[..]].concat(), &[])?;
    cargo(
        &["doc", "--workspace", "--no-deps", "--locked"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )?;
    direction_of_dependencies()?;
    // Without building: that is what the tests do.
    cargo(
        &[
            "package",
            "--workspace",
            "--locked",
            "--allow-dirty",
            "--no-verify",
            "--quiet",
        ],
        &[],
    )
}

pub(crate) fn test() -> Result<(), String> {
    cargo(&["test", "--workspace", "--locked"], &[])
}

fn direction_of_dependencies() -> Result<(), String> {
    println!("$ the direction of dependencies");
    for (package, allowed) in ALLOWED {
        let ours = ALLOWED.iter().map(|(name, _)| *name);
        let wrong = |name: &String| {
            ours.clone().any(|known| known == name) && !allowed.contains(&name.as_str())
        };
        if let Some(name) = dependencies(package, "1")?.iter().find(|name| wrong(name)) {
            return Err(format!("{package} depends on {name}, and must not"));
        }
    }
    match dependencies("session-core", "99")?
        .iter()
        .find(|name| NOT_IN_CORE.contains(&name.as_str()))
    {
        Some(name) => Err(format!("session-core brings {name} along, and must not")),
        None => Ok(()),
    }
}

/// The names of the packages that `package` depends on, as far down as `depth`.
fn dependencies(package: &str, depth: &str) -> Result<Vec<String>, String> {
    let arguments = [
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--depth",
        depth,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let output = cargo_command(&arguments)
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "`cargo tree` failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // The first line is the package itself.
    Ok(text
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}
