//! The key must notice: variables, this checkout's own path, and another compiler.

use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::right::Built;
use integration::{Result, host, small};

/// Builds with `FLAVOUR` unset or set, and compares what the program prints.
fn prints(checkout: &Checkout<'_>, flavour: Option<&str>, expected: &str) -> Result {
    let build = match flavour {
        Some(value) => checkout.vrift("build").env("FLAVOUR", value),
        None => checkout.vrift("build"),
    };
    build.ok()?;
    let printed = checkout.output_of("app")?;
    ensure!(printed.trim_end() == expected, "with FLAVOUR {flavour:?} it prints {printed:?} instead of {expected:?}");
    Ok(())
}

const VALUES: [(Option<&str>, &str); 5] = [
    (Some("one"), "Some(\"one\")"),
    (Some("two"), "Some(\"two\")"),
    (Some(""), "Some(\"\")"),
    (None, "None"),
    (Some("one"), "Some(\"one\")"),
];

#[test]
fn env_macros() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{:?}\", option_env!(\"FLAVOUR\")); }\n", "")?;
    for (value, expected) in VALUES {
        prints(&first, value, expected)?;
    }
    for (at, (value, expected)) in VALUES.into_iter().enumerate() {
        // All of it is in the store now: each checkout must get its own.
        let other = first.copy(&format!("other/{at}"))?;
        prints(&other, value, expected)?;
    }
    Built::new(&first, "build", &["app"]).env("FLAVOUR", "one").check()
}

#[test]
fn variables_read_by_macros() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app_with_macro(&first, "format!(\"{:?}\", std::env::var(\"FLAVOUR\").ok())")?;
    for (at, (value, expected)) in VALUES.into_iter().enumerate() {
        // Cargo does not know that the macro reads it: a new checkout each time.
        prints(&first.copy(&format!("other/{at}"))?, value, expected)?;
    }
    Ok(())
}

#[test]
fn variables_read_by_build_scripts() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", env!(\"SAID\")); }\n", "")?;
    first.write("build.rs", "fn main() { println!(\"cargo::rustc-env=SAID={:?}\", std::env::var(\"FLAVOUR\").ok()); }\n")?;
    for (at, (value, expected)) in VALUES.into_iter().enumerate() {
        prints(&first.copy(&format!("other/{at}"))?, value, expected)?;
    }
    Ok(())
}

#[test]
fn all_variables_listed_by_a_build_script() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", env!(\"SAID\")); }\n", "")?;
    first.write(
        "build.rs",
        "fn main() { let mut all: Vec<_> = std::env::vars().filter(|(n, _)| n.starts_with(\"MY_\")).collect(); all.sort(); \
         println!(\"cargo::rustc-env=SAID={all:?}\"); }\n",
    )?;
    let build = |name: &str, vars: &[(&str, &str)]| -> Result<String> {
        let checkout = first.copy(name)?;
        vars.iter().fold(checkout.vrift("build"), |cmd, (n, v)| cmd.env(*n, *v)).ok()?;
        checkout.output_of("app")
    };
    assert_eq!(build("a", &[])?, "[]\n");
    assert_eq!(build("b", &[("MY_A", "1")])?, "[(\"MY_A\", \"1\")]\n");
    assert_eq!(build("c", &[("MY_A", "1"), ("MY_B", "2")])?, "[(\"MY_A\", \"1\"), (\"MY_B\", \"2\")]\n");
    assert_eq!(build("d", &[])?, "[]\n");
    Ok(())
}

#[test]
fn own_path_in_the_program() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{} {}\", env!(\"CARGO_MANIFEST_DIR\"), env!(\"OUT_DIR\")); }\n", "")?;
    first.write("build.rs", "fn main() {}\n")?;
    let second = first.copy("elsewhere/second")?;
    for checkout in [&first, &second, &first] {
        checkout.vrift("build").ok()?;
        let printed = checkout.output_of("app")?;
        let dir = checkout.dir().display().to_string();
        ensure!(printed.split(' ').all(|path| path.starts_with(&dir)), "{printed:?} in {dir}");
    }
    Built::new(&second, "build", &["app"]).check()
}

#[test]
fn own_path_only_to_find_a_file() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    let second = first.copy("elsewhere/second")?;
    second.vrift("build").judged()?.nothing_ran()?;
    assert_eq!(second.output_of("app")?, "base one, mid one, mac one, script one, app one\n");
    Built::new(&second, "build", &["app"]).check()
}

#[test]
fn another_compiler_at_the_same_path() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", cfg!(second)); }\n", "")?;
    first.write("Cargo.toml", small::manifest("app", "[lints.rust]\nunexpected_cfgs = \"allow\"\n"))?;
    let compiler = env.path().join("w/toolchain/rustc");
    std::fs::create_dir_all(env.path().join("w/toolchain"))?;
    let install = |cfg: &str| -> Result {
        let real = host::sysroot()?.join("bin/rustc");
        std::fs::write(&compiler, format!("#!/bin/sh\nexec '{}' \"$@\" --cfg {cfg}\n", real.display()))?;
        std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o755))?;
        // Size and time tell nothing.
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        Ok(std::fs::File::open(&compiler)?.set_modified(time)?)
    };
    for (name, cfg, expected) in [("a", "first_", "false\n"), ("b", "second", "true\n"), ("c", "first_", "false\n")] {
        install(cfg)?;
        let checkout = first.copy(name)?;
        checkout.vrift("build").env("RUSTC", &compiler).ok()?;
        assert_eq!(checkout.output_of("app")?, expected, "{name}");
    }
    Ok(())
}

#[test]
fn unstable_features_allowed_by_a_variable() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "#![feature(never_type)]\nfn main() { println!(\"unstable\"); }\n", "")?;
    first.vrift("build").env("RUSTC_BOOTSTRAP", "1").ok()?;
    let second = first.copy("second")?;
    if second.cargo("build").run()?.status.success() {
        // An unstable compiler, which needs no permission.
        return Ok(());
    }
    std::fs::remove_dir_all(second.path("target"))?;
    let refused = second.vrift("build").fails()?;
    assert!(refused.stderr.contains("E0554"), "{}", refused.stderr);
    second.vrift("build").env("RUSTC_BOOTSTRAP", "1").ok()?;
    assert_eq!(second.output_of("app")?, "unstable\n");
    Ok(())
}
