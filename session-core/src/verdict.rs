//! What an agent said of its own end. An exit code says how a process ended, not what
//! became of the work: some agents exit 0 at a rate limit.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::timestamp::Timestamp;

/// What an agent reported of its end, read from what it printed last.
///
/// It stands beside the [`Outcome`](crate::Outcome), and changes nothing of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What became of the work.
    pub kind: VerdictKind,
    /// How many turns the agent took, where it tells.
    pub turns: Option<u64>,
    /// What that cost, in US dollars, where it tells; a finite number.
    pub cost_usd: Option<f64>,
}

/// What became of an agent's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    /// The agent did what it was asked, as far as it knows.
    Succeeded,
    /// The agent gave up.
    Failed,
    /// It was not allowed to do what it would have needed to.
    Denied,
    /// The model's provider had enough of it.
    RateLimited {
        /// When it may go on, where it was told.
        until: Option<Timestamp>,
    },
    /// The conversation has become too long for the model.
    ContextExhausted,
    /// It said nothing that is understood; or a newer version understood it, and
    /// recorded what this one has no word for.
    Unknown,
}

impl Verdict {
    /// The same, but that no limit has ended before `time`, when the agent was started.
    pub(crate) fn since(mut self, time: Option<Timestamp>) -> Self {
        if let VerdictKind::RateLimited { until: told } = &mut self.kind {
            *told = told.filter(|until| time.is_none_or(|time| *until >= time));
        }
        self
    }
}

impl VerdictKind {
    /// The words that records use.
    pub(crate) const RATE_LIMITED: &str = "rate_limited";

    /// The word for it, as records have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::RateLimited { .. } => Self::RATE_LIMITED,
            Self::ContextExhausted => "context_exhausted",
            Self::Unknown => "unknown",
        }
    }
}

impl From<VerdictKind> for Verdict {
    /// A verdict of which nothing else is known.
    fn from(kind: VerdictKind) -> Self {
        Self {
            kind,
            turns: None,
            cost_usd: None,
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind.as_str())?;
        if let VerdictKind::RateLimited { until: Some(until) } = self.kind {
            map.serialize_entry("until", &until)?;
        }
        if let Some(turns) = self.turns {
            map.serialize_entry("turns", &turns)?;
        }
        if let Some(cost) = self.cost_usd {
            map.serialize_entry("cost_usd", &cost)?;
        }
        map.end()
    }
}
