//! Any bytes in the place of an id, a status or a time.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| monoco_tests::fuzz::check_id(bytes));
