//! Which kind of processor this machine has, for commands that are to make code for it.

use std::fs;
use std::sync::OnceLock;

use vrift_core::digest::Digest;

/// What `/proc/cpuinfo` calls that by which compilers choose instructions and sizes of caches, on x86 and on Arm.
const NAMES: [&str; 11] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "cache size",
    "flags",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "Features",
];

/// A digest of the kind of all processors.
pub fn digest() -> &'static Digest {
    static KIND: OnceLock<Digest> = OnceLock::new();
    KIND.get_or_init(|| Digest::of(kinds(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()).as_bytes()))
}

/// The lines that tell, each once: a machine may have processors of several kinds.
fn kinds(info: &str) -> String {
    let tells = |line: &&str| line.split_once(':').is_some_and(|(name, _)| NAMES.contains(&name.trim()));
    let mut lines: Vec<&str> = info.lines().filter(tells).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_and_number_do_not_count_and_features_do() {
        let one = "processor\t: 0\nmodel name\t: X\ncpu MHz\t: 2000.1\nflags\t: sse avx\n\n";
        let two = one.replace(": 0", ": 1").replace("2000.1", "1800.0");
        assert_eq!(kinds(one), kinds(&format!("{one}{two}")));
        assert_ne!(kinds(one), kinds(&one.replace(" avx", "")));
        assert!(!kinds(&fs::read_to_string("/proc/cpuinfo").expect("reads")).is_empty());
    }
}
