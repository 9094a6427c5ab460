//! Ten checkouts cost little more than one.

use anyhow::ensure;
use integration::Result;
use integration::disk;
use integration::env::TestEnv;
use integration::projects;

#[test]
fn ten_checkouts() -> Result {
    let env = TestEnv::new()?;
    let project = projects::regex_workspace()?;
    let mut targets = Vec::new();
    let cost = |targets: &[std::path::PathBuf]| {
        disk::usage(targets.iter().map(|dir| dir.as_path()).chain([env.vrift_home().as_path()]), disk::is_final_program)
    };
    let mut one = 0;
    for n in 0..10 {
        let checkout = env.checkout_of(&project.sources, &format!("n/{n}"))?;
        checkout.vrift("build").ok()?;
        targets.push(checkout.path("target"));
        if n == 0 {
            one = cost(&targets);
        }
    }
    let plain = env.checkout_of(&project.sources, "plain")?;
    plain.cargo("build").ok()?;
    let alone = disk::usage([plain.path("target")], disk::is_final_program);
    let ten = cost(&targets);
    ensure!(ten * 2 <= one * 3, "ten checkouts cost {ten} bytes, one {one}, a plain one {alone}");
    ensure!(one <= alone * 3 / 2, "one checkout with its store costs {one} bytes, a plain one {alone}");
    Ok(())
}
