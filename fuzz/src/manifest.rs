//! Bytes of a database, and of its log, as `vrift-store/tests/any/check.rs` says.

#![no_main]

#[path = "../../vrift-store/tests/any/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // In memory: each input makes files and syncs them.
    let tmp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    check::any_database(tmp.path(), bytes);
});
