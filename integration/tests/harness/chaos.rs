//! The judge of the chaos suite sees what it is there to see.

use integration::Result;
use integration::chaos::processes::{self, Role};
use integration::chaos::scene::Scene;
use integration::chaos::verdict::{Judge, no_orphan_files};
use integration::env::TestEnv;
use integration::small;
use integration::snapshot::Snapshot;
use nix::sys::signal::Signal;

#[test]
fn one_byte_one_file_and_one_missing_file_are_seen() -> Result {
    let env = TestEnv::plain()?;
    let checkout = env.checkout("a")?;
    small::app(&checkout, "fn main() { println!(\"one\"); }\n", "")?;
    checkout.cargo("build").ok()?;
    let (judge, reference) = (Judge::new()?, Snapshot::of(&checkout.path("target"))?);
    judge.bytes(&checkout, &reference, false)?;
    let program = checkout.path("target/debug/app");
    let mut content = std::fs::read(&program)?;
    let middle = content.len() / 2;
    content[middle] ^= 1;
    // Cargo's own name for it is another link.
    std::fs::remove_file(&program)?;
    std::fs::write(&program, &content)?;
    assert!(judge.bytes(&checkout, &reference, true).is_err(), "a byte");
    std::fs::remove_file(&program)?;
    assert!(judge.bytes(&checkout, &reference, true).is_err(), "a missing file");
    checkout.cargo("build").ok()?;
    judge.bytes(&checkout, &reference, false)?;
    checkout.write("target/debug/deps/.vrift-1-2.tmp", "half")?;
    assert!(judge.bytes(&checkout, &reference, false).is_err(), "nobody was killed");
    judge.bytes(&checkout, &reference, true)?;
    checkout.write("target/debug/deps/libmore.rlib", "")?;
    assert!(judge.bytes(&checkout, &reference, true).is_err(), "a file that nobody makes");
    Ok(())
}

#[test]
fn processes_and_files_that_are_left_are_seen() -> Result {
    let env = TestEnv::plain()?;
    let left = env.cmd_in("sleep", env.path()).arg("60").start()?;
    let own = || processes::of(env.path());
    while own().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(own().iter().any(|process| process.pid == left.pid() && process.role == Role::Other));
    assert!(processes::of(&env.path().join("another")).is_empty());
    left.signal(Signal::SIGKILL)?;
    let pid = left.pid();
    left.wait()?;
    assert!(own().is_empty());
    let scene = Scene::new(env.path(), env.vrift_home(), None, false, Vec::new());
    no_orphan_files(&scene)?;
    let temp = scene.store().join("tmp");
    std::fs::create_dir_all(&temp)?;
    let file = temp.join(format!(".vrift-{pid}-0.tmp"));
    std::fs::write(&file, "half")?;
    let removed = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::fs::remove_file(file)
    });
    let began = std::time::Instant::now();
    no_orphan_files(&scene)?;
    assert!(began.elapsed().as_millis() > 200, "it was waited for");
    removed.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    Ok(())
}
