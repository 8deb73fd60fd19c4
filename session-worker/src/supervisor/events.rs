//! The owner's loop: it waits for the agent, for signals, for requests and for
//! one deadline, and does what each of them calls for.

mod beside;
mod home;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use session_core::control::Request;
use session_core::{
    Claim, ClaimError, ConversationLease, LastWords, Outcome, RuntimeError, RuntimeSession, Status,
    Timestamp, WaitStatus, WriteError, error_chain, failpoint,
};

use super::clock::{Again, Countdown};
use super::ending::{Cause, Ending, Progress};
use super::hooks::{Moment, Runner};
use super::listener::Listener;
use super::sent::Sent;
use super::server::{Server, Ticket};
use crate::handover::{Order, Report, ReportWriter};
use crate::process_worker::ProcessWorker;
use crate::signals::Signals;

/// An owner whose agent was started.
#[derive(Debug)]
pub(super) struct Supervisor {
    order: Order,
    pub(super) session: RuntimeSession<ProcessWorker>,
    signals: Signals,
    server: Server,
    pub(super) report: Option<ReportWriter>,
    countdown: Countdown,
    /// Kept until nothing is left of the agent's tree.
    conversation: Option<ConversationLease>,
    listener: Option<Listener>,
    /// When the conversation that was heard is tried to be held and recorded again.
    learn_again: Option<Again>,
    /// Whether another living session was found to hold the conversation that was heard.
    is_anothers: bool,
    hooks: Runner,
    ending: Option<Ending>,
    /// How and when the agent's first process ended, from when that was seen.
    end: Option<(Outcome, LastWords, Timestamp)>,
    /// What was sent to the agent on request.
    sent: Sent,
    waiters: Vec<Ticket>,
    write_again: Option<Again>,
    look_at_lease: Option<Instant>,
    /// `.monoco`, open as long as its removals are told: that of `sessions/` above all.
    base: Option<OwnedFd>,
    /// Whether the system does not tell of removals from the run directory.
    must_look: bool,
    /// Whether a new run directory, or what belongs in it, has still to be made.
    is_moving: bool,
}

/// What an owner was given beside its session.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) signals: Signals,
    pub(super) server: Server,
    pub(super) countdown: Countdown,
    pub(super) conversation: Option<ConversationLease>,
    pub(super) listener: Option<Listener>,
    pub(super) hooks: Runner,
}

/// The owner steps down: somebody else owns the session now.
struct SteppedDown;

impl Supervisor {
    pub(super) fn new(order: Order, session: RuntimeSession<ProcessWorker>, parts: Parts) -> Self {
        let mut supervisor = Self {
            order,
            session,
            signals: parts.signals,
            server: parts.server,
            report: None,
            countdown: parts.countdown,
            conversation: parts.conversation,
            listener: parts.listener,
            learn_again: None,
            is_anothers: false,
            hooks: parts.hooks,
            ending: None,
            end: None,
            sent: Sent::default(),
            waiters: Vec::new(),
            write_again: None,
            look_at_lease: None,
            base: None,
            must_look: false,
            is_moving: false,
        };
        if supervisor.session.session().status() == Status::Suspended {
            // Adopted so.
            supervisor.sent.freeze(Instant::now());
        }
        supervisor.watch_lease();
        if !supervisor.order.adopt {
            let on_start = std::mem::take(&mut supervisor.order.hooks.on_start);
            supervisor.enqueue(Moment::Start, on_start);
        }
        supervisor
    }

    /// Owns the session until nothing is left to own.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(false) => self.wait(),
                Ok(true) => return self.leave(),
                Err(SteppedDown) => return,
            }
        }
    }

    /// Does all that is due; tells whether nothing is left to do.
    fn turn(&mut self) -> Result<bool, SteppedDown> {
        self.take_signals()?;
        if self.look_at_lease.is_some_and(due) {
            self.keep_lease()?;
        }
        let mut others = Vec::new();
        // A child that cannot be reaped now is reaped with the next.
        let _ = self.worker().reap_all(&mut others);
        for (pid, status) in others {
            self.hooks.reaped(pid, status);
        }
        self.record_end();
        self.listen();
        for (ticket, request) in self.server.turn() {
            self.answer(ticket, request);
        }
        if self.ending.is_none()
            && self.end.is_none()
            && let Some(after) = self.countdown.is_over()
        {
            self.end_tree(Cause::TimedOut { after }, self.grace(), None);
        }
        self.record_end();
        let nothing_left = match self.ending {
            Some(_) => self.go_on_ending(),
            None => self.order.leave_children,
        };
        // Where the whole project was removed, there is nothing left to own.
        let is_over = nothing_left
            && (self.is_recorded() || (self.end.is_some() && self.claim().is_homeless()));
        if is_over {
            self.let_conversation_go();
        }
        self.run_hooks(is_over);
        Ok(is_over && !self.hooks.is_busy())
    }

    fn wait(&mut self) {
        let deadline = self.deadline();
        let agent = self.agent_fd();
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(
            self.signals.as_fd(),
            PollFlags::IN,
        )];
        fds.extend(agent.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        fds.extend(
            self.server
                .watched()
                .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)),
        );
        let listener = self.listener.as_ref().and_then(Listener::watched);
        let beside = listener.into_iter().chain(self.hooks.watched());
        fds.extend(beside.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // Interrupted or refused: the turn that follows finds out what is due.
        let _ = rustix::event::poll(&mut fds, left.as_ref());
    }

    /// Readable once the agent has ended; `None` when that is known already.
    fn agent_fd(&self) -> Option<BorrowedFd<'_>> {
        let (_, worker) = self.session.as_owner()?;
        worker
            .handle()
            .filter(|_| !worker.is_known_to_have_ended())
            .map(AsFd::as_fd)
    }

    fn deadline(&self) -> Option<Instant> {
        let ending = match (&self.ending, &self.end) {
            (Some(ending), _) => ending.deadline(),
            (None, Some(_)) => None,
            (None, None) => self.countdown.deadline(),
        };
        let at = |again: Option<Again>| again.map(|again| again.at);
        [
            ending,
            self.server.deadline(),
            at(self.write_again),
            at(self.learn_again),
            self.listener.as_ref().and_then(Listener::deadline),
            self.look_at_lease,
            self.hooks.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn take_signals(&mut self) -> Result<(), SteppedDown> {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                libc::SIGTERM => {
                    let by = "SIGTERM to the supervisor".to_owned();
                    self.end_tree(Cause::Stopped { by }, self.grace(), None);
                }
                libc::SIGIO => self.keep_lease()?,
                // SIGCHLD: the turn reaps. SIGINT, SIGHUP: not meant for an owner.
                _ => {}
            }
        }
        Ok(())
    }

    fn answer(&mut self, ticket: Ticket, request: Request) {
        match request {
            Request::Status => self.server.done(ticket, self.session.session()),
            Request::Wait if self.session.session().end().is_some() => {
                self.server.done(ticket, self.session.session());
            }
            Request::Wait => self.waiters.push(ticket),
            Request::Stop { grace_seconds, by } => match Duration::try_from_secs_f64(grace_seconds)
            {
                Ok(grace) => self.end_tree(Cause::Stopped { by }, grace, Some(ticket)),
                Err(_) => self
                    .server
                    .refuse(ticket, format!("{grace_seconds} s is no grace period")),
            },
            Request::Kill {
                signal: libc::SIGKILL,
                by,
            } => {
                self.end_tree(Cause::Stopped { by }, Duration::ZERO, Some(ticket));
            }
            Request::Kill { signal, by } => self.send(ticket, signal, by),
            Request::Suspend => self.suspend(ticket),
            Request::Resume => self.resume(ticket),
        }
    }

    fn send(&mut self, ticket: Ticket, signal: i32, by: String) {
        // One that has ended, but was not reaped, would take the signal.
        self.record_end();
        let is_suspended = self.session.session().status() == Status::Suspended;
        if is_suspended && signal == libc::SIGCONT {
            let why = "the session is suspended; `resume` lets it go on";
            return self.server.refuse(ticket, why);
        }
        if self.end.is_some() {
            return self.server.refuse(ticket, "the agent has ended");
        }
        let sent = self.worker().handle().map(|agent| agent.signal(signal));
        match sent {
            Some(Ok(())) => {
                self.sent.note(signal, by, Instant::now());
                self.server.done(ticket, self.session.session());
            }
            Some(Err(error)) => self.server.refuse(ticket, error_chain(&error)),
            None => self.server.refuse(ticket, "there is no agent"),
        }
    }

    fn suspend(&mut self, ticket: Ticket) {
        if self.ending.is_some() {
            return self.server.refuse(ticket, "the session is being ended");
        }
        let done = match self.session.session().status() {
            // Whoever was thawed behind our back is stopped again.
            Status::Suspended => self.worker().keep_suspended().map_err(Into::into),
            _ => self.session.suspend(),
        };
        if self.session.session().status() == Status::Suspended {
            self.countdown.hold();
            self.sent.freeze(Instant::now());
        }
        self.answer_change(ticket, done);
    }

    fn resume(&mut self, ticket: Ticket) {
        let done = match self.session.session().status() {
            // It may have been stopped by somebody else.
            Status::Running => session_core::Worker::resume(self.worker()).map_err(Into::into),
            _ => self.session.resume(),
        };
        if self.session.session().status() == Status::Running {
            self.countdown.go_on();
            self.sent.thaw(Instant::now());
        }
        self.answer_change(ticket, done);
    }

    fn answer_change(&mut self, ticket: Ticket, done: Result<(), RuntimeError>) {
        match done {
            Ok(()) => self.server.done(ticket, self.session.session()),
            Err(error) => self.server.refuse(ticket, error_chain(&error)),
        }
    }

    /// Begins to end the tree, or hurries an end that has begun. What ended the
    /// session first stays its cause.
    fn end_tree(&mut self, cause: Cause, grace: Duration, asker: Option<Ticket>) {
        if self.ending.is_none() {
            // Who has ended by himself was not ended.
            self.record_end();
        }
        let ending = match &mut self.ending {
            Some(ending) => {
                ending.hurry(grace);
                ending
            }
            None => {
                let ending = Ending::begin(cause, grace, self.worker());
                failpoint::pass("ending.begun");
                self.ending.insert(ending)
            }
        };
        ending.askers.extend(asker);
    }

    /// Tells whether nothing is left of the agent's tree.
    fn go_on_ending(&mut self) -> bool {
        let Some(mut ending) = self.ending.take() else {
            return false;
        };
        let over = match ending.turn(self.worker()) {
            Progress::Over => true,
            Progress::Goes => false,
            Progress::Refused(error) => {
                for ticket in ending.askers.drain(..) {
                    self.server.refuse(ticket, error_chain(&error));
                }
                false
            }
        };
        self.ending = Some(ending);
        over
    }

    fn is_recorded(&self) -> bool {
        self.session.session().end().is_some()
    }

    /// Records the end of the agent's first process as soon as it has ended; the
    /// rest of its tree is ended afterwards.
    fn record_end(&mut self) {
        if self.is_recorded() || self.write_again.is_some_and(|again| !again.is_due()) {
            return;
        }
        let Some((outcome, words, at)) = self.see_end() else {
            return;
        };
        match self.claim().finish_at(outcome, words, at) {
            // Written, only not for certain on disk: true nevertheless.
            Ok(()) | Err(ClaimError::Write(WriteError::DurabilityUnknown { .. })) => {
                self.write_again = None;
                failpoint::pass("end.recorded");
                self.announce_end();
            }
            Err(_) => {
                // Nothing is more important than this: try for ever.
                self.write_again = Some(Again::next(self.write_again));
                self.look_at_lease = Some(Instant::now());
            }
        }
        if self.ending.is_none() && !self.order.leave_children {
            self.end_tree(Cause::Leftovers, self.grace(), None);
        }
    }

    /// How the agent's first process ended. Decided once, when it is first seen:
    /// what happens until it can be written changes nothing.
    fn see_end(&mut self) -> Option<(Outcome, LastWords, Timestamp)> {
        if self.end.is_none() {
            let Ok(Some(wait_status)) = self.worker().ended() else {
                return None;
            };
            let (outcome, at) = (self.outcome(wait_status), Timestamp::now());
            self.end = Some((outcome, self.last_words(), at));
            failpoint::pass("end.seen");
        }
        self.end.clone()
    }

    fn announce_end(&mut self) {
        let on_end = std::mem::take(&mut self.order.hooks.on_end);
        self.enqueue(Moment::End, on_end);
        let session = self.session.session();
        if let Some(mut report) = self.report.take() {
            report.tell(&Report::Ended(Box::new(session.clone())));
        }
        for ticket in std::mem::take(&mut self.waiters) {
            self.server.done(ticket, session);
        }
    }

    fn outcome(&self, wait_status: Option<WaitStatus>) -> Outcome {
        if let Some(outcome) = self
            .ending
            .as_ref()
            .and_then(|ending| ending.cause.outcome(wait_status))
        {
            return outcome;
        }
        let Some(status) = wait_status else {
            // An adopted agent, on a kernel that does not tell strangers.
            return Outcome::Lost {
                cause: session_core::LostCause::OwnerDied,
            };
        };
        let sender = self.sent.sender_of(status, Instant::now(), self.grace());
        match sender {
            Some(by) => Outcome::Stopped {
                by: by.to_owned(),
                wait_status,
            },
            None => status.into(),
        }
    }

    /// Answers who asked for the end, once it has come.
    fn leave(mut self) {
        let ended = self.session.session().clone();
        let Ok((claim, _)) = self.session.into_owner() else {
            return;
        };
        // The record is final; what cannot be removed now is litter, and swept later.
        let _ = if self.order.remove_at_end {
            claim.remove()
        } else {
            claim.release()
        };
        failpoint::pass("leave.released");
        for ticket in self.ending.into_iter().flat_map(|ending| ending.askers) {
            self.server.done(ticket, &ended);
        }
        self.server.flush();
    }

    fn grace(&self) -> Duration {
        Duration::try_from_secs_f64(self.order.grace_seconds).unwrap_or(crate::DEFAULT_GRACE)
    }

    fn claim(&mut self) -> &mut Claim {
        self.session
            .as_owner_mut()
            .expect("a supervisor is an owner")
            .0
    }

    fn worker(&mut self) -> &mut ProcessWorker {
        self.session
            .as_owner_mut()
            .expect("a supervisor is an owner")
            .1
    }
}

fn due(at: Instant) -> bool {
    at <= Instant::now()
}
