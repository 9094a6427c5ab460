//! The machine that tests and benchmarks run on: its toolchain, its folders, and what results are stamped with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::Result;

/// The repository.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A data file of this crate.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// The folder for what is fetched or built once and kept between runs.
///
/// # Errors
/// It cannot be made.
pub fn cache() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    let dir = target.join("integration");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    Ok(dir)
}

/// Cargo's home: the real one, so that no crate is downloaded twice.
pub fn cargo_home() -> PathBuf {
    in_home("CARGO_HOME", ".cargo")
}

/// rustup's home.
pub fn rustup_home() -> PathBuf {
    in_home("RUSTUP_HOME", ".rustup")
}

fn in_home(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(name)))
        .unwrap_or_else(|| PathBuf::from("/nonexistent"))
}

/// The toolchain that rustup is asked for, where rustup is in use.
pub fn toolchain() -> Option<OsString> {
    std::env::var_os("RUSTUP_TOOLCHAIN")
}

/// The toolchain's own folder, with `bin/rustc`.
///
/// # Errors
/// `rustc` cannot be run.
pub fn sysroot() -> Result<&'static Path> {
    static SYSROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = SYSROOT.get() {
        return Ok(found);
    }
    let found = PathBuf::from(line_of(Command::new("rustc").args(["--print", "sysroot"]).current_dir(repository()))?);
    Ok(SYSROOT.get_or_init(|| found))
}

/// The folders that programs are searched in: Cargo's, then the system's.
pub fn search_path() -> OsString {
    let cargo = cargo_home().join("bin");
    let mut path = OsString::new();
    if cargo.join("cargo").exists() {
        path.push(cargo);
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether a program is on the search path.
pub fn has_program(name: &str) -> bool {
    std::env::split_paths(&search_path()).any(|dir| dir.join(name).is_file())
}

/// What a result file says of where it was made.
#[derive(Clone, Debug, Serialize)]
pub struct Stamp {
    /// Day, `YYYY-MM-DD`, UTC.
    pub date: String,
    /// The processor's name.
    pub cpu: String,
    /// Processors that may be used.
    pub cpus: usize,
    /// How many processes wanted to run at a time over the last minute, this command's own among them.
    pub load: String,
    /// The kernel.
    pub kernel: String,
    /// The file system below the temporary folder.
    pub filesystem: String,
    /// `rustc -V`.
    pub rustc: String,
    /// `cargo -V`.
    pub cargo: String,
    /// The commit of the repository, `+` where files differ from it.
    pub commit: String,
}

impl Stamp {
    /// Of here and now; what cannot be found out is `unknown`.
    pub fn now() -> Self {
        let ask = |program: &str, args: &[&str]| {
            line_of(Command::new(program).args(args).current_dir(repository())).unwrap_or_else(|_| "unknown".to_owned())
        };
        let dirty = Command::new("git").args(["diff", "--quiet", "HEAD"]).current_dir(repository()).status();
        let commit = ask("git", &["rev-parse", "--short=12", "HEAD"]);
        Self {
            date: today(),
            cpu: cpu_name().unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load: std::fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|line| line.split_whitespace().next().map(str::to_owned))
                .unwrap_or_else(|| "unknown".to_owned()),
            kernel: ask("uname", &["-r"]),
            filesystem: ask("stat", &["-f", "-c", "%T", &std::env::temp_dir().to_string_lossy()]),
            rustc: ask("rustc", &["-V"]),
            cargo: ask("cargo", &["-V"]),
            commit: if dirty.is_ok_and(|status| status.success()) { commit } else { commit + "+" },
        }
    }
}

fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Today, `YYYY-MM-DD`, UTC.
pub fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The date so many days after 1970-01-01 (the usual conversion by eras of 400 years, which start in March).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The first line that a command prints.
///
/// # Errors
/// It cannot be run, or fails.
pub fn line_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn the_toolchain_is_found() -> Result {
        assert!(sysroot()?.join("bin/rustc").is_file());
        Ok(())
    }
}
