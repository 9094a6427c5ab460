//! One working copy of a project.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::Result;
use crate::command::Cmd;
use crate::env::TestEnv;

/// A working copy.
#[derive(Debug)]
pub struct Checkout<'e> {
    env: &'e TestEnv,
    dir: PathBuf,
}

impl<'e> Checkout<'e> {
    pub(crate) fn new(env: &'e TestEnv, dir: PathBuf) -> Self {
        Self { env, dir }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    /// Its environment.
    pub fn env(&self) -> &'e TestEnv {
        self.env
    }

    /// Writes a file, folders included.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<&Self> {
        let path = self.dir.join(path);
        let parent = path.parent().unwrap_or(&self.dir);
        let first_new = path.ancestors().take_while(|p| !p.exists()).last().unwrap_or(&path).to_owned();
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
        self.env.own(&first_new)?;
        Ok(self)
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.dir.join(path);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }

    /// Replaces text in a file; it must be there. The file's time moves on for certain, as an editor's would.
    ///
    /// # Errors
    /// The file cannot be rewritten, or does not hold `old`.
    pub fn edit(&self, path: &str, old: &str, new: &str) -> Result<&Self> {
        let text = self.read(path)?;
        ensure!(text.contains(old), "`{path}` does not hold `{old}`");
        // Cargo compares times of whole files on file systems that may be coarse.
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.write(path, text.replace(old, new))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, path: &str) -> Result<&Self> {
        let path = self.dir.join(path);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        Ok(self)
    }

    /// Another checkout of the same sources, at `w/<name>`: what was built, and vrift's own folder, stay behind.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn copy(&self, name: &str) -> Result<Checkout<'e>> {
        let other = self.env.checkout(name)?;
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_str(), Some("target" | ".vrift" | "build-dir")) {
                crate::user::copy_tree(&entry.path(), &other.path(entry.file_name()))?;
            }
        }
        self.env.own(&other.dir)?;
        Ok(other)
    }

    /// Any command here.
    pub fn cmd(&self, program: &str) -> Cmd {
        self.env.cmd_in(program, &self.dir)
    }

    /// A shell script here, which ends at its first failure.
    pub fn sh(&self, script: &str) -> Cmd {
        self.cmd("sh").args(["-ec", script])
    }

    /// Plain `cargo`, words split at blanks.
    pub fn cargo(&self, args: &str) -> Cmd {
        self.cmd("cargo").args(args.split_whitespace())
    }

    /// `cargo vrift`, words split at blanks.
    pub fn vrift(&self, args: &str) -> Cmd {
        self.cmd("cargo").arg("vrift").args(args.split_whitespace())
    }

    /// `vrift run --` a shell script.
    pub fn run(&self, script: &str) -> Cmd {
        self.cmd("vrift").args(["run", "--", "sh", "-ec", script])
    }

    /// What the program `target/debug/<name>` prints.
    ///
    /// # Errors
    /// It fails.
    pub fn output_of(&self, name: &str) -> Result<String> {
        let program = self.path("target/debug").join(name).into_os_string().into_string();
        let program = program.map_err(|path| anyhow::anyhow!("`{}` is no text", path.display()))?;
        Ok(self.cmd(&program).ok()?.stdout)
    }
}
