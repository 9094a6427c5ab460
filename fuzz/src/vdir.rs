//! Bytes of a VDir, as `vrift-core/tests/any_vdir/check.rs` says.

#![no_main]

#[path = "../../vrift-core/tests/any_vdir/check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    check::any_vdir(bytes);
});
