//! Where the known roots of a run are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vrift_core::paths::AbsPath;
use vrift_core::root::{Project, RootKind};

use super::LowArgs;
use super::config::{Dirs, Sources};

/// The folders whose paths differ between checkouts, users and machines. `None`: not known, its paths stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    /// Where build output goes; `None` where that is `{project}/target`.
    pub target: Option<AbsPath>,
    /// Cargo's home.
    pub cargo: Option<AbsPath>,
    /// Rustup's home.
    pub rustup: Option<AbsPath>,
    /// The user's home.
    pub home: Option<AbsPath>,
    /// For temporary files.
    pub tmp: Option<AbsPath>,
}

impl Places {
    /// The places for a command of Cargo (`low`) or any other, that works in `cwd` for `project`. `cargo` is the program
    /// to ask where nothing else tells.
    pub fn find(project: &Project, cwd: &Path, low: &LowArgs, cargo: Option<&Path>) -> Self {
        let var = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let place = |path: PathBuf| AbsPath::try_from(cwd.join(path).as_path()).ok();
        let home = var("HOME").map(PathBuf::from);
        let or_home = |name, folder: &str| var(name).map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(folder)));
        let cargo_home = or_home("CARGO_HOME", ".cargo").map(|path| cwd.join(path));
        let dirs = Sources { cwd, cargo_home: cargo_home.as_deref(), low, env: &|name| env::var_os(name) }.dirs();
        let target = output_dir(&dirs, project, cargo_home.as_deref(), || ask_cargo(cargo?, cwd, low));
        Self {
            target,
            cargo: cargo_home.and_then(place),
            rustup: or_home("RUSTUP_HOME", ".rustup").and_then(place),
            tmp: place(var("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)),
            home: home.and_then(place),
        }
    }

    /// The same for a build in `folder`, which may lie outside the sources that are the project: CMake and `configure` allow it.
    #[must_use]
    pub fn built_in(mut self, project: &Project, folder: &Path) -> Self {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let real = AbsPath::try_from(real.as_path()).ok();
        if let Some(folder) = real.filter(|real| project.kind == RootKind::Make && real.below(&project.root).is_none()) {
            self.target = Some(folder);
        }
        self
    }
}

/// The folder that compilers write to: the build folder where there is one apart, else the target folder. `None` where
/// that is the usual one.
fn output_dir(
    dirs: &Dirs,
    project: &Project,
    cargo_home: Option<&Path>,
    ask: impl FnOnce() -> Option<PathBuf>,
) -> Option<AbsPath> {
    let dir = match &dirs.build_dir {
        None => dirs.target_dir.clone()?,
        Some(template) => match expand(template.to_str()?, project, cargo_home) {
            Some(dir) => dir,
            None => ask()?,
        },
    };
    let dir = AbsPath::try_from(dir.as_path()).ok()?;
    let usual = project.root.join("target").ok()?;
    (dir != usual).then_some(dir)
}

/// Cargo's variables in `build.build-dir`; `None` where one is left that only Cargo can compute.
fn expand(template: &str, project: &Project, cargo_home: Option<&Path>) -> Option<PathBuf> {
    let mut text = template.replace("{workspace-root}", project.root.as_path().to_str()?);
    if let Some(home) = cargo_home {
        text = text.replace("{cargo-cache-home}", home.to_str()?);
    }
    (!text.contains('{')).then(|| PathBuf::from(text))
}

/// The build folder as Cargo says it: needed only where its name holds a hash that Cargo alone computes.
fn ask_cargo(cargo: &Path, cwd: &Path, low: &LowArgs) -> Option<PathBuf> {
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(cwd);
    if let Some(path) = &low.manifest_path {
        command.arg("--manifest-path").arg(path);
    }
    for config in &low.config {
        command.args([OsString::from("--config"), config.clone()]);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    metadata.get("build_directory")?.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(dir: &Path) -> Project {
        Project::at(dir, RootKind::Cargo, None).expect("canonical")
    }

    fn dir_of(target: Option<&str>, build: Option<&str>, project: &Project) -> Option<String> {
        let dirs = Dirs { target_dir: target.map(PathBuf::from), build_dir: build.map(PathBuf::from) };
        output_dir(&dirs, project, Some(Path::new("/c")), || Some("/asked".into())).map(|dir| dir.to_string())
    }

    #[test]
    fn the_usual_folder_is_no_root_of_its_own() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let project = project(tmp.path());
        let usual = project.root.join("target").expect("joins").to_string();
        assert_eq!(dir_of(None, None, &project), None);
        assert_eq!(dir_of(Some(&usual), None, &project), None);
        assert_eq!(dir_of(Some(&format!("{usual}/../target/")), None, &project), None);
        assert_eq!(dir_of(Some("/t"), None, &project).as_deref(), Some("/t"));
    }

    #[test]
    fn a_build_folder_goes_before_the_target_folder() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let project = project(tmp.path());
        assert_eq!(dir_of(Some("/t"), Some("/b"), &project).as_deref(), Some("/b"));
        assert_eq!(dir_of(None, Some("{cargo-cache-home}/b"), &project).as_deref(), Some("/c/b"));
        let inside = project.root.join("b").expect("joins").to_string();
        assert_eq!(dir_of(None, Some("{workspace-root}/b"), &project), Some(inside));
        assert_eq!(dir_of(None, Some("/c/{workspace-path-hash}"), &project).as_deref(), Some("/asked"));
    }
}
