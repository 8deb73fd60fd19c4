//! How sessions look, for the API's document. The core writes them; what stands
//! here is compared with what it writes by the tests.
#![expect(dead_code, reason = "only described here")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// A page of a listing, newest first.
#[derive(ToSchema)]
pub(super) struct SessionList {
    /// The sessions; records that cannot be read come last.
    sessions: Vec<Element>,
    /// Where the next page begins; null on the last.
    #[schema(required)]
    next_cursor: Option<String>,
    /// What this shows: events that came later have a higher number. It can be sent
    /// as `Last-Event-ID`.
    version: String,
}

/// A session, or a record that cannot be read.
#[derive(ToSchema)]
#[schema(title = "Element")]
#[serde(untagged)]
pub(super) enum Element {
    /// A session.
    Session(Box<Session>),
    /// A record that cannot be read.
    Corrupt(Corrupt),
}

/// A record that cannot be read. Its bytes are left as they are.
#[derive(ToSchema)]
pub(super) struct Corrupt {
    /// The project's directory.
    project: String,
    /// The id, where the file's name is one.
    #[schema(required)]
    id: Option<String>,
    /// `corrupt`
    status: CorruptStatus,
    /// The file.
    path: String,
    /// Why it cannot be read.
    error: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CorruptStatus {
    Corrupt,
}

/// A session: its record as it is true, and whether to believe it. Fields that
/// another version of monoco wrote stand beside these.
#[derive(ToSchema)]
pub(super) struct Session {
    /// The project's directory.
    project: String,
    /// The id: `[a-z0-9][a-z0-9_-]{0,63}`.
    id: String,
    /// The issue the agent works on.
    issue_id: String,
    /// The agent's role.
    role_name: String,
    status: Status,
    /// The branch the agent works on.
    branch_name: String,
    /// The agent's pid, also after the end.
    #[schema(required)]
    pid: Option<i64>,
    /// When the record was made (RFC 3339).
    #[schema(format = DateTime)]
    created_at: String,
    /// When the record last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// The version of the record's format.
    #[schema(nullable = false)]
    schema: Option<u32>,
    /// The agent's argument vector.
    #[schema(nullable = false)]
    command: Option<Vec<String>>,
    /// The agent's working directory.
    #[schema(nullable = false)]
    cwd: Option<String>,
    /// The kind of agent.
    #[schema(nullable = false)]
    engine: Option<String>,
    /// The agent's own id of its conversation, as soon as it is known.
    #[schema(nullable = false)]
    conversation_id: Option<String>,
    /// The name that people gave it.
    #[schema(nullable = false)]
    name: Option<String>,
    #[schema(nullable = false)]
    labels: Option<BTreeMap<String, String>>,
    /// The session whose agent started this one.
    #[schema(nullable = false)]
    parent_id: Option<String>,
    /// The session whose conversation this one continues.
    #[schema(nullable = false)]
    resumes: Option<String>,
    #[schema(nullable = false)]
    process: Option<ProcessIdentity>,
    /// When the agent was started.
    #[schema(nullable = false, format = DateTime)]
    started_at: Option<String>,
    /// Since when it is suspended.
    #[schema(nullable = false, format = DateTime)]
    suspended_at: Option<String>,
    /// How long it was suspended, not counting a suspension that lasts.
    #[schema(nullable = false)]
    suspended_seconds: Option<f64>,
    /// When it ended; unknown where nobody saw it.
    #[schema(nullable = false, format = DateTime)]
    ended_at: Option<String>,
    /// How long the agent may run, not counting suspensions.
    #[schema(nullable = false)]
    timeout_seconds: Option<f64>,
    #[schema(nullable = false)]
    outcome: Option<Outcome>,
    #[schema(nullable = false)]
    verdict: Option<Verdict>,
    liveness: Liveness,
    /// Why it cannot be told, where it cannot.
    #[schema(nullable = false)]
    liveness_reason: Option<String>,
}

/// The status that is true; `unknown` where it cannot be told from here.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Status {
    Pending,
    Running,
    Suspended,
    Completed,
    Failed,
    Timeout,
    Terminated,
    Crashed,
    Unknown,
}

/// Whether the record can be believed. `owned`: an owner lives, the record is true.
/// `ended`: it is final. `orphan`: the owner is dead, the agent runs. `lost`: both are
/// dead, nobody saw the end. `abandoned`: whoever was starting it died. `unclaimed`:
/// nobody has begun to start it. `unverified`: a record of another program, whose pid
/// exists. `unknown`: it cannot be told from here.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Liveness {
    Owned,
    Ended,
    Orphan,
    Lost,
    Abandoned,
    Unclaimed,
    Unverified,
    Unknown,
}

/// Which process the pid means.
#[derive(ToSchema)]
struct ProcessIdentity {
    /// The machine's id.
    host: String,
    boot_id: String,
    pid_namespace: u64,
    /// When it started, in clock ticks since the boot.
    start_ticks: u64,
}

/// How the session ended. Which fields there are depends on `kind`.
#[derive(ToSchema)]
struct Outcome {
    kind: OutcomeKind,
    /// `exited`: the exit code.
    #[schema(nullable = false)]
    code: Option<i32>,
    /// `signaled`: the signal.
    #[schema(nullable = false)]
    signal: Option<i32>,
    /// `signaled`: whether a core was dumped.
    #[schema(nullable = false)]
    core_dumped: Option<bool>,
    /// `timed_out`: after how long.
    #[schema(nullable = false)]
    after_seconds: Option<f64>,
    /// `stopped`: by whom.
    #[schema(nullable = false)]
    by: Option<String>,
    /// `stopped`, `timed_out`: what the agent's first process made of it.
    #[schema(nullable = false)]
    wait_status: Option<WaitStatus>,
    /// `spawn_failed`: why.
    #[schema(nullable = false)]
    error: Option<String>,
    /// `spawn_failed`: `not_found` or `not_executable`.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// `lost`: `reboot` or `owner_died`.
    #[schema(nullable = false)]
    cause: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OutcomeKind {
    Exited,
    Signaled,
    TimedOut,
    Stopped,
    SpawnFailed,
    Lost,
}

/// What the agent said of its end, where it is one whose words are understood. It
/// stands beside the outcome, which it does not change.
#[derive(ToSchema)]
struct Verdict {
    kind: VerdictKind,
    /// `rate_limited`: when it may go on, where it was told.
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
    /// How many turns the agent took, where it tells.
    #[schema(nullable = false)]
    turns: Option<u64>,
    /// What that cost, in US dollars, where it tells.
    #[schema(nullable = false)]
    cost_usd: Option<f64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum VerdictKind {
    Succeeded,
    Failed,
    Denied,
    RateLimited,
    ContextExhausted,
    Unknown,
}

/// What `wait` told of a process.
#[derive(ToSchema)]
struct WaitStatus {
    /// `exited` or `signaled`
    kind: String,
    #[schema(nullable = false)]
    code: Option<i32>,
    #[schema(nullable = false)]
    signal: Option<i32>,
    #[schema(nullable = false)]
    core_dumped: Option<bool>,
}
