//! Any bytes in the place of a VDir: at random here, for long with `fuzz/run vdir`.

mod check;

use std::fs;
use std::path::Path;

use check::any_vdir;
use proptest::prelude::*;

#[test]
fn what_the_fuzzer_keeps() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/vdir");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("a corpus") {
        any_vdir(&fs::read(entry.expect("lists").path()).expect("reads"));
        count += 1;
    }
    assert!(count > 3, "the corpus is elsewhere");
}

#[test]
fn a_sound_one_answers_for_all() {
    assert_eq!(any_vdir(&[0]), Some(9));
    assert_eq!(any_vdir(&[2 | 4]), Some(9), "the checksums are those of the writer");
}

#[test]
fn a_byte_of_the_header_is_enough() {
    for at in 0_u32..176 {
        let [a, b, c, d] = at.to_le_bytes();
        assert_eq!(any_vdir(&[0, a, b, c, d, 0xa5]), None, "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_changed(how in 0_u8..4, changes in prop::collection::vec((0_u32..16_384, any::<u8>()), 1..40)) {
        let changes = changes.iter().flat_map(|(at, value)| at.to_le_bytes().into_iter().chain([*value]));
        any_vdir(&std::iter::once(how << 1).chain(changes).collect::<Vec<_>>());
    }

    #[test]
    fn headers_that_fit(changes in prop::collection::vec((16_u32..240, any::<u8>()), 1..12)) {
        let changes = changes.iter().flat_map(|(at, value)| at.to_le_bytes().into_iter().chain([*value]));
        any_vdir(&std::iter::once(6).chain(changes).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_of_any_kind(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        prop_assert_eq!(any_vdir(&[&[1], &bytes[..]].concat()), None);
    }
}
