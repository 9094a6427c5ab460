//! Bytes of a connection: read, parsed and answered as the daemons do. Every answer is a frame with JSON in it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let answers = vrift_daemon::feed(bytes).expect("sockets");
    for answer in answers {
        let mut rest = answer.as_slice();
        let json = vrift_core::wire::read_frame(&mut rest).expect("an answer is a frame");
        assert!(rest.is_empty() && std::str::from_utf8(&json).is_ok());
    }
    // What clients read.
    let mut rest = bytes;
    while let Ok(json) = vrift_core::wire::read_frame(&mut rest) {
        let _ = vrift_core::wire::decode::<vrift_core::wire::Reply<vrift_core::wire::LookupResult>>(&json);
        let _ = vrift_core::wire::decode::<vrift_core::wire::Reply<vrift_core::wire::BuildOpenResult>>(&json);
    }
});
