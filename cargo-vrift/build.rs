//! Builds the shim and `vrift-exec`, which the `vrift` program carries inside itself.
//!
//! Both run inside or in place of other people's processes, so they have a profile of their own (`embedded`), and
//! `vrift-exec` is linked statically: it starts once per compiler run, and the dynamic loader would cost more than
//! everything else that it does. One `cargo install` thereby puts every part in place.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The workspace members that go into the two parts. A change in any of them rebuilds both.
const SOURCES: [&str; 4] = ["vrift-core", "vrift-store", "vrift-exec", "vrift-preload"];

/// Targets whose C library can be linked statically by a plain Rust toolchain.
const STATIC_TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// `relocation-model=static` as well: a static PIE relocates itself at every start.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let workspace = workspace()?;
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
    for member in SOURCES {
        for part in ["Cargo.toml", "build.rs", "src"] {
            let path = workspace.join(member).join(part);
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }

    let nested = Nested { workspace, target: variable("TARGET")?, out: PathBuf::from(variable("OUT_DIR")?).join("parts") };
    let shim = nested.build("vrift-preload", "bare", "")?.join("libvrift_preload.so");
    let exec = nested.build_exec()?.join("vrift-exec");
    let mut hasher = blake3::Hasher::new();
    for (name, path) in [("VRIFT_SHIM", &shim), ("VRIFT_EXEC", &exec)] {
        let content = fs::read(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
        hasher.update(&(content.len() as u64).to_le_bytes()).update(&content);
        println!("cargo::rustc-env={name}={}", path.display());
    }
    println!("cargo::rustc-env=VRIFT_PARTS_HASH={}", &hasher.finalize().to_hex()[..16]);
    Ok(())
}

/// The folder that holds this crate and those that it embeds.
fn workspace() -> Result<PathBuf, String> {
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = here.parent().unwrap_or(&here).to_owned();
    match SOURCES.iter().find(|member| !workspace.join(member).join("Cargo.toml").is_file()) {
        None => Ok(workspace),
        Some(missing) => Err(format!(
            "cargo-vrift embeds vrift-preload and vrift-exec, and `{missing}` is not beside it.\n\
             Build it in a checkout of the whole repository: cargo install --path cargo-vrift --locked"
        )),
    }
}

/// How the embedded parts are built.
struct Nested {
    workspace: PathBuf,
    target: String,
    /// A target folder of their own: the outer cargo holds the lock of its own one.
    out: PathBuf,
}

impl Nested {
    fn build_exec(&self) -> Result<PathBuf, String> {
        if STATIC_TARGETS.contains(&self.target.as_str()) {
            match self.build("vrift-exec", "", STATIC_FLAGS) {
                Ok(dir) => return Ok(dir),
                Err(e) => {
                    let last = e.lines().last().unwrap_or_default();
                    println!("cargo::warning=vrift-exec cannot be linked statically and will start slower: {last}");
                }
            }
        }
        self.build("vrift-exec", "", "")
    }

    /// Builds one package with `features` and, for its own code, `flags`; returns the folder with the results.
    fn build(&self, package: &str, features: &str, flags: &str) -> Result<PathBuf, String> {
        let mut cargo = Command::new(variable_os("CARGO")?);
        cargo.args(["build", "--quiet", "--locked", "--profile", "embedded", "--package", package, "--features", features]);
        // An explicit target keeps the flags away from build scripts and proc macros.
        cargo.args(["--target", &self.target]).arg("--target-dir").arg(&self.out);
        cargo.arg("--manifest-path").arg(self.workspace.join("Cargo.toml")).current_dir(&self.workspace);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(leaks)) {
            cargo.env_remove(name);
        }
        cargo.env("RUSTFLAGS", flags);
        let output = cargo.output().map_err(|e| format!("cannot start {:?}: {e}", cargo.get_program()))?;
        if !output.status.success() {
            return Err(format!("building {package} failed:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(self.out.join(&self.target).join("embedded"))
    }
}

/// Whether a variable belongs to the outer build and would steer the nested one. How to reach registries and the job server
/// is the user's, and stays.
fn leaks(name: &str) -> bool {
    const OTHERS: [&str; 13] = [
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "DEBUG",
        "HOST",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOCFLAGS",
        "TARGET",
    ];
    const KEPT: [&str; 6] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    let kept = KEPT.iter().any(|kept| name.starts_with(kept)) || (name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER"));
    OTHERS.contains(&name) || name.starts_with("DEP_") || (name.starts_with("CARGO") && !kept)
}

fn variable_os(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: this is a build script, cargo runs it"))
}

fn variable(name: &str) -> Result<String, String> {
    variable_os(name)?.into_string().map_err(|text| format!("{name} is not UTF-8: {}", Path::new(&text).display()))
}
