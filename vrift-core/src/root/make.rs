//! The root of a build by Make, Ninja, CMake, Meson or a `configure` script.
//!
//! It is the folder that the build files are in. A build folder says where its sources are, and then these are the root, so
//! that the project is the same whether a command is run in its sources or in its build folder.

use std::fs;
use std::path::{Path, PathBuf};

/// What the folder of a project holds. Source: the manuals of GNU make, Ninja, CMake and Meson.
const MARKERS: [&str; 8] =
    ["GNUmakefile", "makefile", "Makefile", "build.ninja", "CMakeCache.txt", "CMakeLists.txt", "meson.build", "configure"];

/// Files of these names are in each folder of one project.
const IN_EACH_FOLDER: [&str; 2] = ["CMakeLists.txt", "meson.build"];

/// A larger file is not searched for the place of the sources.
const LARGEST: u64 = 4 << 20;

/// Whether something in `dir` is built by one of these tools.
pub fn is_marked(dir: &Path) -> bool {
    has(dir, &MARKERS)
}

/// The root of the project that the marked folder `dir` belongs to.
pub fn root(dir: &Path) -> PathBuf {
    match sources(dir).and_then(|sources| fs::canonicalize(dir.join(sources)).ok()) {
        // Sources that are below their build folder: the build folder is the whole.
        Some(sources) if !sources.starts_with(dir) => sources,
        Some(_) => dir.to_owned(),
        None if has(dir, &IN_EACH_FOLDER) => {
            dir.ancestors().take_while(|up| has(up, &IN_EACH_FOLDER)).last().unwrap_or(dir).to_owned()
        }
        None => dir.to_owned(),
    }
}

fn has(dir: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| dir.join(name).is_file())
}

/// Where a build folder says that its sources are.
fn sources(dir: &Path) -> Option<PathBuf> {
    let text = |name: &str| {
        let path = dir.join(name);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        small.then(|| fs::read(&path).ok()).flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let line = |text: String, start: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    let meson = || {
        let info: serde_json::Value = serde_json::from_str(&text("meson-info/meson-info.json")?).ok()?;
        info.pointer("/directories/source")?.as_str().map(PathBuf::from)
    };
    // CMake's and Automake's Makefiles, in any folder of the build.
    let makefile = || {
        let text = text("Makefile")?;
        line(text.clone(), "CMAKE_SOURCE_DIR = ").or_else(|| line(text, "abs_top_srcdir = "))
    };
    text("CMakeCache.txt").and_then(|text| line(text, "CMAKE_HOME_DIRECTORY:INTERNAL=")).or_else(meson).or_else(makefile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_folders_lead_to_their_sources() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let top = fs::canonicalize(tmp.path()).expect("canonical");
        let write = |path: &str, text: &str| {
            let path = top.join(path);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        let at = |dir: &str| root(&top.join(dir)).strip_prefix(&top).expect("inside").display().to_string();
        let cache = format!("# CMake\nCMAKE_HOME_DIRECTORY:INTERNAL={}\n", top.join("c").display());
        write("c/CMakeLists.txt", "");
        write("c/src/CMakeLists.txt", "");
        write("c/build/CMakeCache.txt", &cache);
        write("c/build/src/Makefile", &format!("all:\nCMAKE_SOURCE_DIR = {}\n", top.join("c").display()));
        write("beside/CMakeCache.txt", &cache);
        write("gone/CMakeCache.txt", "CMAKE_HOME_DIRECTORY:INTERNAL=/no/such/folder\n");
        write("m/build/meson-info/meson-info.json", &format!("{{\"directories\":{{\"source\":{:?}}}}}", top.join("m")));
        write("m/build/build.ninja", "");
        write("auto/build/lib/Makefile", &format!("abs_top_srcdir = {}\n", top.join("auto").display()));
        write("plain/Makefile", "all:\n");
        write("plain/sub/Makefile", "all:\n");
        for (dir, root) in [
            ("c", "c"),
            ("c/src", "c"),
            ("c/build", "c"),
            ("c/build/src", "c"),
            ("beside", "c"),
            ("gone", "gone"),
            ("m/build", "m"),
            ("auto/build/lib", "auto"),
            ("plain/sub", "plain/sub"),
        ] {
            assert_eq!(at(dir), root, "{dir}");
        }
        assert!(is_marked(&top.join("beside")) && !is_marked(&top));
    }
}
