//! The folders that a build tool is told to work with: the one that tells which project is built, and the one that is built in.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Options that name the folder of the build, by the build tool's name. Sources: the manuals of each.
const OPTIONS: [(&[&str], &[&str]); 5] = [
    (&["make", "gmake"], &["-C", "--directory"]),
    (&["ninja", "ninja-build", "samu"], &["-C"]),
    (&["cmake"], &["--build", "--install", "-S"]),
    (&["ctest"], &["--test-dir"]),
    (&["meson"], &["-C"]),
];

/// What a build tool works with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    /// A folder of the project.
    pub project: PathBuf,
    /// Where the output goes; it may be outside the project, and need not be there yet.
    pub build: PathBuf,
}

/// What `program` is told by `words`; both are the working folder `cwd` where it is told nothing, or of nothing that is there.
pub fn of(program: &Path, words: &[OsString], cwd: &Path) -> Folders {
    let here = || Folders { project: cwd.to_owned(), build: cwd.to_owned() };
    told(program, words, cwd).filter(|folders| folders.project.is_dir()).unwrap_or_else(here)
}

fn told(program: &Path, words: &[OsString], cwd: &Path) -> Option<Folders> {
    let name = program.file_name()?.to_str()?;
    if name == "configure" {
        return Some(Folders { project: cwd.join(program.parent()?), build: cwd.to_owned() });
    }
    let (_, options) = OPTIONS.iter().find(|(tools, _)| tools.contains(&name))?;
    // Make goes from one folder to the next; of other tools there is one.
    let folder = |options| values(words, options).fold(cwd.to_owned(), |folder, value: &Path| folder.join(value));
    let project = folder(options);
    if name != "cmake" || values(words, &["--build", "--install"]).next().is_some() {
        return Some(Folders { build: project.clone(), project });
    }
    let project = if project == cwd { cmake_argument(words, cwd).unwrap_or(project) } else { project };
    Some(Folders { project, build: folder(&["-B"]) })
}

/// The values of the options, given as `-C value`, `-Cvalue`, `--name value` or `--name=value`.
fn values<'w>(words: &'w [OsString], options: &'w [&str]) -> impl Iterator<Item = &'w Path> {
    words.iter().enumerate().filter_map(move |(at, word)| {
        options.iter().find_map(|option| {
            let rest = word.as_bytes().strip_prefix(option.as_bytes())?;
            let value = match (rest, option.starts_with("--")) {
                ([], _) => words.get(at + 1)?.as_bytes(),
                ([b'=', value @ ..], true) => value,
                (_, true) => return None,
                (value, false) => value,
            };
            Some(Path::new(OsStr::from_bytes(value)))
        })
    })
}

/// `cmake ..`: the argument that is a folder with something for CMake in it.
fn cmake_argument(words: &[OsString], cwd: &Path) -> Option<PathBuf> {
    let mut folders = words.iter().map(|word| cwd.join(word));
    folders.find(|dir| ["CMakeLists.txt", "CMakeCache.txt"].iter().any(|file| dir.join(file).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_tools_are_told_where_to_work() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let root = tmp.path();
        for dir in ["a/b", "build"] {
            std::fs::create_dir_all(root.join(dir)).expect("mkdir");
        }
        std::fs::write(root.join("a/CMakeLists.txt"), "").expect("write");
        let told = |line: &str| {
            let mut words = line.split(' ').map(OsString::from);
            let program = PathBuf::from(words.next().expect("a program"));
            let Folders { project, build } = of(&program, &words.collect::<Vec<_>>(), root);
            [project, build].map(|dir| dir.strip_prefix(root).expect("inside").display().to_string())
        };
        for (line, project, build) in [
            ("/usr/bin/make -j8 -C a", "a", "a"),
            ("make -Ca -C b all", "a/b", "a/b"),
            ("make --directory=a", "a", "a"),
            ("make -j8", "", ""),
            ("ninja -C build", "build", "build"),
            ("cmake --build build --target x", "build", "build"),
            ("cmake -S a -B build", "a", "build"),
            ("cmake -Bnew a", "a", "new"),
            ("cmake a", "a", ""),
            ("cmake -B build", "", "build"),
            ("cmake --build none", "", ""),
            ("a/configure --prefix=/usr", "a", ""),
            ("./build.sh -C a", "", ""),
        ] {
            assert_eq!(told(line), [project, build], "{line}");
        }
    }
}
