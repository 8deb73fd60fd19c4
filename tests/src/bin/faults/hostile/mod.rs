//! Whatever may stand in a project that was cloned: records that are none, files that
//! are none, bytes that are nearly right. What is damaged is told, with its reason, by
//! everybody alike; its bytes stay; nothing hangs, and nothing is followed anywhere.

mod corpus;
mod files;
mod looks;
mod many;
mod mutants;
mod names;
mod records;
mod terminal;
mod things;

pub(crate) use files::run as files;
pub(crate) use many::run as many;
pub(crate) use mutants::run as mutants;
pub(crate) use records::{TRIALS as RECORDS, run as records};
