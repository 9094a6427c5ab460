//! What programs see of files through the VDir is what the kernel says.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use integration::Result;
use integration::differential::{Outcome, Plan, Prepared, base_place, incoherent_shim, project_place, run, wait_for_map};
use integration::env::TestEnv;
use integration::host;
use nix::unistd::geteuid;
use vrift_core::vdir;

/// A short run; `vdir-differential` makes long ones.
fn plan(comparisons: u64) -> Result<Plan> {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    println!("seed {seed}");
    Ok(Plan { comparisons, seed, shim: None, base: None, shared: false })
}

#[test]
fn the_shim_answers_what_the_kernel_answers() -> Result {
    let env = TestEnv::new()?;
    let outcome = run(&env, &plan(1_500_000)?)?;
    ensure!(outcome.different == 0, "{}", outcome.text);
    ensure!(outcome.changes > 500, "only {} changes", outcome.changes);
    // Else the kernel would have been compared with itself.
    if let Some(share) = outcome.share() {
        ensure!(share > 4.0, "only {share:.1} of 100 answers came from the map: {:?}", outcome.watched);
    }
    Ok(())
}

#[test]
fn processes_of_two_projects_see_a_shared_tree_as_the_kernel_does() -> Result {
    let env = TestEnv::new()?;
    let outcome = run(&env, &Plan { shared: true, ..plan(1_000_000)? })?;
    ensure!(outcome.different == 0, "{}", outcome.text);
    ensure!(outcome.changes > 300, "only {} changes", outcome.changes);
    if let Some(share) = outcome.share() {
        ensure!(share > 3.5, "only {share:.1} of 100 answers came from the map: {:?}", outcome.watched);
    }
    Ok(())
}

#[test]
fn without_its_rule_of_coherence_the_shim_is_caught() -> Result {
    for shared in [false, true] {
        let env = TestEnv::new()?;
        let outcome = run(&env, &Plan { shim: Some(incoherent_shim()?), shared, ..plan(300_000)? })?;
        ensure!(outcome.different > 0, "the differential test finds nothing where there is something to find, shared: {shared}");
    }
    Ok(())
}

/// A namespace of its own, whose `/dev/shm` is what the script makes of it; the daemons live in it too.
fn with_shared_memory(mounts: &str, shared: bool) -> Result<Option<Outcome>> {
    let env = TestEnv::new()?;
    let plan = Plan { shared, ..plan(100_000)? };
    let prepared = Prepared::new(&env, &plan)?;
    let possible = env.cmd_in("unshare", env.path()).args(["-m", "sh", "-ec", "mount -t tmpfs none /mnt"]).run();
    if !host::is_root() || !possible.is_ok_and(|done| done.status.success()) {
        return Ok(None);
    }
    // The worker makes its map a moment after it has begun.
    let script = format!("{mounts}\nvrift run -- true\nsleep 2\nls -l /dev/shm >&2 || true\nexec vrift run -- \"$@\"");
    let cmd = prepared
        .with_places(env.cmd_in("unshare", &prepared.root))
        .args(["-m", "sh", "-ec", &script, "sh"])
        .args(prepared.args.clone());
    let outcome = Outcome::of(&cmd.run()?, &plan)?;
    ensure!(outcome.different == 0, "{mounts}: {}", outcome.text);
    Ok(Some(outcome))
}

const FROM_THE_KERNEL: f64 = 3.0;

#[test]
fn a_small_shared_memory_folder_has_room_for_a_map() -> Result {
    for shared in [false, true] {
        let Some(outcome) = with_shared_memory("mount -t tmpfs -o size=64m none /dev/shm", shared)? else { return Ok(()) };
        ensure!(outcome.share().is_none_or(|share| share > 4.0), "shared: {shared}, {:?}", outcome.watched);
    }
    // It is filled up behind the map's back: what the map needs has been given to it.
    let filled = "mount -t tmpfs -o size=64m none /dev/shm\n(sleep 1; cat /dev/zero > /dev/shm/filler 2> /dev/null) &";
    let Some(outcome) = with_shared_memory(filled, false)? else { return Ok(()) };
    ensure!(outcome.share().is_none_or(|share| share > 4.0), "{:?}", outcome.watched);
    Ok(())
}

#[test]
fn without_room_for_a_map_the_kernel_answers() -> Result {
    let full = "mount -t tmpfs -o size=64m none /dev/shm\ncat /dev/zero > /dev/shm/filler 2> /dev/null || true";
    let absent = "mkdir \"$TMPDIR/dev\"\nmount -t tmpfs none \"$TMPDIR/dev\"\nfor n in null zero full random urandom tty; do touch \
                  \"$TMPDIR/dev/$n\"; mount --bind /dev/$n \"$TMPDIR/dev/$n\"; done\nmount --rbind \"$TMPDIR/dev\" /dev\ntest ! -e \
                  /dev/shm";
    for mounts in ["mount -t tmpfs -o size=128k none /dev/shm", full, "mount -t tmpfs -o ro none /dev/shm", absent] {
        for shared in [false, true] {
            let Some(outcome) = with_shared_memory(mounts, shared)? else { return Ok(()) };
            // Some answers need no system call in any case: an empty path's, for one.
            ensure!(outcome.share().is_none_or(|share| share < FROM_THE_KERNEL), "{mounts}, {shared}: {:?}", outcome.watched);
        }
    }
    Ok(())
}

/// Changes the files of a map behind everybody's back. (They are not cut: that ends whoever has them mapped.)
fn damage(place: &Path, round: usize) -> std::io::Result<()> {
    let (file, len) = (File::options().write(true).open(place)?, std::fs::metadata(place)?.len());
    match round % 5 {
        0 => file.write_all_at(&[0xa5], 16 + round as u64 % 160),
        1 => (0..64).try_for_each(|n| file.write_all_at(&[0x5a], (round as u64 * 7919 + n * 104_729) % (len - 8192) + 8192)),
        2 => file.write_all_at(&vec![0; len as usize - 8192], 8192),
        3 => std::fs::remove_file(vdir::questions_place(place)),
        _ => std::fs::remove_file(place),
    }
}

/// Damages a map all the while that it is compared with the kernel.
fn is_not_misled(env: &TestEnv, plan: &Plan, place: impl Fn() -> Option<PathBuf> + Sync) -> Result {
    let done = AtomicBool::new(false);
    let (outcome, damages) = std::thread::scope(|scope| {
        let damaging = scope.spawn(|| {
            let mut damages = 0;
            for round in 0.. {
                std::thread::sleep(Duration::from_millis(150));
                if done.load(Ordering::Relaxed) {
                    break;
                }
                damages += usize::from(place().is_some_and(|place| damage(&place, round).is_ok()));
            }
            damages
        });
        let outcome = run(env, plan);
        done.store(true, Ordering::Relaxed);
        (outcome, damaging.join().unwrap_or(0))
    });
    let outcome = outcome?;
    ensure!(outcome.different == 0, "{}", outcome.text);
    ensure!(damages > 2, "only {damages} damages");
    Ok(())
}

#[test]
fn a_damaged_map_of_shared_trees_misleads_nobody() -> Result {
    let env = TestEnv::new()?;
    is_not_misled(&env, &Plan { shared: true, ..plan(1_000_000)? }, || Some(base_place(&env)))
}

#[test]
fn a_damaged_map_of_a_project_misleads_nobody() -> Result {
    let env = TestEnv::new()?;
    let place = || project_place(&env.path().join("w/project").canonicalize().ok()?).ok();
    is_not_misled(&env, &plan(1_000_000)?, place)
}

#[test]
fn a_file_that_is_no_map_of_shared_trees_is_not_believed() -> Result {
    let env = TestEnv::new()?;
    let project = env.checkout("project")?;
    project.write("Cargo.toml", "[workspace]\n")?;
    let place = base_place(&env);
    let ls = || project.cmd("vrift").args(["run", "--", "ls", "-lR", "/usr/include"]).ok();
    let plain = project.cmd("ls").args(["-lR", "/usr/include"]).ok()?.stdout;
    ls()?;
    wait_for_map(&place)?;
    let status = project.cmd("vrift").arg("status").ok()?.stdout;
    ensure!(status.contains("of toolchains, the registry and /usr known"), "{status}");
    let whole = std::fs::read(&place)?;
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    let mut other_version = whole.clone();
    other_version[4] += 1;
    for (what, bytes) in [("cut", &whole[..whole.len() / 2]), ("empty", b""), ("header", &flipped), ("version", &other_version)] {
        // Another file by that name: nobody's mapping is cut, and the keeper makes room for a map of its own.
        let beside = place.with_extension("other");
        std::fs::write(&beside, bytes)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, &place)?;
        let began = Instant::now();
        ensure!(ls()?.stdout == plain, "{what}");
        while vdir::open(&place, geteuid().as_raw()).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "{what}: no new map");
            ensure!(ls()?.stdout == plain, "{what}");
        }
        ensure!(ls()?.stdout == plain, "behind {what}");
    }
    Ok(())
}
