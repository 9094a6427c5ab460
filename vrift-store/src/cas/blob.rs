//! What a blob is called.

use vrift_core::action::{Output, OutputState, Place};
use vrift_core::digest::Digest;

use super::{MODE_EXEC, MODE_PLAIN};

/// A content in the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Blob {
    /// Its hash.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Whether it is the executable variant (0555, name ending in `.x`). A hard link shares its blob's mode, so a program
    /// that is restored as a link needs a blob that may be executed; everything else uses the plain variant.
    pub exec: bool,
}

impl Blob {
    /// The plain blob of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self { digest: Digest::of(content), size: content.len() as u64, exec: false }
    }

    /// The blob that an output with this mode, coming back this way, is stored as.
    pub fn stored(digest: Digest, size: u64, mode: u32, place: Place) -> Self {
        Self { digest, size, exec: place == Place::Link && mode & 0o111 != 0 && size != 0 }
    }

    /// The blob that an output needs; `None` for what is no file.
    pub fn of_output(output: &Output) -> Option<Self> {
        Self::of_state(&output.state)
    }

    /// The blob that an output's state needs; `None` for what is no file.
    pub fn of_state(state: &OutputState) -> Option<Self> {
        match *state {
            OutputState::File { blob, size, mode, place } => Some(Self::stored(blob, size, mode, place)),
            OutputState::Dir { .. } | OutputState::Symlink { .. } | OutputState::Removed => None,
        }
    }

    /// The mode of its file.
    pub fn mode(&self) -> u32 {
        if self.exec { MODE_EXEC } else { MODE_PLAIN }
    }

    /// The name of its file: `<hash>_<size>` and, for the executable variant, `.x`.
    pub fn file_name(&self) -> String {
        use std::fmt::Write;
        let mut name = String::with_capacity(90);
        name.push_str(&self.digest.to_hex());
        // Writing into a string cannot fail.
        let _ = write!(name, "_{}{}", self.size, if self.exec { ".x" } else { "" });
        name
    }

    /// The blob of that file name.
    pub fn parse(name: &str) -> Option<Self> {
        let (hash, rest) = name.split_once('_')?;
        let (size, exec) = match rest.strip_suffix(".x") {
            Some(size) => (size, true),
            None => (rest, false),
        };
        let blob = Self { digest: hash.parse().ok()?, size: size.parse().ok()?, exec };
        // `+7`, `007` and upper-case digits name nothing.
        (blob.file_name() == name).then_some(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for exec in [false, true] {
            let blob = Blob { exec, ..Blob::of(b"some content") };
            assert_eq!(Blob::parse(&blob.file_name()), Some(blob));
        }
    }

    #[test]
    fn other_names_are_refused() {
        let good = Blob::of(b"x").file_name();
        let hash = &good[..64];
        for name in [
            hash.to_owned(),
            format!("{hash}_"),
            format!("{hash}_+1"),
            format!("{hash}_01"),
            format!("{hash}_1.y"),
            format!("{hash}_1.x.x"),
            format!("{hash}_-1"),
            format!("{}_1", hash.to_uppercase()),
            format!("{}_1", &hash[1..]),
            String::new(),
        ] {
            assert_eq!(Blob::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn only_linked_programs_take_the_executable_variant() {
        let digest = Digest::of(b"x");
        assert!(Blob::stored(digest, 1, 0o755, Place::Link).exec);
        assert!(!Blob::stored(digest, 1, 0o644, Place::Link).exec);
        assert!(!Blob::stored(digest, 1, 0o755, Place::Copy).exec);
        assert!(!Blob::stored(digest, 1, 0o755, Place::Render).exec);
    }
}
