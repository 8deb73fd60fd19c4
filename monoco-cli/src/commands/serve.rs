//! `monoco serve`: the daemon, with a launcher that starts sessions as `run` does.

mod recover;

use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_core::{
    ClaimError, ConversationError, NewSession, Session, SessionManager, error_chain,
};
use session_daemon::{Config, Daemon, LaunchError, Launcher, Projects, Start};
use session_worker::{AgentStdin, Launch};
use tracing::level_filters::LevelFilter;

use super::run::hooks;
use super::start::note;
use crate::args::{LogFormat, ServeOptions, names};
use crate::config;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, project, xdg};

/// What gives a process a place of its own among systemd's, outside of the
/// service's: stopping the service leaves it alone.
const OWN_SCOPE: [&str; 6] = [
    "systemd-run",
    "--user",
    "--scope",
    "--quiet",
    "--collect",
    "--",
];
/// What systemd, or the session that this was started in, meant for us alone.
const OURS_ALONE: [&str; 14] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "MANAGERPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "MONOCO_PROJECT",
    session_core::process::SESSION_ID_VAR,
];

pub(super) fn serve(options: &ServeOptions) -> Result<Exit, CliError> {
    start_log(options);
    let token_file = match &options.token_file {
        Some(file) => file.clone(),
        None => xdg::state_dir().ok_or(CliError::NoTokenFile)?.join("token"),
    };
    let supervisors = Arc::new(Supervisors::new());
    let projects = projects(options)?;
    let daemon = Daemon::start(Config {
        projects: projects.clone(),
        listen: options.tcp(),
        unix: options.unix.clone(),
        token_file: token_file.clone(),
        create_token: !options.is_remote(),
        allowed_hosts: options.allow_host.clone(),
        launcher: Some(supervisors.clone()),
    })?;
    for address in daemon.addresses() {
        output::line(&format!("http://{address}"))?;
    }
    if let Some(path) = daemon.unix() {
        output::line(&format!("unix:{}", path.display()))?;
    }
    output::words(&format!("the token is in {}", token_file.display()));
    // A log is no place for a link that lets somebody in.
    if let (Some(address), false) = (daemon.addresses().first(), is_service()) {
        let path = daemon
            .login_path()
            .map_err(CliError::io("make a link for a browser"))?;
        output::words(&format!(
            "a browser signs in with this link, once: http://{address}{path}"
        ));
    }
    let always = options.recover;
    // Beside the daemon, which shows each as it starts.
    std::thread::spawn(move || recover::recover(&projects, always, &supervisors));
    daemon.run()?;
    Ok(Exit::SUCCESS)
}

fn projects(options: &ServeOptions) -> Result<Projects, CliError> {
    if !options.all {
        return Ok(Projects::These(project::to_serve(&options.projects)?));
    }
    let registry = xdg::registry().ok_or(CliError::NoTokenFile)?;
    Ok(Projects::Registered(registry))
}

/// The log, on standard error.
fn start_log(options: &ServeOptions) {
    let level = if options.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        // The journal knows the time.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            log.without_time().init();
        }
        LogFormat::Text => log.init(),
    }
}

/// Whether systemd executed this very process (systemd.exec(5)).
fn is_service() -> bool {
    let own = std::process::id().to_string();
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == own)
}

/// Starts sessions as `monoco run -d` does.
struct Supervisors {
    /// Between us and the supervisor.
    prefix: Vec<OsString>,
    /// How many files agents may open; we ourselves may open as many as we can.
    max_files: Option<u64>,
}

impl Supervisors {
    fn new() -> Self {
        Self {
            prefix: prefix(),
            max_files: raise_file_limit(),
        }
    }

    /// Asked each time: our file may have been replaced by another version, whose
    /// supervisor does not understand us.
    fn launcher(&self) -> io::Result<session_worker::Launcher> {
        let launcher = session_worker::Launcher::current_exe()?.behind(self.prefix.clone());
        Ok(match self.max_files {
            Some(max_files) => launcher.with_max_files(max_files),
            None => launcher,
        })
    }
}

/// Under systemd, supervisors get a scope of their own, if it lets them.
fn prefix() -> Vec<OsString> {
    if !is_service() {
        return Vec::new();
    }
    let tried = Command::new(OWN_SCOPE[0])
        .args(&OWN_SCOPE[1..])
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(status) if status.success() => OWN_SCOPE.map(OsString::from).to_vec(),
        _ => {
            tracing::warn!(
                "systemd-run gives no scopes: agents started from here stay in the service's \
                 control group"
            );
            Vec::new()
        }
    }
}

/// A daemon watches a process per session that lives. Returns what it was before.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Refused, it is looked at every few seconds what cannot be watched.
    setrlimit(Resource::Nofile, raised).ok()?;
    limit.current
}

impl Launcher for Supervisors {
    fn launch(&self, manager: &SessionManager, start: Start) -> Result<Session, LaunchError> {
        let config = config::Config::load(Some(manager.project()));
        let config = config.map_err(|error| LaunchError::Failed(error_chain(&error)))?;
        let launch = launch(manager, start, &config).map_err(LaunchError::Invalid)?;
        let launcher = self.launcher();
        let launcher = launcher.map_err(|error| LaunchError::Failed(error.to_string()))?;
        let launched = launcher.launch(manager, launch).map_err(refusal)?;
        note(manager);
        Ok(launched.session)
    }
}

/// What is to be started, if it is something that `run` would start.
fn launch(
    manager: &SessionManager,
    start: Start,
    config: &config::Config,
) -> Result<Launch, String> {
    for key in start.labels.keys() {
        crate::args::label_key(key).map_err(|why| format!("labels: {why}"))?;
    }
    if let Some(name) = start.env.keys().find(|name| !is_variable(name)) {
        return Err(format!(
            "env: `{}` is not a variable's name",
            name.escape_debug()
        ));
    }
    let texts = start.command.iter().chain(start.env.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err("command and env: a program is given no text with a NUL".to_owned());
    }
    Ok(Launch {
        session: NewSession {
            issue_id: checked("issue_id", start.issue_id, names::issue)?,
            role_name: checked("role_name", start.role_name, names::role)?
                .or_else(|| Some(config.run_role().to_owned())),
            name: checked("name", start.name, names::name)?,
            labels: start.labels,
            timeout: start.timeout.or(config.run_timeout()),
            ..NewSession::default()
        },
        argv: start.command.into_iter().map(OsString::from).collect(),
        stdin: AgentStdin::Null,
        cwd: Some(start.cwd.unwrap_or_else(|| manager.project().to_owned())),
        env: pairs(start.env),
        env_remove: OURS_ALONE.map(OsString::from).to_vec(),
        leave_children: start.leave_children || config.run_leave_children(),
        remove_at_end: start.remove_at_end,
        grace: config.run_grace(),
        hooks: hooks(config),
        ..Launch::default()
    })
}

fn checked(
    field: &str,
    text: Option<String>,
    rule: fn(&str) -> Result<String, String>,
) -> Result<Option<String>, String> {
    let text = text.map(|text| rule(&text)).transpose();
    text.map_err(|why| format!("{field}: {why}"))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

fn pairs(env: impl IntoIterator<Item = (String, String)>) -> Vec<(OsString, OsString)> {
    let pair = |(name, value): (String, String)| (name.into(), value.into());
    env.into_iter().map(pair).collect()
}

fn refusal(error: session_worker::LaunchError) -> LaunchError {
    use session_worker::LaunchError as Cause;
    let text = error_chain(&error);
    match error {
        Cause::NotFound(_) | Cause::NotExecutable(_) => LaunchError::NotStarted(text),
        Cause::WorkingDirectory { .. } | Cause::Claim(ClaimError::TooLong { .. }) => {
            LaunchError::Invalid(text)
        }
        Cause::Claim(ClaimError::NameInUse { .. })
        | Cause::Conversation(ConversationError::Held { .. }) => LaunchError::Conflict(text),
        _ => LaunchError::Failed(text),
    }
}
