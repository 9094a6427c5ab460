//! vrift's traces are complete: whatever `strace` sees an action look at is in them, or on a list with a reason.

use anyhow::ensure;
use integration::access::{self, Ignores};
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::{Result, host, projects, small, traces};

fn complete(checkout: &Checkout<'_>, args: &str) -> Result {
    let env = checkout.env();
    env.start_daemon()?;
    let dir = env.path().join("traces");
    std::fs::create_dir_all(&dir)?;
    let build = checkout.vrift(args).env("VRIFT_TRACE_DIR", &dir).env("VRIFT_RECACHE", "1");
    let (_, actions) = access::watch(&build)?;
    let traces = traces::read_all(&dir)?;
    ensure!(actions.len() > 3 && traces.len() > 3, "{} actions, {} traces", actions.len(), traces.len());
    let missing = access::missing(&actions, &traces, &ignores(checkout)?)?;
    let shown: Vec<_> = missing.iter().take(60).map(String::as_str).collect();
    ensure!(missing.is_empty(), "{} looks are in no trace:\n{}", missing.len(), shown.join("\n"));
    Ok(())
}

fn ignores(checkout: &Checkout<'_>) -> Result<Ignores> {
    let env = checkout.env();
    // rustup may know the toolchain's folder by two names.
    let sysroot = host::sysroot()?;
    let any = sysroot.parent().map_or_else(|| sysroot.to_owned(), |toolchains| toolchains.join("*"));
    let sysroot = if sysroot.starts_with(host::rustup_home()) { any } else { sysroot.to_owned() };
    Ignores::load(&[
        ("vrift", &env.vrift_home()),
        ("tmp", &env.path().join("tmp")),
        ("target", &checkout.path("target")),
        ("sysroot", &sysroot),
    ])
}

#[test]
fn of_a_small_workspace() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    small::workspace(&checkout)?;
    complete(&checkout, "build")
}

#[test]
fn of_c_compilers() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    small::make(&checkout)?;
    env.start_daemon()?;
    let dir = env.path().join("traces");
    std::fs::create_dir_all(&dir)?;
    let make = checkout.cmd("vrift").args(["run", "--", "make"]).env("VRIFT_TRACE_DIR", &dir);
    let (_, actions) = access::watch(&make)?;
    let missing = access::missing(&actions, &traces::read_all(&dir)?, &ignores(&checkout)?)?;
    ensure!(actions.len() >= 3 && missing.is_empty(), "{} actions: {missing:#?}", actions.len());
    Ok(())
}

#[test]
fn of_ripgrep() -> Result {
    let env = TestEnv::new()?;
    let project = projects::ripgrep()?;
    complete(&env.checkout_of(&project.sources, "a")?, "build")
}
