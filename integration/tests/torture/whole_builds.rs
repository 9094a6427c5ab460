//! Whole builds that are put in place before Cargo starts: what of them does not hold must not be there.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::right::Built;
use integration::small;

/// The packages that Cargo compiles: it says nothing of what it finds in place.
fn compiled(checkout: &Checkout<'_>, variables: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut build = checkout.vrift("build");
    for (name, value) in variables {
        build = build.env(*name, *value);
    }
    Ok(build.ok()?.compiling())
}

#[test]
fn an_edit_is_compiled_and_all_that_hangs_on_it() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let same = first.copy("same")?;
    ensure!(compiled(&same, &[])?.is_empty(), "nothing is left to Cargo");
    for (name, file, old, new) in [
        ("leaf", "mid/src/lib.rs", "mid one", "mid two"),
        ("root", "base/src/lib.rs", "base one", "base two"),
        ("macro", "mac/src/lib.rs", "mac one", "mac two"),
        ("script", "app/build.rs", "script one", "script two"),
    ] {
        let other = first.copy(name)?;
        other.edit(file, old, new)?;
        other.vrift("build").ok()?;
        let printed = other.output_of("app")?;
        ensure!(printed.contains(new) && !printed.contains(old), "{name}: {printed}");
        other.cargo("build").judged()?.nothing_ran()?;
        Built::new(&other, "build", &["app"]).check()?;
    }
    Ok(())
}

/// Cargo does not know of it, so its fingerprint is the same.
#[test]
fn a_variable_that_a_macro_reads() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app_with_macro(&first, "std::env::var(\"SAYING\").unwrap_or_default()")?;
    for (name, value) in [("a", "one"), ("b", "two"), ("c", "one"), ("d", "three")] {
        let checkout = first.copy(name)?;
        compiled(&checkout, &[("SAYING", value)])?;
        let printed = checkout.output_of("app")?;
        ensure!(printed.trim() == value, "{name}: {printed}");
    }
    Ok(())
}

/// What is put in place must not look newer than an edit that comes right behind it.
#[test]
fn an_edit_right_afterwards() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    for round in 0..5 {
        let other = first.copy(&format!("other/{round}"))?;
        other.vrift("build").ok()?;
        other.edit("base/src/lib.rs", "base one", "base new")?;
        let built = if round % 2 == 0 { other.cargo("build") } else { other.vrift("build") };
        built.ok()?;
        ensure!(other.output_of("app")?.contains("base new"), "round {round}: {}", other.output_of("app")?);
    }
    Ok(())
}

/// A folder that somebody builds in, or has built in, is theirs.
#[test]
fn a_folder_that_is_not_empty() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let checked = first.copy("checked")?;
    checked.cargo("check").ok()?;
    checked.vrift("build").judged()?.nothing_ran()?;
    ensure!(checked.output_of("app")?.contains("base one"));
    let locked = first.copy("locked")?;
    locked.write("target/debug/.cargo-lock", "")?;
    locked.vrift("build").judged()?.nothing_ran()?;
    locked.cargo("build").judged()?.nothing_ran()?;
    let off = first.copy("off")?;
    let build = off.vrift("build").env("VRIFT_WHOLE_BUILDS", "off").judged()?;
    build.nothing_ran()?;
    ensure!(build.done.compiling().len() >= 4, "one by one: {}", build.done.stderr);
    Ok(())
}
