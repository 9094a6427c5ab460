//! Cargo's settings that say where build output goes: `build.target-dir` and `build.build-dir`.
//!
//! Order and meaning are Cargo's: `--target-dir`, `CARGO_TARGET_DIR`, `--config`, `CARGO_BUILD_…`, then the files from the
//! working folder upwards, then the one in Cargo's home. A relative path counts from the folder that holds `.cargo`, or from
//! the working folder where it came from elsewhere.
//! Source: the Cargo Book, "Configuration".

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::LowArgs;

/// How deep `include` is followed.
const MAX_INCLUDES: usize = 8;

/// Where Cargo looks for settings.
pub(super) struct Sources<'a> {
    /// The folder that Cargo works in.
    pub cwd: &'a Path,
    /// Cargo's home.
    pub cargo_home: Option<&'a Path>,
    /// What was typed.
    pub low: &'a LowArgs,
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

/// What the settings say about output folders. `build_dir` may hold Cargo's `{…}` variables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Dirs {
    /// Where final artifacts go.
    pub target_dir: Option<PathBuf>,
    /// Where everything else goes, if not to the same folder.
    pub build_dir: Option<PathBuf>,
}

impl Sources<'_> {
    /// Reads as few files as it must.
    pub fn dirs(&self) -> Dirs {
        let env = |name| (self.env)(name).filter(|value| !value.is_empty()).map(|value| self.cwd.join(value));
        let mut found = Dirs {
            target_dir: self.low.target_dir.as_ref().map(|dir| self.cwd.join(dir)).or_else(|| env("CARGO_TARGET_DIR")),
            build_dir: None,
        };
        // The last --config wins.
        for text in self.low.config.iter().rev() {
            found.fill(self.command_line(text));
        }
        found.fill(Dirs { target_dir: env("CARGO_BUILD_TARGET_DIR"), build_dir: env("CARGO_BUILD_BUILD_DIR") });
        let own = self.cargo_home.map(|home| home.to_owned());
        let folders = self.cwd.ancestors().map(|dir| dir.join(".cargo")).chain(own);
        for dir in folders {
            found.fill(read_folder(&dir));
        }
        found
    }

    /// One `--config`: a file, or `KEY=VALUE` in TOML.
    fn command_line(&self, text: &OsStr) -> Dirs {
        let path = self.cwd.join(text);
        if path.is_file() {
            return read_file(&path, 0);
        }
        text.to_str().and_then(|text| text.parse().ok()).map_or_else(Dirs::default, |table| from_table(&table, self.cwd))
    }
}

impl Dirs {
    /// Takes from `other` what is not known yet.
    fn fill(&mut self, other: Self) {
        self.target_dir = self.target_dir.take().or(other.target_dir);
        self.build_dir = self.build_dir.take().or(other.build_dir);
    }
}

/// The settings file of a `.cargo` folder. The name without extension goes first, as in Cargo.
fn read_folder(dir: &Path) -> Dirs {
    let file = ["config", "config.toml"].map(|name| dir.join(name)).into_iter().find(|file| file.is_file());
    file.map_or_else(Dirs::default, |file| read_file(&file, 0))
}

fn read_file(file: &Path, depth: usize) -> Dirs {
    let Some(table) = fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok()) else {
        return Dirs::default();
    };
    let dir = file.parent().unwrap_or(file);
    let mut found = from_table(&table, dir.parent().unwrap_or(dir));
    if depth < MAX_INCLUDES {
        // Later files go first among those included.
        for included in includes(&table).into_iter().rev() {
            found.fill(read_file(&dir.join(included), depth + 1));
        }
    }
    found
}

fn includes(table: &toml::Table) -> Vec<String> {
    let one = |value: &toml::Value| value.as_str().or_else(|| value.get("path")?.as_str()).map(str::to_owned);
    match table.get("include") {
        Some(toml::Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn from_table(table: &toml::Table, base: &Path) -> Dirs {
    let dir = |name| {
        let text = table.get("build")?.get(name)?.as_str()?;
        // A variable stands for an absolute path, except the hash, which is a name.
        let absolute = ["{workspace-root}", "{cargo-cache-home}"].iter().any(|variable| text.starts_with(variable));
        Some(if absolute { PathBuf::from(text) } else { base.join(text) })
    };
    Dirs { target_dir: dir("target-dir"), build_dir: dir("build-dir") }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        tmp: tempfile::TempDir,
    }

    impl Case {
        fn new(files: &[(&str, &str)]) -> Self {
            let tmp = tempfile::tempdir().expect("tempdir");
            for (path, text) in files {
                let path = tmp.path().join(path);
                fs::create_dir_all(path.parent().expect("has a parent")).expect("mkdir");
                fs::write(path, text).expect("write");
            }
            fs::create_dir_all(tmp.path().join("w/p")).expect("mkdir");
            Self { tmp }
        }

        /// Target and build folder of `line` in `w/p`, relative to the test's folder.
        fn dirs(&self, line: &str, vars: &[(&str, &str)]) -> (String, String) {
            let low = LowArgs::scan(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
            let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
            let (cwd, home) = (self.tmp.path().join("w/p"), self.tmp.path().join("home"));
            let dirs = Sources { cwd: &cwd, cargo_home: Some(&home), low: &low, env: &env }.dirs();
            let show = |dir: Option<PathBuf>| {
                let dir = dir.unwrap_or_default();
                dir.strip_prefix(self.tmp.path()).unwrap_or(&dir).display().to_string()
            };
            (show(dirs.target_dir), show(dirs.build_dir))
        }
    }

    #[test]
    fn files_are_read_from_the_inside_out() {
        let case = Case::new(&[
            ("w/.cargo/config.toml", "[build]\ntarget-dir = 'out'"),
            ("home/config.toml", "[build]\ntarget-dir = '/far'\nbuild-dir = '{cargo-cache-home}/b'"),
        ]);
        assert_eq!(case.dirs("build", &[]), ("w/out".into(), "{cargo-cache-home}/b".into()));
        fs::create_dir(case.tmp.path().join("w/p/.cargo")).expect("mkdir");
        fs::write(case.tmp.path().join("w/p/.cargo/config"), "[build]\ntarget-dir = 'near'").expect("write");
        assert_eq!(case.dirs("build", &[]).0, "w/p/near");
    }

    #[test]
    fn arguments_go_before_variables_before_files() {
        let case =
            Case::new(&[("w/.cargo/config.toml", "[build]\ntarget-dir = 'file'"), ("w/p/x/c.toml", "build.target-dir='cli'")]);
        let all = [("CARGO_TARGET_DIR", "short"), ("CARGO_BUILD_TARGET_DIR", "long")];
        assert_eq!(case.dirs("build", &all[1..]).0, "w/p/long");
        assert_eq!(case.dirs("build --config build.target-dir='kv'", &all[1..]).0, "w/p/kv");
        assert_eq!(case.dirs("build --config x/c.toml", &[]).0, "w/p/cli");
        assert_eq!(case.dirs("build --config build.target-dir='kv'", &all).0, "w/p/short");
        assert_eq!(case.dirs("build --target-dir typed", &all).0, "w/p/typed");
        assert_eq!(case.dirs("build --target-dir /abs", &all).0, "/abs");
    }

    #[test]
    fn includes_are_followed_and_end() {
        let case = Case::new(&[
            ("w/.cargo/config.toml", "include = ['a.toml', {path='missing.toml', optional=true}]"),
            ("w/.cargo/a.toml", "include = 'a.toml'\n[build]\nbuild-dir = 'inc'"),
        ]);
        assert_eq!(case.dirs("build", &[]), (String::new(), "w/inc".into()));
    }

    #[test]
    fn broken_files_say_nothing() {
        let case = Case::new(&[("w/.cargo/config.toml", "[build\n")]);
        assert_eq!(case.dirs("build", &[]), (String::new(), String::new()));
    }
}
