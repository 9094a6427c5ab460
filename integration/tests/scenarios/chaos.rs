//! A short run of the chaos suite. It runs as a program of its own, because it mounts things.

use std::time::Duration;

use integration::Result;
use integration::env::TestEnv;
use integration::host;

#[test]
fn twenty_faults() -> Result {
    let env = TestEnv::new()?;
    let mut chaos = env.cmd_in(env!("CARGO_BIN_EXE_chaos"), env.path()).args(["--faults", "20", "--seed", "1"]);
    // Its own environment makes its folders; programs and crates are those of the other tests.
    chaos = chaos.env("VRIFT_BIN_DIR", env.product()).env("TMPDIR", std::env::temp_dir()).env("HOME", env.home());
    // Long: it may share a busy machine with all other tests.
    chaos = chaos.env("CARGO_HOME", host::cargo_home()).no_env("CARGO_NET_OFFLINE");
    let done = chaos.limit(Duration::from_secs(1800)).ok()?;
    anyhow::ensure!(done.stdout.contains("faults, seed 1"), "{}", done.all());
    Ok(())
}
