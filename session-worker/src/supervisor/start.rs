//! From the order that a launcher handed over to an owner whose agent runs.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_core::{
    Claim, ConversationLease, Host, Outcome, ProcessHandle, RuntimeError, RuntimeSession, Session,
    State, Timestamp, WorkerError, error_chain, failpoint,
};

use super::clock::Countdown;
use super::events::{Parts, Supervisor};
use super::hooks::Runner;
use super::listener::Listener;
use super::server::Server;
use crate::handover::{
    CONVERSATION_FD, Failure, LEASE_FD, ORDER_FD, Order, REPORT_FD, Report, ReportWriter, STDIN_FD,
};
use crate::process_worker::{AgentSpec, PROJECT_VAR, ProcessWorker};
use crate::program::Program;
use crate::signals::Signals;
use crate::sys;

/// Takes what was handed over and starts, or adopts, the agent. Where that
/// fails, it has been recorded and reported, and there is nothing to supervise.
pub(super) fn start() -> Option<Supervisor> {
    // Without a launcher there is nobody to tell, and nothing to do.
    let lease = sys::inherited_fd(LEASE_FD).ok()?;
    let mut report = ReportWriter::new(sys::inherited_fd(REPORT_FD).ok()?);
    let order = sys::inherited_fd(ORDER_FD).ok()?;
    let stdin = sys::inherited_fd(STDIN_FD).ok()?;
    // Not there where no conversation is known.
    let conversation = sys::inherited_fd(CONVERSATION_FD).ok();
    match take_over(lease, order, stdin, conversation) {
        Ok(mut supervisor) => {
            failpoint::pass("supervisor.started");
            let session = supervisor.session.session().clone();
            let told = report.tell(&Report::Started(Box::new(session)));
            failpoint::pass("supervisor.reported");
            supervisor.report = told.then_some(report);
            Some(supervisor)
        }
        Err(failure) => {
            report.tell(&Report::Refused(failure));
            None
        }
    }
}

fn take_over(
    lease: OwnedFd,
    order: OwnedFd,
    stdin: OwnedFd,
    conversation: Option<OwnedFd>,
) -> Result<Supervisor, Failure> {
    let mut order =
        Order::from_file(order).map_err(|e| failed("cannot read the launcher's order", &e))?;
    let mut claim = Claim::handed_over(&order.project, &order.id, lease)
        .map_err(|e| failed("cannot take the session over", &e))?;
    failpoint::pass("supervisor.owns");
    let agents_files = raise_file_limit();
    // All that the owner needs is opened now: later there may be no descriptors
    // and no room left, and the agent's end must be recorded all the same.
    let parts = Signals::take(&[
        libc::SIGCHLD,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGIO,
    ])
    .and_then(|signals| Ok((signals, Server::listen(claim.lease().folder())?)))
    .and_then(|parts| claim.keep_reserve().map(|()| parts));
    let (signals, server) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            let failure = failed("cannot prepare the supervisor", &error);
            return Err(spawn_failed(claim, &order, failure));
        }
    };
    detach();
    failpoint::pass("supervisor.prepared");
    let session = if order.adopt {
        adopt(claim)?
    } else {
        start_agent(claim, &order, stdin, agents_files)?
    };
    let used = match order.adopt {
        true => used_time(session.session()),
        false => Duration::ZERO,
    };
    let mut countdown = Countdown::new(session.session().timeout, used);
    if session.session().status() == session_core::Status::Suspended {
        countdown.hold();
    }
    // The agent has its working directory; nobody's unmount shall fail on ours.
    let _ = rustix::process::chdir("/");
    let conversation = held(&order, session.session(), conversation);
    let listener = order.reading.take().map(|reading| {
        let log = session.as_owner().map(|(claim, _)| claim.open_log());
        let log = log.and_then(Result::ok).flatten();
        Listener::new(reading, session.session(), log)
    });
    let hooks = Runner::new(agents_files);
    let parts = Parts {
        signals,
        server,
        countdown,
        conversation,
        listener,
        hooks,
    };
    Ok(Supervisor::new(order, session, parts))
}

/// The lease on the agent's conversation: the launcher's, or, for an orphan, taken anew.
/// Where another session holds that by now, the agent is watched all the same.
fn held(order: &Order, session: &Session, file: Option<OwnedFd>) -> Option<ConversationLease> {
    let dir = order.conversations.as_deref();
    let (engine, conversation) = (
        session.engine.as_deref()?,
        session.conversation_id.as_deref()?,
    );
    match file.filter(|_| order.has_conversation) {
        Some(file) => ConversationLease::handed_over(dir?, engine, conversation, file).ok(),
        None if order.adopt => {
            let id = &session.id;
            ConversationLease::take_at_once(dir?, engine, conversation, &order.project, id).ok()
        }
        None => None,
    }
}

/// How much of its timeout an agent has used that was started by another owner:
/// by a clock that nobody sets, but that goes on while the machine sleeps.
fn used_time(session: &Session) -> Duration {
    let identity = session
        .process()
        .and_then(|process| process.identity.as_ref());
    let (Some(identity), Ok(host)) = (identity, Host::current()) else {
        return Duration::ZERO;
    };
    let suspended_now = match session.state() {
        State::Suspended {
            since: Some(since), ..
        } => Timestamp::now().since(*since),
        _ => Duration::ZERO,
    };
    host.age_of(identity)
        .saturating_sub(session.suspended_for)
        .saturating_sub(suspended_now)
}

/// Orphans of the agent's tree become ours, and nothing the system does to a
/// process by default ends this one.
fn detach() {
    sys::ignore_signal(libc::SIGPIPE);
    // A full quota must be an error of the write, not the end of the owner.
    sys::ignore_signal(libc::SIGXFSZ);
    sys::ignore_signal(libc::SIGQUIT);
    // Without subreapers the tree is found by parentage as long as that lasts.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// An owner has a descriptor for each who waits for its session's end. Returns what
/// the limit was before; it is the agent's.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused, fewer can wait at once.
    setrlimit(Resource::Nofile, raised).ok()?;
    limit.current
}

fn start_agent(
    claim: Claim,
    order: &Order,
    stdin: OwnedFd,
    max_files: Option<u64>,
) -> Result<RuntimeSession<ProcessWorker>, Failure> {
    let log = match claim.append_log() {
        Ok(log) => log,
        Err(error) => {
            return Err(spawn_failed(
                claim,
                order,
                failed("cannot open the log", &error),
            ));
        }
    };
    let mut program = Program::inheriting_env(order.argv.clone());
    program.set(PROJECT_VAR, order.project.as_os_str());
    let spec = AgentSpec {
        program,
        stdin,
        log,
    };
    let worker = ProcessWorker::in_subreaper(spec, max_files);
    let mut session = RuntimeSession::owner(claim, worker);
    match session.start() {
        Ok(()) => Ok(session),
        Err(error) => {
            let failure = match &error {
                RuntimeError::Worker(WorkerError::NotFound(_)) => {
                    Failure::NotFound(error.to_string())
                }
                RuntimeError::Worker(WorkerError::NotExecutable { .. }) => {
                    Failure::NotExecutable(error.to_string())
                }
                _ => failed("cannot start the agent", &error),
            };
            match session.into_owner() {
                Ok((claim, _)) => Err(spawn_failed(claim, order, failure)),
                Err(_) => Err(failure),
            }
        }
    }
}

fn adopt(mut claim: Claim) -> Result<RuntimeSession<ProcessWorker>, Failure> {
    let gone = |why: &str| Failure::Other(format!("the agent cannot be adopted: {why}"));
    let process = claim
        .session()
        .process()
        .ok_or_else(|| gone("it never ran"))?;
    let host = Host::current().map_err(|e| failed("cannot look at the agent", &e))?;
    let opened = ProcessHandle::open_verified(process, &host);
    match opened.map_err(|e| failed("cannot look at the agent", &e))? {
        Ok(handle) => {
            failpoint::pass("adopt.opened");
            // The record is as it was; written again it tells whoever watches the
            // project. Where that fails, they find out by themselves.
            let _ = claim.rewrite();
            let worker = ProcessWorker::adopting(claim.session(), handle);
            Ok(RuntimeSession::owner(claim, worker))
        }
        Err(_) => Err(gone("it ended in this moment")),
    }
}

/// Records that the agent never ran; the failure that was there first counts.
fn spawn_failed(mut claim: Claim, order: &Order, failure: Failure) -> Failure {
    if order.adopt {
        return failure;
    }
    if claim.session().end().is_none() {
        let (Failure::NotFound(error) | Failure::NotExecutable(error) | Failure::Other(error)) =
            &failure;
        if claim.finish(Outcome::never_ran(error)).is_err() {
            claim.abandon();
            return failure;
        }
    }
    if order.remove_at_end {
        let _ = claim.remove();
    }
    failure
}

fn failed(attempt: &str, error: &dyn Error) -> Failure {
    Failure::Other(format!("{attempt}: {}", error_chain(error)))
}
