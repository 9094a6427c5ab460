//! Compiles the variadic entry points, which stable Rust cannot define.

fn main() {
    println!("cargo::rerun-if-changed=src/variadic.c");
    cc::Build::new().file("src/variadic.c").flag("-fno-builtin").warnings(true).extra_warnings(true).compile("vrift_variadic");
}
