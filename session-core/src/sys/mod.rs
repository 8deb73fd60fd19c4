//! What only the system can tell: the one place that knows which system it is.

mod linux;

pub(crate) use linux::*;
