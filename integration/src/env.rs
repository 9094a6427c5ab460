//! One hermetic environment: a home, a store, daemons and checkouts of its own, and nothing inherited but the toolchain
//! and the downloaded crates.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::checkout::Checkout;
use crate::command::Cmd;
use crate::{Result, daemons, host, product, user};

/// Set to anything, keeps the folders of tests for a look.
pub const KEEP: &str = "VRIFT_TEST_KEEP";

/// The environment.
#[derive(Debug)]
pub struct TestEnv {
    root: Option<TempDir>,
    path: PathBuf,
    vars: BTreeMap<OsString, OsString>,
    user: bool,
    product: PathBuf,
}

impl TestEnv {
    /// Commands run as whoever runs the tests.
    ///
    /// # Errors
    /// vrift does not build, or no folder can be made.
    pub fn new() -> Result<Self> {
        let mut env = Self::plain()?;
        env.product = product::programs()?;
        let mut path = env.product.clone().into_os_string();
        path.push(":");
        path.push(host::search_path());
        env.vars.insert("PATH".into(), path);
        Ok(env)
    }

    /// Without vrift: for what plain Cargo does.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn plain() -> Result<Self> {
        let mut env = Self::empty()?;
        env.vars.insert("PATH".into(), host::search_path());
        env.vars.insert("CARGO_HOME".into(), host::cargo_home().into());
        env.vars.insert("RUSTUP_HOME".into(), host::rustup_home().into());
        if let Some(toolchain) = host::toolchain() {
            env.vars.insert("RUSTUP_TOOLCHAIN".into(), toolchain);
        }
        Ok(env)
    }

    /// Commands run as an ordinary user; `None` where that is not possible here. The user has no downloaded crates.
    ///
    /// # Errors
    /// vrift does not build, or no folder can be made.
    pub fn as_user() -> Result<Option<Self>> {
        if !user::is_possible() {
            return Ok(None);
        }
        let mut env = Self::empty()?;
        // The repository may lie in a folder that is closed to others.
        env.product = env.path.join("bin");
        user::copy_tree(&product::programs()?, &env.product)?;
        let mut path = env.product.clone().into_os_string();
        for more in [user::toolchain()?.join("bin"), "/usr/local/bin".into(), "/usr/bin".into(), "/bin".into()] {
            path.push(":");
            path.push(more);
        }
        env.vars.insert("PATH".into(), path);
        env.vars.insert("CARGO_HOME".into(), env.path.join("home/.cargo").into());
        env.user = true;
        user::give(&env.path)?;
        Ok(Some(env))
    }

    fn empty() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("vrift-it-").tempdir().context("cannot make a temporary folder")?;
        let path = root.path().canonicalize()?;
        for dir in ["home", "tmp", "out", "w"] {
            std::fs::create_dir(path.join(dir))?;
        }
        let vars = [
            ("HOME", path.join("home").into_os_string()),
            // Of its own: checkouts must not lie below the temporary folder, as far as vrift can see.
            ("TMPDIR", path.join("tmp").into_os_string()),
            ("LANG", "C.UTF-8".into()),
            ("USER", "tester".into()),
            ("TERM", "dumb".into()),
            ("CARGO_NET_OFFLINE", "true".into()),
            ("GIT_CONFIG_GLOBAL", "/dev/null".into()),
            ("GIT_CONFIG_SYSTEM", "/dev/null".into()),
            ("GIT_AUTHOR_NAME", "t".into()),
            ("GIT_AUTHOR_EMAIL", "t@example.org".into()),
            ("GIT_COMMITTER_NAME", "t".into()),
            ("GIT_COMMITTER_EMAIL", "t@example.org".into()),
        ];
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Ok(Self { root: Some(root), path, vars, user: false, product: PathBuf::new() })
    }

    /// Sets a variable for all commands.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.vars.insert(name.into(), value.into());
    }

    /// The environment's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `HOME`.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// vrift's state folder.
    pub fn vrift_home(&self) -> PathBuf {
        self.vars.get(&OsString::from("VRIFT_HOME")).map_or_else(|| self.home().join(".vrift"), PathBuf::from)
    }

    /// The store.
    pub fn the_source(&self) -> PathBuf {
        self.vrift_home().join("the_source")
    }

    /// The folder with vrift's programs.
    pub fn product(&self) -> &Path {
        &self.product
    }

    /// Whether commands run as an ordinary user.
    pub fn is_user(&self) -> bool {
        self.user
    }

    /// A command in `dir`.
    pub fn cmd_in(&self, program: impl Into<OsString>, dir: &Path) -> Cmd {
        let cmd = Cmd::new(program, dir, self.vars.clone(), &self.path.join("out"));
        if self.user { cmd.under("setpriv", user::setpriv()) } else { cmd }
    }

    /// `vrift` outside any project.
    pub fn vrift(&self) -> Cmd {
        self.cmd_in("vrift", &self.path)
    }

    /// Gives a path to those who run the commands.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn own(&self, path: &Path) -> Result {
        if self.user { user::give(path) } else { Ok(()) }
    }

    /// An empty checkout at `w/<name>`; the name may have slashes.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn checkout(&self, name: &str) -> Result<Checkout<'_>> {
        let dir = self.path.join("w").join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        self.own(&self.path.join("w"))?;
        Ok(Checkout::new(self, dir))
    }

    /// A checkout at `w/<name>` with the files of `sources`.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn checkout_of(&self, sources: &Path, name: &str) -> Result<Checkout<'_>> {
        let checkout = self.checkout(name)?;
        user::copy_tree(sources, checkout.dir())?;
        self.own(checkout.dir())?;
        Ok(checkout)
    }

    /// Sees to it that the coordinator runs, so that a judged command does not start it and keep its judge waiting.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_daemon(&self) -> Result {
        if self.daemons().iter().any(|daemon| daemon.name == "vriftd") {
            return Ok(());
        }
        let dir = self.path.join("w/.warm");
        std::fs::create_dir_all(&dir)?;
        self.own(&dir)?;
        self.cmd_in("vrift", &dir).args(["run", "--", "true"]).ok()?;
        Ok(())
    }

    /// The daemons that run.
    pub fn daemons(&self) -> Vec<daemons::Daemon> {
        daemons::of(&self.vrift_home())
    }

    /// Ends all daemons, the hard way.
    ///
    /// # Errors
    /// One does not go.
    pub fn kill_daemons(&self) -> Result {
        daemons::kill_all(&self.path)
    }

    /// Keeps the folder when this is dropped; returns where it is.
    pub fn keep(&mut self) -> &Path {
        if let Some(root) = self.root.take() {
            let _ = root.keep();
        }
        &self.path
    }

    /// Bytes in the store, and the number of its blobs.
    pub fn store_size(&self) -> (u64, usize) {
        let files = walkdir::WalkDir::new(self.the_source()).into_iter().flatten().filter(|e| e.file_type().is_file());
        files.fold((0, 0), |(bytes, count), e| (bytes + e.metadata().map_or(0, |meta| meta.len()), count + 1))
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let _ = self.kill_daemons();
        crate::maps::remove_below(self.path(), &self.vrift_home());
        if std::env::var_os(KEEP).is_some()
            && let Some(root) = self.root.take()
        {
            let _ = root.keep();
        }
    }
}

/// Runs a test as whoever runs the tests, and then as an ordinary user where that is possible: root ignores the permission
/// bits that users run into.
///
/// # Errors
/// The test fails for one of them.
pub fn as_root_and_user(body: impl Fn(&TestEnv) -> Result) -> Result {
    body(&TestEnv::new()?).with_context(|| if host::is_root() { "as root" } else { "as the tests' user" })?;
    match TestEnv::as_user()? {
        Some(env) => body(&env).context("as an ordinary user"),
        None => Ok(()),
    }
}
