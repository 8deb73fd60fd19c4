//! monoco.
fn main() {}
