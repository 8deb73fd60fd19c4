//! Any bytes in the place of a record.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| monoco_tests::fuzz::check_record(bytes));
