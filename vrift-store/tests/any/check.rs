//! What must hold whatever bytes are in the place of a database: a manifest that can be used is the end of it, or an error that
//! says why not. For property tests, and for `fuzz/src/manifest.rs`.

use std::fs;
use std::path::Path;

use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::wire::KnownFile;
use vrift_store::fsck::fsck;
use vrift_store::manifest::{BaseReader, BaseWriter, DeltaWriter, ManifestError};

/// Opens the bytes of a database, and of its log, as base manifest and as delta; reads, checks, repairs and writes. The input's
/// first two bytes are the length of the log, little-endian; the log is what the input ends with.
pub fn any_database(tmp: &Path, input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<2>() else { return };
    let log = usize::from(u16::from_le_bytes(*head)).min(rest.len());
    let (database, log) = rest.split_at(rest.len() - log);
    base(&tmp.join("home"), database, log);
    delta(&tmp.join("state"), database, log);
}

fn put(dir: &Path, database: &[u8], log: &[u8]) {
    fs::create_dir_all(dir).expect("a folder");
    fs::write(dir.join("manifest.db"), database).expect("writes");
    if !log.is_empty() {
        fs::write(dir.join("manifest.db-wal"), log).expect("writes");
    }
}

fn base(dir: &Path, database: &[u8], log: &[u8]) {
    put(dir, database, log);
    let home = Home::at(dir.to_owned());
    let key = Digest::of(b"key");
    if let Ok(reader) = BaseReader::open(&home) {
        let _ = (reader.candidates(&key), reader.newest(&key), reader.actions(0..50), reader.nearest("a 1.0.0 lib"));
        let _ = (reader.counts(), AbsPath::new(b"/usr").ok().map(|dir| reader.known_files_under(&dir).map(|files| files.len())));
    }
    fsck(&home, &[], false).expect("looks");
    let file = KnownFile { path: AbsPath::new(b"/usr/bin/cc").expect("absolute"), stamp: Default::default(), digest: key };
    let mut writer = match BaseWriter::open_or_rebuild(&home) {
        Ok((writer, _)) => writer,
        Err(ManifestError::Newer { .. }) => return,
        Err(e) => panic!("neither opened nor rebuilt: {e}"),
    };
    if let Err(damage) = writer.insert_files(std::slice::from_ref(&file)) {
        // Damage that does not show at opening.
        drop(writer);
        writer = BaseWriter::rebuild(&home, &damage).expect("rebuilds").0;
        writer.insert_files(std::slice::from_ref(&file)).expect("a new one can be written");
    }
    drop(writer);
    fsck(&home, &[], true).expect("repairs");
    let left = fsck(&home, &[], true).expect("repairs").findings;
    assert!(left.is_empty(), "after a repair there is {left:?}");
}

fn delta(dir: &Path, database: &[u8], log: &[u8]) {
    put(dir, database, log);
    let id = ProjectId::new(&AbsPath::new(b"/w/a").expect("absolute"), None);
    match DeltaWriter::open_and_load(dir, id) {
        Ok((delta, _, _)) => {
            delta.load_all().expect("what was loaded once is loaded twice");
        }
        Err(ManifestError::Newer { .. }) => {}
        Err(e) => panic!("neither opened nor rebuilt: {e}"),
    }
}
