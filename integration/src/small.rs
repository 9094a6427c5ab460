//! Small projects, made up on the spot: a build of one takes less than a second.

use crate::Result;
use crate::checkout::Checkout;

/// A package with nothing but a name, and what `more` adds to its manifest.
pub fn manifest(name: &str, more: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n{more}")
}

/// A package `app` with this `src/main.rs`, and what `more` adds to its manifest.
///
/// # Errors
/// A file cannot be written.
pub fn app(checkout: &Checkout<'_>, main: &str, more: &str) -> Result {
    checkout.write("Cargo.toml", manifest("app", more))?.write("src/main.rs", main)?.write("Cargo.lock", lock(&["app"]))?;
    Ok(())
}

/// A lock file for packages without dependencies: Cargo completes it.
fn lock(names: &[&str]) -> String {
    let package = |name: &&str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n\n");
    format!("version = 4\n\n{}", names.iter().map(package).collect::<String>())
}

/// A package `app` that uses a procedural macro of the path dependency `mac`, which `body` writes: the function
/// `fn text() -> String` of what `mac::text!()` becomes.
///
/// # Errors
/// A file cannot be written.
pub fn app_with_macro(checkout: &Checkout<'_>, body: &str) -> Result {
    app(checkout, "fn main() { println!(\"{}\", mac::text!()); }\n", "[dependencies]\nmac = { path = \"mac\" }\n")?;
    checkout.write("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"))?;
    let lib = format!(
        "use proc_macro::{{Literal, TokenStream, TokenTree}};\n\n#[proc_macro]\npub fn text(_: TokenStream) -> TokenStream {{\n    \
         TokenTree::from(Literal::string(&make())).into()\n}}\n\nfn make() -> String {{\n{body}\n}}\n"
    );
    checkout.write("mac/src/lib.rs", lib)?;
    checkout.remove("Cargo.lock")?;
    checkout.cargo("generate-lockfile --offline").ok()?;
    Ok(())
}

/// A workspace: `base` ← `mid` ← `app` (a program, with a build script), and `mac`, a procedural macro that `app` uses.
/// `app` prints what each of them says, `base one, mid one, mac one, script one, app one`, so an edit of any shows.
///
/// # Errors
/// A file cannot be written.
pub fn workspace(checkout: &Checkout<'_>) -> Result {
    checkout
        .write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"base\", \"mid\", \"mac\", \"app\"]\n")?
        .write("base/Cargo.toml", manifest("base", ""))?
        .write("base/src/lib.rs", "//! Base.\n\npub fn say() -> &'static str {\n    \"base one\"\n}\n")?
        .write("mid/Cargo.toml", manifest("mid", "[dependencies]\nbase = { path = \"../base\" }\n"))?
        .write("mid/src/lib.rs", "pub fn say() -> String {\n    format!(\"{}, mid one\", base::say())\n}\n")?
        .write("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"))?
        .write(
            "mac/src/lib.rs",
            "use proc_macro::TokenStream;\n\n#[proc_macro]\npub fn say(_: TokenStream) -> TokenStream {\n    \
             \"\\\"mac one\\\"\".parse().unwrap()\n}\n",
        )?
        .write("app/Cargo.toml", manifest("app", "[dependencies]\nmid = { path = \"../mid\" }\nmac = { path = \"../mac\" }\n"))?
        .write(
            "app/build.rs",
            "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
             let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             std::fs::write(format!(\"{out}/said.rs\"), \"pub const SAID: &str = \\\"script one\\\";\\n\").unwrap();\n}\n",
        )?
        .write(
            "app/src/main.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/said.rs\"));\n\nfn main() {\n    \
             println!(\"{}, {}, {}, app one\", mid::say(), mac::say!(), SAID);\n}\n\n\
             #[test]\nfn it_says() {\n    assert!(mid::say().starts_with(\"base\"));\n}\n",
        )?;
    checkout.cargo("generate-lockfile --offline").ok()?;
    Ok(())
}

/// The crates that a build of [`workspace`] compiles.
pub const WORKSPACE_CRATES: [&str; 5] = ["app", "base", "build_script_build", "mac", "mid"];

/// A C project for Make: two sources, a header, a program `hello`.
///
/// # Errors
/// A file cannot be written.
pub fn make(checkout: &Checkout<'_>) -> Result {
    checkout
        .write(
            "Makefile",
            "hello: main.o word.o\n\tcc -o $@ main.o word.o\n\nmain.o: main.c word.h\n\tcc -c -o $@ main.c\n\n\
             word.o: word.c word.h\n\tcc -c -o $@ word.c\n",
        )?
        .write("word.h", "#define WORD \"one\"\nconst char *word(void);\n")?
        .write("word.c", "#include \"word.h\"\nconst char *word(void) { return WORD; }\n")?
        .write(
            "main.c",
            "#include <stdio.h>\n#include \"word.h\"\nint main(void) { printf(\"hello %s\\n\", word()); return 0; }\n",
        )?;
    Ok(())
}

/// Compiles a C program without vrift; returns its path.
///
/// # Errors
/// It does not compile.
pub fn c_program(checkout: &Checkout<'_>, name: &str, source: &str, flags: &str) -> Result<String> {
    checkout.write(&format!("{name}.c"), source)?;
    checkout.sh(&format!("cc {flags} -o {name} {name}.c")).ok()?;
    Ok(checkout.path(name).to_string_lossy().into_owned())
}
