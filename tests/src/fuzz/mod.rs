//! What must hold for any bytes whatsoever: one plain function per parser, used
//! twice. The campaigns `fuzz/*` feed them what a seeded mutator makes of the
//! seeds, and `cargo xtask fuzz` what libFuzzer finds by coverage (`tests/fuzz`).
//! All of them panic where something does not hold.

mod control;
mod http;
mod id;
mod json;
mod record;

use std::path::Path;

pub use control::{Asked, check_answer, check_control, check_reply, say};
pub use http::Http;
pub use id::check_id;
pub use record::{check_record, is_record};

/// The beginnings of `target`: small, and each of another shape.
///
/// # Panics
/// When the sources are not where they were when this was built.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = ["schema-1", "original-format"].map(|format| {
        let folder = tests.join("../session-core/tests");
        folder.join(format)
    });
    let folders = match target {
        "record" => golden.to_vec(),
        other => vec![tests.join("fuzz/seeds").join(other)],
    };
    let mut files: Vec<_> = folders.iter().flat_map(|folder| files(folder)).collect();
    // Whatever the order in which the system tells them.
    files.sort();
    let seeds = files.iter().map(std::fs::read);
    seeds.map(|seed| seed.expect("it was listed")).collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the sources are there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    paths.filter(|path| !path.ends_with("README.md")).collect()
}
