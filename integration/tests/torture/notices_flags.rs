//! The key must notice: everything that the compiler and the linker are told.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::command::Cmd;
use integration::env::TestEnv;
use integration::{host, small};

const MAIN: &str = "fn main() {\n    println!(\"{} {} {} {}\", cfg!(feature = \"extra\"), cfg!(debug_assertions), cfg!(special), \
                    cfg!(panic = \"abort\"));\n}\n";

const MORE: &str = "[features]\nextra = []\n\n[lints.rust]\nunexpected_cfgs = \"allow\"\n";

/// One way to build, and where the program ends up.
struct Variant {
    args: &'static str,
    vars: &'static [(&'static str, &'static str)],
    program: &'static str,
}

const fn plain(args: &'static str) -> Variant {
    Variant { args, vars: &[], program: "debug/app" }
}

impl Variant {
    fn build(&self, cmd: Cmd) -> Cmd {
        self.vars.iter().fold(cmd, |cmd, (name, value)| cmd.env(*name, *value))
    }

    /// What the program prints; `None` where this toolchain cannot build the variant.
    fn of_plain(&self, checkout: &Checkout<'_>) -> Result<Option<String>> {
        let done = self.build(checkout.cargo(self.args)).run()?;
        if done.status.success() { self.printed(checkout).map(Some) } else { Ok(None) }
    }

    fn printed(&self, checkout: &Checkout<'_>) -> Result<String> {
        let program = checkout.path("target").join(self.program).to_string_lossy().into_owned();
        Ok(checkout.cmd(&program).env("LLVM_PROFILE_FILE", "/dev/null").ok()?.stdout)
    }
}

/// Files in the target folder, incremental ones left out: which there are, not what is in them.
fn files(checkout: &Checkout<'_>) -> Vec<String> {
    let target = checkout.path("target");
    let all = walkdir::WalkDir::new(&target).sort_by_file_name().into_iter().flatten();
    let names = all.filter_map(|e| Some(e.path().strip_prefix(&target).ok()?.to_string_lossy().into_owned()));
    names.filter(|name| !name.contains("incremental/")).map(|name| without_random_word(&name)).collect()
}

/// rustc's names for objects of incremental runs, `….unit.random.rcgu.dwo`, without the word that is random.
fn without_random_word(name: &str) -> String {
    match name.split_once(".rcgu.") {
        Some((stem, rest)) => format!("{}.rcgu.{rest}", stem.rsplit_once('.').map_or(stem, |(stem, _)| stem)),
        None => name.to_owned(),
    }
}

/// Builds each variant in a new checkout, twice, and compares with plain Cargo.
fn all_differ(variants: &[Variant]) -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, MAIN, MORE)?;
    for (at, variant) in variants.iter().enumerate() {
        let scratch = first.copy(&format!("plain/{at}"))?;
        let Some(expected) = variant.of_plain(&scratch)? else { continue };
        for round in ["one", "two"] {
            let ours = first.copy(&format!("{round}/{at}"))?;
            variant.build(ours.vrift(variant.args)).ok()?;
            let printed = variant.printed(&ours)?;
            ensure!(printed == expected, "{} {:?}: {printed:?}, plain {expected:?}", variant.args, variant.vars);
            let (here, there) = (files(&ours), files(&scratch));
            ensure!(here == there, "{} {:?}: {here:#?}\nplain {there:#?}", variant.args, variant.vars);
        }
    }
    Ok(())
}

#[test]
fn features_profiles_and_cfgs() -> Result {
    all_differ(&[
        plain("build"),
        plain("build --features extra"),
        Variant { args: "build --release", vars: &[], program: "release/app" },
        Variant { args: "build", vars: &[("RUSTFLAGS", "--cfg special")], program: "debug/app" },
        Variant { args: "build", vars: &[("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false")], program: "debug/app" },
        Variant { args: "build", vars: &[("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}special")], program: "debug/app" },
        plain("rustc -- --cfg special"),
        plain("rustc -- --emit=asm,link"),
        plain("build"),
    ])
}

#[test]
fn explicit_target() -> Result {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, MAIN, MORE)?;
    first.vrift("build").ok()?;
    for name in ["a", "b"] {
        let ours = first.copy(name)?;
        ours.vrift(&format!("build --target {triple}")).ok()?;
        ensure!(!ours.path("target/debug/app").exists() && ours.path("target").join(&triple).join("debug/app").exists());
    }
    Ok(())
}

#[test]
fn code_generation() -> Result {
    all_differ(&[
        Variant { args: "build", vars: &[("RUSTFLAGS", "-C instrument-coverage")], program: "debug/app" },
        Variant { args: "build", vars: &[("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "unpacked")], program: "debug/app" },
        Variant { args: "build", vars: &[("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "packed")], program: "debug/app" },
        Variant { args: "build --release", vars: &[("CARGO_PROFILE_RELEASE_LTO", "fat")], program: "release/app" },
        Variant { args: "build --release", vars: &[("CARGO_PROFILE_RELEASE_LTO", "thin")], program: "release/app" },
        Variant { args: "build", vars: &[("CARGO_PROFILE_DEV_PANIC", "abort")], program: "debug/app" },
        Variant { args: "build", vars: &[("CARGO_PROFILE_DEV_STRIP", "symbols")], program: "debug/app" },
        Variant { args: "build", vars: &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")], program: "debug/app" },
    ])
}

#[test]
fn coverage_of_a_restored_program_is_written() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, MAIN, MORE)?;
    for name in ["a", "b"] {
        let ours = first.copy(name)?;
        ours.vrift("build").env("RUSTFLAGS", "-C instrument-coverage").ok()?;
        let program = ours.path("target/debug/app").to_string_lossy().into_owned();
        ours.cmd(&program).env("LLVM_PROFILE_FILE", ours.path("out.profraw")).ok()?;
        ensure!(ours.path("out.profraw").metadata()?.len() > 0);
    }
    Ok(())
}

#[test]
fn split_debug_information_is_found() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, MAIN, MORE)?;
    let build = |name: &str| -> Result<usize> {
        let ours = first.copy(name)?;
        ours.vrift("build").env("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "unpacked").ok()?;
        Ok(files(&ours).iter().filter(|name| name.ends_with(".dwo") || name.ends_with(".o")).count())
    };
    let (one, two) = (build("a")?, build("b")?);
    ensure!(one > 0 && one == two, "{one} objects with debug information in the first checkout, {two} in the second");
    Ok(())
}

#[test]
fn linker_scripts_and_arguments() -> Result {
    if !host::has_program("nm") {
        return Ok(());
    }
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, MAIN, MORE)?;
    first.write("build.rs", "fn main() { println!(\"cargo::rustc-link-arg={}/mark.ld\", env!(\"CARGO_MANIFEST_DIR\")); }\n")?;
    let symbol = |checkout: &Checkout<'_>| -> Result<String> {
        let symbols = checkout.cmd("nm").arg("target/debug/app").ok()?.stdout;
        Ok(symbols.lines().find(|line| line.ends_with(" the_mark")).unwrap_or("none").to_owned())
    };
    for (name, value) in [("a", "0x2a"), ("b", "0x2b"), ("c", "0x2a")] {
        let ours = first.copy(name)?;
        ours.write("mark.ld", format!("the_mark = {value};\n"))?;
        ours.vrift("build").ok()?;
        ensure!(symbol(&ours)?.starts_with(&format!("{:0>16}", &value[2..])), "{name}: {}", symbol(&ours)?);
    }
    for (name, value) in [("d", "43"), ("e", "44"), ("f", "43")] {
        let ours = first.copy(name)?;
        ours.remove("build.rs")?;
        ours.vrift("build").env("RUSTFLAGS", format!("-C link-arg=-Wl,--defsym=the_mark={value}")).ok()?;
        ensure!(symbol(&ours)?.contains(&format!("{:x}", value.parse::<u32>()?)), "{name}: {}", symbol(&ours)?);
    }
    Ok(())
}

#[test]
fn check_and_build() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("check").ok()?;
    ensure!(!first.path("target/debug/app").exists(), "a check makes no program");
    first.vrift("build").ok()?;
    ensure!(first.path("target/debug/app").exists(), "a build does, after a check too");
    let second = first.copy("second")?;
    second.vrift("check").judged()?.nothing_ran()?;
    ensure!(!second.path("target/debug/app").exists(), "a check makes no program, whatever is in the store");
    second.cargo("check").judged()?.nothing_ran()?;
    second.vrift("build").judged()?.nothing_ran()?;
    ensure!(second.path("target/debug/app").exists());
    // In the other order Cargo gives the build script another library path: that may run again, compilers may not.
    let third = first.copy("third")?;
    third.vrift("build").judged()?.compiled_exactly(&[])?;
    third.vrift("check").judged()?.compiled_exactly(&[])
}
