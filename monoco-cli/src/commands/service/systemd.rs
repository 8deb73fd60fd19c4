//! The text of the units: systemd.service(5), systemd.socket(5), and the rules
//! of systemd.syntax(7) for what stands in them.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ServiceError;
use super::files::MARKER;
use crate::args::ServeOptions;

/// The longest path of a Unix socket: unix(7), `sun_path` without its NUL.
const MAX_SOCKET_PATH: usize = 107;

/// What of this environment the service is to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    /// `PATH`
    pub(super) path: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub(super) state_home: Option<OsString>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) service: String,
    pub(super) socket: String,
}

/// The units that run `program serve` with `options`, whose paths are absolute,
/// where `variables` are as they are here.
pub(super) fn units(
    program: &Path,
    options: &ServeOptions,
    variables: &Variables,
) -> Result<Units, ServiceError> {
    Ok(Units {
        service: service(program, options, variables)?,
        socket: socket(options)?,
    })
}

fn service(
    program: &Path,
    options: &ServeOptions,
    variables: &Variables,
) -> Result<String, ServiceError> {
    let mut command = quoted(executable(program)?);
    for arg in std::iter::once("serve".into()).chain(options.to_args()) {
        command.push(' ');
        command.push_str(&quoted(plain("the argument", &arg)?));
    }
    let environment = environment(variables);
    Ok(format!(
        "\
{MARKER}
# The next install replaces this file; `systemctl --user edit monoco.service`
# changes the service beside it.

[Unit]
Description=Monoco, sessions of AI coding agents
# The socket is systemd's: nobody is refused while the daemon restarts.
Requires=monoco.socket
After=monoco.socket
# What fails at every start ends as `failed`, and is not tried for ever.
StartLimitIntervalSec=120
StartLimitBurst=10

[Service]
# Started once it says so; a daemon that says nothing for a minute hangs.
Type=notify
NotifyAccess=main
TimeoutStartSec=60
WatchdogSec=60
# The colon: nothing in this line is replaced by a variable.
ExecStart=:{command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# A usage error is one at the next start, too.
RestartPreventExitStatus=2

# The daemon alone is stopped, never a session. Agents that it starts get a scope
# of their own; where that could not be had they are in this service's control
# group, and any other mode would kill them with it.
KillMode=process
# It ends within 5 s by itself.
TimeoutStopSec=15
# An agent that ran out of memory is that agent's end, not the service's.
OOMPolicy=continue
{environment}
# No sandbox: agents are started from here, and a namespace, a filter of system
# calls, a limit or NoNewPrivileges would be theirs as well, for life.

[Install]
WantedBy=default.target
"
    ))
}

fn socket(options: &ServeOptions) -> Result<String, ServiceError> {
    let mut listen = String::new();
    if let Some(address) = options.tcp() {
        // Writing to a string does not fail.
        let _ = writeln!(listen, "ListenStream={address}");
        if needs_network(address) {
            listen.push_str("# The address may come up later than this account's services.\n");
            listen.push_str("FreeBind=true\n");
        }
    }
    if let Some(path) = &options.unix {
        let _ = writeln!(listen, "ListenStream={}", socket_path(path)?);
        listen.push_str("# For this account only.\nSocketMode=0600\nDirectoryMode=0700\n");
        listen.push_str("RemoveOnStop=true\n");
    }
    Ok(format!(
        "\
{MARKER}
# The next install replaces this file.

[Unit]
Description=Monoco, where its daemon is reached

[Socket]
{listen}
[Install]
WantedBy=sockets.target
"
    ))
}

fn needs_network(address: SocketAddr) -> bool {
    !address.ip().is_loopback() && !address.ip().is_unspecified()
}

/// A word of `ExecStart=` or `Environment=`: quoted where it must be, with nothing left in it that
/// means something to systemd. Variables are ruled out by the colon.
fn quoted(text: &str) -> String {
    let is_harmless = |b: u8| b.is_ascii_alphanumeric() || b"/._:=[]-".contains(&b);
    if !text.is_empty() && text.bytes().all(is_harmless) {
        return text.to_owned();
    }
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for c in text.chars() {
        match c {
            '%' => word.push_str("%%"),
            '"' | '\\' => word.extend(['\\', c]),
            '\n' => word.push_str("\\n"),
            '\t' => word.push_str("\\t"),
            '\r' => word.push_str("\\r"),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

/// `text`, if it can stand in a unit at all.
fn plain<'a>(what: &'static str, text: &'a OsStr) -> Result<&'a str, ServiceError> {
    let refused = |why| unwritable(what, text, why);
    let text = text.to_str().ok_or_else(|| refused("it is not UTF-8"))?;
    let is_odd = |c: char| c.is_control() && !"\n\t\r".contains(c);
    match text.contains(is_odd) {
        true => Err(refused("it has control characters")),
        false => Ok(text),
    }
}

/// What systemd takes for the path of a program (`string_is_safe` in its source).
fn executable(program: &Path) -> Result<&str, ServiceError> {
    let what = "the path of this program";
    let text = plain(what, program.as_os_str())?;
    match text.contains(|c: char| c.is_control() || "\"'`\\".contains(c)) {
        true => Err(unwritable(
            what,
            program.as_os_str(),
            "no quotes, no backslashes, please",
        )),
        false => Ok(text),
    }
}

/// A path for `ListenStream=`, which knows no quotes.
fn socket_path(path: &Path) -> Result<String, ServiceError> {
    let what = "the path of a socket";
    let refused = |why| unwritable(what, path.as_os_str(), why);
    let text = plain(what, path.as_os_str())?;
    if text.len() > MAX_SOCKET_PATH {
        return Err(refused("it is longer than 107 bytes"));
    }
    if text.contains(char::is_control) || text.trim() != text || text.ends_with('\\') {
        return Err(refused(
            "it has a line break, or ends with a space or a backslash",
        ));
    }
    Ok(text.replace('%', "%%"))
}

fn unwritable(what: &'static str, text: &OsStr, why: &'static str) -> ServiceError {
    ServiceError::Unwritable {
        what,
        text: text.to_string_lossy().into_owned(),
        why,
    }
}

/// What of `PATH` holds in a service: absolute directories that can be written down.
fn environment(variables: &Variables) -> String {
    let mut lines = String::new();
    let mut add = |why: &str, name: &str, value: &str| {
        let variable = quoted(&format!("{name}={value}"));
        // Writing to a string does not fail.
        let _ = write!(lines, "\n# {why}\nEnvironment={variable}\n");
    };
    if let Some(path) = variables.path.as_deref().and_then(search_path) {
        let why = "Agents are looked for where they were found when this was written.";
        add(why, "PATH", &path);
    }
    let state_home = variables.state_home.as_deref().and_then(OsStr::to_str);
    let usable = |text: &&str| text.starts_with('/') && !text.contains(char::is_control);
    if let Some(state_home) = state_home.filter(usable) {
        let why = "The token and the list of projects are where `monoco run` has them.";
        add(why, "XDG_STATE_HOME", state_home);
    }
    lines
}

fn search_path(path: &OsStr) -> Option<String> {
    let usable = |dir: PathBuf| {
        let text = dir.is_absolute().then(|| dir.to_str()).flatten()?;
        (!text.contains(char::is_control)).then(|| text.to_owned())
    };
    let dirs: Vec<_> = std::env::split_paths(OsStr::from_bytes(path.as_bytes()))
        .filter_map(usable)
        .collect();
    (!dirs.is_empty()).then(|| dirs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, ServiceVerb, Verb};
    use std::process::Command;

    fn options(options: &[&str]) -> ServeOptions {
        let line = [&["monoco", "service", "install"], options].concat();
        let Verb::Service(service) = Args::read(line).expect("valid").verb else {
            panic!("not service")
        };
        let ServiceVerb::Install(install) = service.verb else {
            panic!("not install")
        };
        install.options
    }

    fn written(args: &[&str]) -> Result<Units, ServiceError> {
        units(
            Path::new("/opt/my tools/$x%/monoco"),
            &options(args),
            &Variables {
                path: Some("/usr/bin:bin:/a b/%h\\:\u{1b}".into()),
                state_home: Some("/my state".into()),
            },
        )
    }

    #[test]
    fn the_units() {
        let units = written(&["--all", "--unix", "/run/user/1/a%b/monoco.sock"]).expect("valid");
        insta::assert_snapshot!(units.service, @r##"
        # Written by `monoco service install`.
        # The next install replaces this file; `systemctl --user edit monoco.service`
        # changes the service beside it.

        [Unit]
        Description=Monoco, sessions of AI coding agents
        # The socket is systemd's: nobody is refused while the daemon restarts.
        Requires=monoco.socket
        After=monoco.socket
        # What fails at every start ends as `failed`, and is not tried for ever.
        StartLimitIntervalSec=120
        StartLimitBurst=10

        [Service]
        # Started once it says so; a daemon that says nothing for a minute hangs.
        Type=notify
        NotifyAccess=main
        TimeoutStartSec=60
        WatchdogSec=60
        # The colon: nothing in this line is replaced by a variable.
        ExecStart=:"/opt/my tools/$x%%/monoco" serve --all --listen=127.0.0.1:8642 "--unix=/run/user/1/a%%b/monoco.sock" --log-format=text
        ExecReload=/bin/kill -HUP $MAINPID
        Restart=on-failure
        RestartSec=2
        # A usage error is one at the next start, too.
        RestartPreventExitStatus=2

        # The daemon alone is stopped, never a session. Agents that it starts get a scope
        # of their own; where that could not be had they are in this service's control
        # group, and any other mode would kill them with it.
        KillMode=process
        # It ends within 5 s by itself.
        TimeoutStopSec=15
        # An agent that ran out of memory is that agent's end, not the service's.
        OOMPolicy=continue

        # Agents are looked for where they were found when this was written.
        Environment="PATH=/usr/bin:/a b/%%h\\"

        # The token and the list of projects are where `monoco run` has them.
        Environment="XDG_STATE_HOME=/my state"

        # No sandbox: agents are started from here, and a namespace, a filter of system
        # calls, a limit or NoNewPrivileges would be theirs as well, for life.

        [Install]
        WantedBy=default.target
        "##);
        insta::assert_snapshot!(units.socket, @r##"
        # Written by `monoco service install`.
        # The next install replaces this file.

        [Unit]
        Description=Monoco, where its daemon is reached

        [Socket]
        ListenStream=127.0.0.1:8642
        ListenStream=/run/user/1/a%%b/monoco.sock
        # For this account only.
        SocketMode=0600
        DirectoryMode=0700
        RemoveOnStop=true

        [Install]
        WantedBy=sockets.target
        "##);
    }

    #[test]
    fn nothing_in_an_argument_means_anything_to_systemd() {
        for (text, word) in [
            ("a", "a"),
            ("", r#""""#),
            ("--listen=[::1]:9", "--listen=[::1]:9"),
            ("a b", r#""a b""#),
            (r#"a"b\c'd"#, r#""a\"b\\c'd""#),
            ("100%h", r#""100%%h""#),
            ("$HOME ${HOME}", r#""$HOME ${HOME}""#),
            ("a\nb\t", r#""a\nb\t""#),
            ("; -x # y", r#""; -x # y""#),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn what_no_unit_can_hold_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let long = format!("/{}", "x".repeat(107));
        for path in [&long, "/a\nb", "/a ", "/a\\", "/a\u{1b}"] {
            written(&["--unix", path]).expect_err(path);
        }
        let not_text = std::ffi::OsString::from_vec(vec![b'/', 0xff]);
        let mut odd = options(&[]);
        odd.token_file = Some(not_text.into());
        assert!(units(Path::new("/m"), &odd, &Variables::default()).is_err());
        for program in ["/a\"b", "/a'b", "/a\\b", "/a\nb"] {
            assert!(units(Path::new(program), &options(&[]), &Variables::default()).is_err());
        }
    }

    #[test]
    fn only_the_unix_socket_is_listened_on() {
        let units = written(&["--no-tcp", "--unix", "/s"]).expect("valid");
        assert!(!units.socket.contains("8642") && !units.service.contains("--listen"));
    }

    #[test]
    fn no_token_is_in_a_unit() {
        let args = [
            "--listen",
            "10.0.0.1",
            "--allow-remote",
            "--token-file",
            "/t",
        ];
        let units = written(&args).expect("valid");
        assert!(units.service.contains(" --token-file=/t "));
        assert!(units.socket.contains("ListenStream=10.0.0.1:8642\n# "));
        assert!(units.socket.contains("FreeBind=true"));
    }

    #[test]
    fn systemd_finds_nothing_to_object_to() {
        if Command::new("systemd-analyze")
            .arg("--version")
            .output()
            .is_err()
        {
            use std::io::Write;
            let skipped = "SKIPPED: systemd_finds_nothing_to_object_to: no systemd-analyze\n";
            // Where standard error is gone, nobody reads it.
            let _ = std::io::stderr().lock().write_all(skipped.as_bytes());
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("it's a %s.sock");
        let socket = socket.to_str().expect("plain");
        for args in [
            vec!["--all"],
            vec![
                "--project",
                "/a \"b\"\\c\n$HOME %h",
                "--project=/-x;#",
                "--unix",
                socket,
            ],
            vec!["--listen", "[::1]:9", "--log-format", "json", "-v"],
            vec![
                "--listen",
                "10.0.0.1",
                "--allow-remote",
                "--token-file",
                "/t",
            ],
            vec!["--no-tcp", "--unix", socket],
        ] {
            let args = options(&args);
            let variables = Variables {
                path: Some("/a b:/%h".into()),
                state_home: Some("/state".into()),
            };
            let units = units(Path::new("/bin/true"), &args, &variables);
            let units = units.expect("valid");
            let files = [
                (dir.path().join(super::super::SERVICE), units.service),
                (dir.path().join(super::super::SOCKET), units.socket),
            ];
            for (path, text) in &files {
                std::fs::write(path, text).expect("it can be written");
            }
            let mut verify = Command::new("systemd-analyze");
            verify
                .args(["--user", "verify"])
                .args(files.map(|(path, _)| path));
            verify.env("XDG_RUNTIME_DIR", dir.path());
            let output = verify.output().expect("it is there");
            let said = String::from_utf8_lossy(&output.stderr);
            // Of other units on this machine it complains as well.
            let ours: Vec<_> = said
                .lines()
                .filter(|line| line.contains("monoco"))
                .collect();
            assert!(
                output.status.success() && ours.is_empty(),
                "{args:?}\n{said}"
            );
        }
    }
}
