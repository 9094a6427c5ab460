//! Any bytes in the place of a database: at random here, for long with `fuzz/run manifest`.

mod check;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::AbsPath;
use vrift_core::wire::KnownFile;
use vrift_store::manifest::BaseWriter;

/// A base manifest with a few hundred rows, as one file.
fn database() -> Vec<u8> {
    let tmp = tempfile::tempdir().expect("tempdir");
    let home = Home::at(tmp.path().to_owned());
    let mut writer = BaseWriter::open(&home).expect("opens");
    let file = |n: u32| KnownFile {
        path: AbsPath::new(format!("/usr/lib/{n}").as_bytes()).expect("absolute"),
        stamp: Default::default(),
        digest: Digest::of(&n.to_le_bytes()),
    };
    writer.insert_files(&(0..300).map(file).collect::<Vec<_>>()).expect("inserts");
    // The last one to close it takes its log along.
    drop(writer);
    fs::read(home.manifest()).expect("reads")
}

fn check(database: &[u8], log: &[u8]) {
    let tmp = tempfile::tempdir().expect("tempdir");
    let len = u16::try_from(log.len()).expect("short");
    check::any_database(tmp.path(), &[&len.to_le_bytes(), database, log].concat());
}

#[test]
fn what_the_fuzzer_keeps() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/manifest");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("a corpus") {
        let tmp = tempfile::tempdir().expect("tempdir");
        check::any_database(tmp.path(), &fs::read(entry.expect("lists").path()).expect("reads"));
        count += 1;
    }
    assert!(count > 3, "the corpus is elsewhere");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
        let mut bytes = database();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        check(&bytes, b"");
    }

    #[test]
    fn a_file_that_was_cut(len in any::<prop::sample::Index>()) {
        let bytes = database();
        check(&bytes[..len.index(bytes.len())], b"");
    }

    #[test]
    fn a_log_of_nonsense(log in prop::collection::vec(any::<u8>(), 0..9000)) {
        check(&database(), &log);
    }

    #[test]
    fn nonsense(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        check(&bytes, b"");
    }
}
