//! What `serve` can be told, and `service install` with it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args as Arguments, ValueEnum};

use super::listen;

/// Serve sessions over HTTP, live, to this machine only
///
/// Prints where it is reached, and serves until it is interrupted. Clients show
/// the token (`Authorization: Bearer`); /openapi.json describes the rest. Sessions
/// neither start nor end with it. SIGHUP reads the token and everything else again.
#[derive(Debug, Arguments)]
#[command(after_help = "\
Examples:
  monoco serve
  monoco serve --all --unix ~/.monoco.sock --no-tcp")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) options: ServeOptions,
}

/// What is served, where, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Arguments)]
pub(crate) struct ServeOptions {
    /// A project's directory; may be given more than once
    #[arg(long = "project", id = "project", value_name = "DIR")]
    pub(crate) projects: Vec<PathBuf>,
    /// Every project that `monoco run` has been used in on this account
    #[arg(long, conflicts_with = "project")]
    pub(crate) all: bool,
    /// Where to listen: an IP address or `localhost`, with or without a port (0:
    /// any that is free)
    #[arg(
        long,
        value_name = "ADDR[:PORT]",
        default_value = "127.0.0.1:8642",
        value_parser = listen::parse
    )]
    pub(crate) listen: SocketAddr,
    /// Listen on an address that other machines reach; it needs --token-file too
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// Another name by which clients may call this machine; may be given more
    /// than once
    #[arg(long, value_name = "NAME", value_parser = listen::host)]
    pub(crate) allow_host: Vec<String>,
    /// Listen on a Unix socket as well, which only this account can use
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,
    /// Listen on the Unix socket only
    #[arg(long, requires = "unix", conflicts_with_all = ["listen", "allow_remote"])]
    pub(crate) no_tcp: bool,
    /// The file with the token that clients must show, instead of the one that
    /// is made at the first start
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// At the start, go on with the conversations of the sessions that were lost when
    /// the machine went down, as `monoco recover --yes` does
    #[arg(long)]
    pub(crate) recover: bool,
    /// How the log is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Log what helps to find a mistake, too
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl ServeOptions {
    /// Where TCP is to be listened on, if at all.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        (!self.no_tcp).then_some(self.listen)
    }

    /// Whether other machines could reach it.
    pub(crate) fn is_remote(&self) -> bool {
        self.tcp()
            .is_some_and(|address| !address.ip().to_canonical().is_loopback())
    }

    /// Why these options are not accepted, though each of them could be read.
    pub(crate) fn refusal(&self) -> Option<String> {
        if self.all && !self.projects.is_empty() {
            return Some("the argument '--project' cannot be used with '--all'".to_owned());
        }
        if self.is_remote() && !(self.allow_remote && self.token_file.is_some()) {
            let address = self.listen;
            return Some(format!(
                "other machines could reach {address}: over plain HTTP, where the token can be \
                 read on its way, and whoever has the token can start programs here as you.\n\n  \
                 Listen on 127.0.0.1 and let `ssh -L 8642:127.0.0.1:8642` or a proxy with TLS \
                 carry it,\n  or, if you mean it, give --allow-remote and --token-file FILE"
            ));
        }
        None
    }

    /// As [`refusal`](Self::refusal), for a service, whose address lasts.
    pub(crate) fn refusal_as_service(&self) -> Option<String> {
        let is_any = self.tcp().is_some_and(|address| address.port() == 0);
        let refused = || "a service needs a port that stays the same: not 0".to_owned();
        self.refusal().or_else(|| is_any.then(refused))
    }

    /// The same with paths that hold in every directory. A project must exist.
    ///
    /// # Errors
    /// With the path that cannot be used.
    pub(crate) fn absolute(mut self) -> Result<Self, (PathBuf, io::Error)> {
        let made = |path: &mut PathBuf, absolute: fn(&Path) -> io::Result<PathBuf>| {
            *path = absolute(path).map_err(|error| (path.clone(), error))?;
            Ok(())
        };
        for project in &mut self.projects {
            made(project, |path| path.canonicalize())?;
        }
        for path in [&mut self.unix, &mut self.token_file].into_iter().flatten() {
            made(path, |path| std::path::absolute(path))?;
        }
        Ok(self)
    }

    /// The arguments that mean the same, without the verb. Paths stay as they are:
    /// see [`absolute`](Self::absolute).
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let mut flag = |name: &str, given: bool| given.then(|| args.push(name.into()));
        flag("--all", self.all);
        flag("--allow-remote", self.allow_remote);
        flag("--no-tcp", self.no_tcp);
        flag("--recover", self.recover);
        flag("--verbose", self.verbose);
        // With `=`, what begins with a dash stays a value.
        let mut option = |name: &str, value: &OsStr| {
            let mut arg = OsString::from(name);
            arg.push("=");
            arg.push(value);
            args.push(arg);
        };
        for project in &self.projects {
            option("--project", project.as_os_str());
        }
        if let Some(address) = self.tcp() {
            option("--listen", address.to_string().as_ref());
        }
        for host in &self.allow_host {
            option("--allow-host", host.as_ref());
        }
        for (name, path) in [("--unix", &self.unix), ("--token-file", &self.token_file)] {
            if let Some(path) = path {
                option(name, path.as_os_str());
            }
        }
        if let Some(format) = self.log_format.to_possible_value() {
            option("--log-format", format.get_name().as_ref());
        }
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, ServiceVerb, Verb};
    use clap::error::ErrorKind;

    fn parse<S: Into<OsString>>(
        options: impl IntoIterator<Item = S>,
    ) -> Result<ServeOptions, clap::Error> {
        let line = ["monoco", "service", "install"].map(OsString::from);
        let line = line.into_iter().chain(options.into_iter().map(Into::into));
        let Verb::Service(service) = Args::read(line)?.verb else {
            panic!("not service")
        };
        let ServiceVerb::Install(install) = service.verb else {
            panic!("not install")
        };
        Ok(install.options)
    }

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn an_argument_vector_means_the_same_again() {
        for line in [
            "",
            "--all",
            "--project /a --project /b -v",
            "--listen [::1]:9 --log-format json",
            "--listen ::ffff:127.0.0.1",
            "--unix /run/x --no-tcp",
            "--unix=-x --project=--all",
            "--listen 0.0.0.0 --allow-remote --token-file /t --allow-host a --allow-host B.c",
        ] {
            let options = parse(words(line)).expect(line);
            assert_eq!(parse(options.to_args()).expect(line), options, "{line}");
        }
        use std::os::unix::ffi::OsStringExt;
        let mut odd = parse(["--all"]).expect("valid");
        odd.unix = Some(OsString::from_vec(b"/a b/\xff\"\n$%".to_vec()).into());
        assert_eq!(parse(odd.to_args()).expect("any path"), odd);
    }

    #[test]
    fn a_unit_does_not_depend_on_a_directory() {
        let options = parse(words("--project . --unix sock --token-file /t")).expect("valid");
        let absolute = options.absolute().expect("they can be made absolute");
        let here = std::env::current_dir().expect("somewhere");
        let here = here.canonicalize().expect("it exists");
        assert_eq!(absolute.projects, std::slice::from_ref(&here));
        assert_eq!(absolute.unix, Some(here.join("sock")));
        assert_eq!(absolute.token_file, Some("/t".into()));
        let missing = parse(words("--project /no/such")).expect("valid");
        assert_eq!(
            missing.absolute().expect_err("missing").0,
            Path::new("/no/such")
        );
    }

    /// Whether `address` is served without further words.
    #[track_caller]
    fn check_reach(address: &str, is_loopback: bool) {
        let alone = parse(["--listen", address]);
        assert_eq!(alone.is_ok(), is_loopback, "{address}");
        if let Err(error) = alone {
            let error = error.to_string();
            for word in [
                "plain HTTP",
                "--allow-remote",
                "--token-file",
                "start programs",
            ] {
                assert!(error.contains(word), "{word}: {error}");
            }
        }
        for half in ["--allow-remote", "--token-file=/t"] {
            assert_eq!(parse(["--listen", address, half]).is_ok(), is_loopback);
        }
        let both = ["--listen", address, "--allow-remote", "--token-file=/t"];
        assert_eq!(parse(both).expect("meant").is_remote(), !is_loopback);
    }

    #[test]
    fn other_machines_are_let_in_only_by_name_and_with_a_token() {
        for address in [
            "127.0.0.1",
            "localhost",
            "127.0.0.2:1",
            "127.255.255.254",
            "::1",
            "[::1]:1",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]:2",
        ] {
            check_reach(address, true);
        }
        for address in [
            "0.0.0.0",
            "0.0.0.0:1",
            "::",
            "[::]:8642",
            "::ffff:0.0.0.0",
            "[::ffff:0:0]:1",
            "::ffff:10.0.0.1",
            // An IPv4-compatible address is not an IPv4-mapped one.
            "::127.0.0.1",
            // An address of IPv6 with a port takes brackets: this is another one.
            "::1:8642",
            "192.168.0.7",
            "10.0.0.1:80",
            "126.255.255.255",
            "128.0.0.1",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            check_reach(address, false);
        }
    }

    #[test]
    fn what_does_not_go_together() {
        for (line, kind) in [
            ("--all --project /p", ErrorKind::ArgumentConflict),
            ("--no-tcp", ErrorKind::MissingRequiredArgument),
            (
                "--no-tcp --unix /s --listen ::1",
                ErrorKind::ArgumentConflict,
            ),
            ("--listen 0", ErrorKind::ValueValidation),
            ("--allow-host *", ErrorKind::ValueValidation),
            ("--log-format xml", ErrorKind::InvalidValue),
        ] {
            assert_eq!(parse(words(line)).expect_err(line).kind(), kind, "{line}");
        }
        let any_port = parse(words("--listen localhost:0")).expect_err("for a service");
        assert!(any_port.to_string().contains("not 0"));
        let only_unix = parse(words("--no-tcp --unix /s")).expect("valid");
        assert!(only_unix.tcp().is_none() && !only_unix.is_remote());
    }
}
