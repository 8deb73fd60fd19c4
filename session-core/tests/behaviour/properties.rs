//! What holds of every session, whatever it holds and whatever becomes of it: the
//! arrows of the diagram and no others, and records that say the same after any
//! number of rewrites, by any version.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::value::RawValue;
use session_core::{
    LostCause, NewSession, Outcome, Pid, Process, ProcessIdentity, Session, SessionId,
    SpawnFailure, Status, Timestamp, TransitionError, WaitStatus, parse_record, record_to_json,
};

/// Something that may befall a session.
#[derive(Debug, Clone)]
enum Event {
    Start(Process),
    Suspend,
    Resume,
    Finish(Outcome),
    Settle(Outcome),
}

impl Event {
    fn befall(self, session: &mut Session, now: Timestamp) -> Result<(), TransitionError> {
        match self {
            Self::Start(process) => session.start(process, now),
            Self::Suspend => session.suspend(now),
            Self::Resume => session.resume(now),
            Self::Finish(outcome) => session.finish(outcome, now),
            Self::Settle(outcome) => session.settle(outcome, now),
        }
    }

    /// Where it leads, by the diagram.
    fn arrow(&self, from: &str) -> Option<&'static str> {
        match (from, self) {
            ("pending", Self::Start(_)) | ("suspended", Self::Resume) => Some("running"),
            ("running", Self::Suspend) => Some("suspended"),
            ("pending", Self::Finish(outcome) | Self::Settle(outcome)) => {
                matches!(outcome, Outcome::SpawnFailed { .. }).then_some("failed")
            }
            ("running" | "suspended", Self::Finish(outcome) | Self::Settle(outcome)) => {
                Some(end(outcome))
            }
            _ => None,
        }
    }
}

/// The diagram's words for how an agent ended.
fn end(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Exited { code } if *code == 0 => "completed",
        Outcome::Exited { .. } | Outcome::SpawnFailed { .. } => "failed",
        Outcome::Signaled { .. } => "crashed",
        Outcome::TimedOut { .. } => "timeout",
        Outcome::Stopped { .. } | Outcome::Lost { .. } => "terminated",
    }
}

fn is_over(status: &str) -> bool {
    !["pending", "running", "suspended"].contains(&status)
}

fn time() -> impl Strategy<Value = Timestamp> {
    let date = (1..9999_u32, 1..=12_u32, 1..=28_u32);
    let clock = (0..24_u32, 0..60_u32, 0..60_u32, 0..1_000_000_u32);
    let time = |((year, month, day), (hour, minute, second, micros)): (_, _)| {
        let text: String =
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
        Timestamp::parse(&text).expect("a time")
    };
    // Clocks are set, mostly by a little.
    let near = (0..3600_u32).prop_map(|second| {
        let (minute, second) = (second / 60, second % 60);
        Timestamp::parse(&format!("2026-11-22T11:{minute:02}:{second:02}Z")).expect("a time")
    });
    prop_oneof![4 => near, 1 => (date, clock).prop_map(time)]
}

fn process() -> impl Strategy<Value = Process> {
    let identity = (".*", ".*", any::<u64>(), any::<u64>()).prop_map(
        |(host, boot_id, pid_namespace, start_ticks)| ProcessIdentity {
            host,
            boot_id,
            pid_namespace,
            start_ticks,
        },
    );
    (2..i32::MAX, of(identity)).prop_map(|(pid, identity)| Process {
        pid: Pid::new(pid.into()).expect("larger than 1"),
        identity,
    })
}

fn wait_status() -> impl Strategy<Value = WaitStatus> {
    prop_oneof![
        any::<i32>().prop_map(|code| WaitStatus::Exited { code }),
        (any::<i32>(), any::<bool>()).prop_map(|(signal, core_dumped)| WaitStatus::Signaled {
            signal,
            core_dumped
        }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let reason = prop_oneof![
        Just(SpawnFailure::NotFound),
        Just(SpawnFailure::NotExecutable)
    ];
    let cause = prop_oneof![Just(LostCause::Reboot), Just(LostCause::OwnerDied)];
    prop_oneof![
        wait_status().prop_map(Outcome::from),
        Just(Outcome::Exited { code: 0 }),
        (any::<u64>(), of(wait_status())).prop_map(|(after_seconds, wait_status)| {
            Outcome::TimedOut {
                after_seconds,
                wait_status,
            }
        }),
        (".*", of(wait_status()))
            .prop_map(|(by, wait_status)| Outcome::Stopped { by, wait_status }),
        (".*", of(reason)).prop_map(|(error, reason)| Outcome::SpawnFailed { error, reason }),
        cause.prop_map(|cause| Outcome::Lost { cause }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => process().prop_map(Event::Start),
        3 => Just(Event::Suspend),
        3 => Just(Event::Resume),
        1 => outcome().prop_map(Event::Finish),
        1 => outcome().prop_map(Event::Settle),
    ]
}

fn events() -> impl Strategy<Value = Vec<(Event, Timestamp)>> {
    vec((event(), time()), 0..12)
}

fn id() -> impl Strategy<Value = SessionId> {
    "[a-z0-9][a-z0-9_-]{0,63}".prop_map(|text| SessionId::parse(&text).expect("an id"))
}

fn pending() -> impl Strategy<Value = Session> {
    let names = (id(), of(".*"), of(".*"), of(id()));
    let work = (vec(".*", 0..4), of(".*"), of(".*"), of(".*"));
    let conversation = (of(".*"), of(id()));
    let rest = (btree_map(".*", ".*", 0..4), of(any::<u64>()), time());
    (names, work, conversation, rest).prop_map(
        |(
            (id, issue_id, role_name, parent_id),
            (command, cwd, engine, name),
            (conversation_id, resumes),
            (labels, timeout, now),
        )| {
            let new = NewSession {
                id: Some(id),
                issue_id,
                role_name,
                command,
                cwd: cwd.map(Into::into),
                engine,
                conversation_id,
                name,
                labels,
                parent_id,
                resumes,
                branch_name: None,
                timeout: timeout.map(Duration::from_secs),
            };
            new.into_session(now)
        },
    )
}

/// A session to which all sorts of things have happened.
fn session() -> impl Strategy<Value = Session> {
    (pending(), events()).prop_map(|(mut session, events)| {
        for (event, now) in events {
            // What is refused changes nothing, which is tried elsewhere.
            let _ = event.befall(&mut session, now);
        }
        session
    })
}

/// JSON in its many spellings.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.50".to_owned()),
        Just("-0".to_owned()),
        Just("1e99".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("\"\\u0041\\/\"".to_owned()),
        ".*".prop_map(|text| serde_json::to_string(&text).expect("a string")),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        let pair = (".*", inner.clone()).prop_map(|(key, value)| {
            format!(
                "{} : {value}",
                serde_json::to_string(&key).expect("a string")
            )
        });
        prop_oneof![
            vec(inner, 0..4).prop_map(|all| format!("[ {}\n]", all.join(" ,"))),
            vec(pair, 0..4).prop_map(|all| format!("{{\t{} }}", all.join(","))),
        ]
    })
}

/// The fields of a version that is not there yet, each with where it stands.
fn additions() -> impl Strategy<Value = BTreeMap<String, (String, prop::sample::Index)>> {
    btree_map(
        "[a-z]{1,6}_of_theirs|.*\\.theirs",
        (json(), any::<prop::sample::Index>()),
        1..5,
    )
}

/// `record` with further members between its own.
fn with_additions(
    record: &str,
    additions: &BTreeMap<String, (String, prop::sample::Index)>,
) -> String {
    let mut lines: Vec<_> = record.lines().map(str::to_owned).collect();
    for (key, (value, place)) in additions {
        let begins = |line: &String| line.starts_with("  \"");
        let members: Vec<_> = (0..lines.len()).filter(|n| begins(&lines[*n])).collect();
        let key = serde_json::to_string(key).expect("a string");
        lines.insert(*place.get(&members), format!("  {key}: {value},"));
    }
    lines.join("\n")
}

fn text(session: &Session) -> String {
    String::from_utf8(record_to_json(session)).expect("a record is text")
}

fn members(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).expect("an object")
}

/// What a reader knows that was written for the original format.
#[derive(Debug, PartialEq, serde::Deserialize, serde::Serialize)]
struct Original {
    id: String,
    issue_id: String,
    role_name: String,
    status: String,
    branch_name: String,
    pid: Option<i64>,
    created_at: String,
    updated_at: String,
}

impl Original {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            issue_id: session.issue_id.clone(),
            role_name: session.role_name.clone(),
            status: session.status().to_string(),
            branch_name: session.branch_name.clone(),
            pid: session.pid().map(|pid| pid.get().into()),
            created_at: session.created_at.to_string(),
            updated_at: session.updated_at.to_string(),
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_events_lead_along_an_arrow_that_is_not_in_the_diagram(
        mut session in pending(),
        events in events(),
    ) {
        for (event, now) in events {
            let before = session.clone();
            let arrow = event.arrow(before.status().as_str());
            match (event.befall(&mut session, now), arrow) {
                (Ok(()), Some(to)) => prop_assert_eq!(session.status().as_str(), to),
                (Err(error), None) => {
                    prop_assert_eq!(error.from, before.status());
                    prop_assert_eq!(&session, &before, "what is refused changes nothing");
                }
                (done, arrow) => prop_assert!(false, "{done:?}, but {arrow:?}"),
            }
            prop_assert!(!is_over(before.status().as_str()) || session == before, "an end is an end");
            prop_assert!(session.updated_at >= before.updated_at);
            prop_assert!(session.suspended_for >= before.suspended_for);
            prop_assert_eq!(session.created_at, before.created_at);
            prop_assert_eq!((&session.id, &session.command), (&before.id, &before.command));
        }
    }

    #[test]
    fn times_add_up_whatever_the_clock_does(session in session(), now in time()) {
        let ran = session.started_at().map_or(Duration::ZERO, |start| {
            let last = session.end().and_then(|end| end.ended_at);
            last.unwrap_or(now.max(session.updated_at)).since(start)
        });
        prop_assert!(session.active_for(now) <= ran);
        if let Some(end) = session.end() {
            prop_assert!(end.ended_at.is_none_or(|at| Some(at) >= end.started_at));
            prop_assert!(end.ended_at.is_none_or(|at| session.updated_at >= at));
            prop_assert_eq!(end.outcome.as_ref().map(Status::of), Some(end.status));
        }
    }

    #[test]
    fn every_session_reads_as_it_was_written(session in session()) {
        let json = text(&session);
        let again = parse_record(json.as_bytes());
        prop_assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(&session));
        prop_assert_eq!(text(&again.expect("it was read")), json);
    }

    #[test]
    fn fields_of_another_version_survive_whatever_becomes_of_the_session(
        session in session(),
        additions in additions(),
        events in events(),
    ) {
        let theirs = with_additions(&text(&session), &additions);
        let mut read = parse_record(theirs.as_bytes()).expect("a record");
        prop_assert_eq!(Original::of(&read), Original::of(&session));
        for (event, now) in events {
            // Each is refused where there is no such arrow.
            let _ = event.befall(&mut read, now);
            let written = text(&read);
            let members = members(&written);
            for (key, (value, _)) in &additions {
                prop_assert_eq!(members.get(key).map(|value| value.get()), Some(value.as_str()));
            }
            read = parse_record(written.as_bytes()).expect("a record");
        }
    }

    #[test]
    fn a_reader_of_the_original_format_sees_the_same(session in session(), additions in additions()) {
        let json = with_additions(&text(&session), &additions);
        let original: Original = serde_json::from_str(&json).expect("the eight fields are there");
        prop_assert_eq!(&original, &Original::of(&session));
        // What it writes back is a record, with the same in it.
        let theirs = serde_json::to_vec_pretty(&original).expect("a record");
        let back = parse_record(&theirs).expect("a record of the original format");
        prop_assert_eq!(Original::of(&back), original);
        let names: BTreeSet<_> = members(&text(&back)).into_keys().collect();
        prop_assert_eq!(names.len(), 8, "nothing was made up: {:?}", names);
    }
}
