//! Never break: whatever the machine lacks, the build goes on. Every case here builds a small program under some hardship, and
//! the program must be right; where vrift can still work, a second checkout must be right too.

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::command::Cmd;
use integration::env::TestEnv;
use integration::{host, small, user};

const SAYS: &str = "base one, mid one, mac one, script one, app one\n";

/// Builds two checkouts, each command changed by `hardship`.
fn survives(env: &TestEnv, hardship: impl Fn(Cmd) -> Cmd) -> Result {
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let second = first.copy("second")?;
    for checkout in [&first, &second, &second] {
        build(checkout, &hardship)?;
    }
    first.edit("mid/src/lib.rs", "mid one", "mid two")?;
    hardship(first.vrift("build")).ok()?;
    ensure!(first.output_of("app")? == SAYS.replace("mid one", "mid two"));
    first.cargo("build").judged()?.nothing_ran()
}

fn build(checkout: &Checkout<'_>, hardship: &impl Fn(Cmd) -> Cmd) -> Result {
    hardship(checkout.vrift("build")).ok()?;
    ensure!(checkout.output_of("app")? == SAYS, "{}", checkout.dir().display());
    Ok(())
}

/// In a mount namespace of its own, after `mounts`. Daemons live in it too.
fn in_namespace(cmd: Cmd, mounts: &str) -> Cmd {
    cmd.under("unshare", ["-m", "sh", "-ec", &format!("{mounts}\nexec \"$@\""), "sh"])
}

/// Whether namespaces and mounts are allowed here (they are not in every container).
fn can_mount(env: &TestEnv) -> bool {
    host::is_root() && in_namespace(env.cmd_in("true", env.path()), "mount -t tmpfs none /mnt").ok().is_ok()
}

#[test]
fn no_room_for_the_store() -> Result {
    let env = TestEnv::new()?;
    if !can_mount(&env) {
        return Ok(());
    }
    for (at, size) in ["64k", "1m", "6m"].into_iter().enumerate() {
        let env = TestEnv::new()?;
        let small_home = env.path().join("small");
        std::fs::create_dir(&small_home)?;
        // One namespace for all builds: the daemons stay in it.
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        let second = first.copy("second")?;
        let script = format!(
            "mount -t tmpfs -o size={size} none '{}'\ncargo vrift build\ncd '{}'\ncargo vrift build",
            small_home.display(),
            second.dir().display()
        );
        let cmd = first.cmd("unshare").args(["-m", "sh", "-ec", &script]).env("VRIFT_HOME", &small_home);
        cmd.ok().with_context(|| format!("a store of {size}"))?;
        ensure!(first.output_of("app")? == SAYS && second.output_of("app")? == SAYS, "case {at}");
    }
    Ok(())
}

#[test]
fn few_descriptors() -> Result {
    let env = TestEnv::new()?;
    // Fewer, and rustc itself gives up.
    survives(&env, |cmd| cmd.under("sh", ["-ec", "ulimit -n 40; exec \"$@\"", "sh"]))
}

#[test]
fn no_more_links() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let library = first.sh("ls target/debug/deps/libmid-*.rlib").ok()?.stdout.trim().to_owned();
    let links = env.path().join("links");
    std::fs::create_dir(&links)?;
    // ext4 allows 65,000 names for one file; other file systems more.
    for n in 0..65_100 {
        if std::fs::hard_link(first.path(&library), links.join(n.to_string())).is_err() {
            break;
        }
    }
    let second = first.copy("second")?;
    second.vrift("build").ok()?;
    ensure!(second.output_of("app")? == SAYS);
    let third = first.copy("third")?;
    third.vrift("build").judged()?.nothing_ran()?;
    ensure!(third.output_of("app")? == SAYS);
    Ok(())
}

#[test]
fn the_store_on_another_file_system() -> Result {
    let shm = tempfile::Builder::new().prefix("vrift-it-").tempdir_in("/dev/shm")?;
    let mut env = TestEnv::new()?;
    env.set("VR_THE_SOURCE", shm.path().join("store"));
    survives(&env, |cmd| cmd)?;
    let third = env.checkout("third")?;
    small::workspace(&third)?;
    third.vrift("build").judged()?.nothing_ran()?;
    ensure!(third.output_of("app")? == SAYS);
    Ok(())
}

#[test]
fn a_home_that_cannot_be_written() -> Result {
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    // Cargo itself wants to write to its home.
    let closed = env.path().join("closed");
    std::fs::create_dir(&closed)?;
    survives(&env, |cmd| cmd.env("VRIFT_HOME", &closed))
}

#[test]
fn a_read_only_home_for_root() -> Result {
    let env = TestEnv::new()?;
    if !can_mount(&env) {
        return Ok(());
    }
    let home = env.home().display().to_string();
    survives(&env, |cmd| in_namespace(cmd, &format!("mount -t tmpfs -o ro none '{home}'")))
}

#[test]
fn no_home() -> Result {
    let env = TestEnv::new()?;
    survives(&env, |cmd| cmd.no_env("HOME"))?;
    // Nobody's fault, and nothing to clean up: it must not have settled anywhere else.
    ensure!(!env.path().join("w/first/.vrift/manifest.db").exists() || env.daemons().is_empty());
    Ok(())
}

#[test]
fn a_home_that_is_a_file() -> Result {
    let env = TestEnv::new()?;
    let file = env.path().join("file");
    std::fs::write(&file, "not a folder")?;
    survives(&env, |cmd| cmd.env("VRIFT_HOME", &file))
}

#[test]
fn odd_shared_memory_folders() -> Result {
    for options in ["ro", "size=64m", "size=4k", "mode=000,size=4k"] {
        let env = TestEnv::new()?;
        if !can_mount(&env) {
            return Ok(());
        }
        let mount = format!("mount -t tmpfs -o {options} none /dev/shm");
        survives(&env, |cmd| in_namespace(cmd, &mount)).with_context(|| mount.clone())?;
    }
    Ok(())
}

#[test]
fn no_shared_memory_folder() -> Result {
    let env = TestEnv::new()?;
    if !can_mount(&env) {
        return Ok(());
    }
    // Another /dev with little in it. (The real one is shared by all namespaces: nothing may be removed there.)
    let dev = env.path().join("dev");
    std::fs::create_dir(&dev)?;
    let dev = dev.display();
    let mounts = format!(
        "mount -t tmpfs none '{dev}'\nfor n in null zero full random urandom tty; do touch '{dev}'/$n; mount --bind /dev/$n \
         '{dev}'/$n; done\nmount --rbind '{dev}' /dev\ntest ! -e /dev/shm"
    );
    survives(&env, |cmd| in_namespace(cmd, &mounts))
}

#[test]
fn no_proc() -> Result {
    let env = TestEnv::new()?;
    let hide = "mount -t tmpfs none /proc";
    let first = env.checkout("probe")?;
    small::workspace(&first)?;
    if !can_mount(&env) || !in_namespace(first.cargo("build"), hide).run()?.status.success() {
        // Cargo itself does not get by.
        return Ok(());
    }
    survives(&env, |cmd| in_namespace(cmd, hide))
}

#[test]
fn long_socket_paths() -> Result {
    let mut env = TestEnv::new()?;
    let long = env.path().join("a-very-long-name-".repeat(6)).join("and-another-long-name-".repeat(6));
    std::fs::create_dir_all(&long)?;
    env.set("VRIFT_HOME", long.join("home"));
    survives(&env, |cmd| cmd)?;
    let third = env.checkout("third")?;
    small::workspace(&third)?;
    third.vrift("build").judged()?.nothing_ran()
}

#[test]
fn paths_with_odd_names() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("a b/ä'$x")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    ensure!(first.output_of("app")? == SAYS);
    let second = first.copy("(c) & d/é\"y")?;
    second.vrift("build").judged()?.nothing_ran()?;
    ensure!(second.output_of("app")? == SAYS);
    Ok(())
}

#[test]
fn a_read_only_checkout() -> Result {
    // The sources cannot be written; the target folder is elsewhere.
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let target = env.path().join("w/target");
    std::fs::create_dir(&target)?;
    user::give(&target)?;
    first.sh("chmod -R a-w .").ok()?;
    for _ in 0..2 {
        first.vrift("build").env("CARGO_TARGET_DIR", &target).ok()?;
        ensure!(first.cmd(&target.join("debug/app").to_string_lossy()).ok()?.stdout == SAYS);
        std::fs::remove_dir_all(target.join("debug"))?;
    }
    first.sh("chmod -R u+w .").ok()?;
    Ok(())
}
