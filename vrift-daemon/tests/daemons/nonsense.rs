//! Whatever a client sends, daemons read, and answer in frames. At random here, for long with `fuzz/run frames`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use vrift_core::wire::{self, FRAME_HEADER, MAX_FRAME, encode};

/// Feeds a connection; its answers as JSON.
fn answers(bytes: &[u8]) -> Vec<Value> {
    let frames = vrift_daemon::feed(bytes).expect("sockets");
    let parse = |frame: &Vec<u8>| {
        let mut rest = frame.as_slice();
        let json = wire::read_frame(&mut rest).expect("a frame");
        assert!(rest.is_empty(), "one frame");
        serde_json::from_slice(&json).expect("JSON")
    };
    frames.iter().map(parse).collect()
}

#[test]
fn what_the_fuzzer_keeps() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/frames");
    let all: Vec<_> = fs::read_dir(corpus).expect("a corpus").map(|entry| entry.expect("lists").path()).collect();
    let answered = all.iter().map(|path| answers(&fs::read(path).expect("reads")).len()).sum::<usize>();
    assert!(all.len() > 10 && answered > 20, "{} files, {answered} answers", all.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        answers(&bytes);
    }

    #[test]
    fn any_text_in_frames(texts in prop::collection::vec(any::<String>(), 0..20)) {
        let frame = |text: &String| [&u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes()].concat();
        let bytes: Vec<u8> = texts.iter().flat_map(frame).collect();
        // What is no request is answered, too: with an error.
        prop_assert_eq!(answers(&bytes).len(), texts.len());
    }

    #[test]
    fn each_request_has_its_answer(ids in prop::collection::vec(prop::option::of(any::<u64>()), 0..20), method in "[a-z.]{0,20}") {
        let request = |id: &Option<u64>| wire::Request { jsonrpc: "2.0".to_owned(), method: method.clone(), params: (), id: *id };
        let bytes: Vec<u8> = ids.iter().flat_map(|id| encode(&request(id)).expect("encodes")).collect();
        let got: Vec<_> = answers(&bytes).iter().map(|answer| answer["id"].as_u64()).collect();
        let wanted: Vec<_> = ids.into_iter().filter(Option::is_some).collect();
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn what_is_written_is_read(message in any::<String>(), rest in prop::collection::vec(any::<u8>(), 0..10)) {
        let mut bytes = encode(&message).expect("encodes");
        bytes.extend(&rest);
        let mut from = bytes.as_slice();
        let json = wire::read_frame(&mut from).expect("reads");
        prop_assert_eq!(wire::decode::<String>(&json).expect("parses"), message);
        prop_assert_eq!(from, rest.as_slice());
    }

    #[test]
    fn a_length_is_a_length_or_too_long(header in any::<[u8; FRAME_HEADER]>()) {
        let len = u32::from_le_bytes(header) as usize;
        prop_assert_eq!(wire::decode_len(header).ok(), (len <= MAX_FRAME).then_some(len));
    }
}
