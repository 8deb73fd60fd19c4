//! Conversations that go on in other sessions: what is promised of them, demanded alike
//! of real agents (`cargo xtask agents`) and of the stub of one (`tests/continue.rs`).

mod scenarios;
mod stage;
mod stub;

pub use scenarios::{
    Recovery, completes_and_is_resumed, is_rate_limited, is_resumed_by_one, recovers,
};
pub use stage::Stage;
pub use stub::Stub;

/// Who answers the agents.
pub trait Model {
    /// Answers from now on as `mood` says: `answers`; `hangs` in the midst of an answer;
    /// `rate-limited N`, until N seconds after 1970.
    fn be(&self, mood: &str);

    /// What it was asked so far, in order: with each request all that the user has said in
    /// its conversation.
    fn heard(&self) -> Vec<Vec<String>>;
}

/// How many requests had each of `texts` among what the user has said.
#[must_use]
pub fn n_heard(model: &dyn Model, texts: &[&str]) -> usize {
    let has_all = |prompts: &Vec<String>| {
        let has = |text: &&str| prompts.iter().any(|prompt| prompt.contains(*text));
        texts.iter().all(has)
    };
    model
        .heard()
        .iter()
        .filter(|request| has_all(request))
        .count()
}
