//! Agents that behave badly, in ways and in company drawn by chance, and what is
//! asked of them: however they end, it is told as it was, and nothing of them is
//! left.

mod cast;
mod play;
mod unstartable;
mod untouchable;

pub(crate) use play::run as behaviour;
pub(crate) use unstartable::run as unstartable;
pub(crate) use untouchable::run as untouchable;
