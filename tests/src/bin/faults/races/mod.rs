//! Many at once on one session: whoever wins wins alone, whoever loses is told so,
//! and whoever looks sees what was or what is.

mod asked;
mod readers;
mod reconcilers;
mod starters;
mod takes;
mod verbs;

pub(crate) use readers::run as readers;
pub(crate) use reconcilers::run as reconcilers;
pub(crate) use starters::run as starters;
pub(crate) use takes::run as takes;
pub(crate) use verbs::run as verbs;
