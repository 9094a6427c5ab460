//! The two projects that are built under faults: small, but with all that real ones have. Their dependencies come from
//! crates.io, with a lock file.
//!
//! Each project comes in *variants*, numbered from zero: other constants in several of its files. What the program prints
//! follows from the number alone, so a stale or mixed-up result shows without any second build.

use std::path::{Path, PathBuf};

use crate::{Result, crates_io, host};

/// A project.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Its name, and that of its program.
    pub name: &'static str,
    /// Files that are the same in each variant.
    fixed: &'static [(&'static str, &'static str)],
    /// Files of a variant.
    varying: fn(u32) -> Vec<(&'static str, String)>,
    /// What the program of a variant prints.
    pub says: fn(u32) -> String,
}

/// A workspace of two, a build script that reads a file, a procedural macro, and a dependency whose build script tries the
/// compiler out.
pub const ALPHA: Subject = Subject {
    name: "alpha",
    fixed: &[
        (
            "Cargo.toml",
            "[package]\nname = \"alpha\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\nmembers = [\"words\"]\n\n\
             [dependencies]\nanyhow = \"=1.0.100\"\npaste = \"=1.0.15\"\nwords = { path = \"words\" }\n",
        ),
        (
            "build.rs",
            "fn main() {\n    println!(\"cargo:rerun-if-changed=said.txt\");\n    \
             let said = std::fs::read_to_string(\"said.txt\").unwrap();\n    \
             let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             std::fs::write(format!(\"{out}/said.rs\"), format!(\"const SAID: u32 = {said};\\n\")).unwrap();\n}\n",
        ),
        (
            "words/Cargo.toml",
            "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nitoa = \"=1.0.15\"\n",
        ),
    ],
    varying: |variant| {
        let main = format!(
            "include!(concat!(env!(\"OUT_DIR\"), \"/said.rs\"));\n\nconst MAIN: u32 = {variant};\n\npaste::paste! {{\n    \
             fn [<say_ alpha>]() -> anyhow::Result<String> {{\n        \
             Ok(format!(\"alpha: main {{MAIN}}, script {{SAID}}, word {{}}\", words::word()))\n    }}\n}}\n\n\
             fn main() -> anyhow::Result<()> {{\n    println!(\"{{}}\", say_alpha()?);\n    Ok(())\n}}\n"
        );
        let words = format!(
            "//! Words.\n\nconst WORD: u32 = {};\n\n/// A word.\npub fn word() -> String {{\n    \
             itoa::Buffer::new().format(WORD).to_owned()\n}}\n",
            variant / 3
        );
        vec![("src/main.rs", main), ("said.txt", (variant / 2).to_string()), ("words/src/lib.rs", words)]
    },
    says: |variant| format!("alpha: main {variant}, script {}, word {}\n", variant / 2, variant / 3),
};

/// A package with C code that its build script compiles.
pub const BETA: Subject = Subject {
    name: "beta",
    fixed: &[
        (
            "Cargo.toml",
            "[package]\nname = \"beta\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n\n[dependencies]\nmemchr = \"=2.7.6\"\n\n\
             [build-dependencies]\ncc = \"=1.2.7\"\n",
        ),
        (
            "build.rs",
            "fn main() {\n    println!(\"cargo:rerun-if-changed=c\");\n    \
             cc::Build::new().include(\"c\").file(\"c/said.c\").file(\"c/twice.c\").compile(\"said\");\n}\n",
        ),
        ("c/said.c", "#include \"said.h\"\n\nint said(void) {\n    return SAID;\n}\n"),
        ("c/twice.c", "int twice(int number) {\n    return 2 * number;\n}\n"),
    ],
    varying: |variant| {
        let main = format!(
            "extern \"C\" {{\n    fn said() -> i32;\n    fn twice(number: i32) -> i32;\n}}\n\n\
             const MAIN: &str = \"main {variant}, \";\n\nfn main() {{\n    let comma = memchr::memchr(b',', MAIN.as_bytes());\n    \
             let (said, twice) = unsafe {{ (said(), twice(said())) }};\n    \
             println!(\"beta: {{}}, script {{said}}, twice {{twice}}\", &MAIN[..comma.unwrap_or(0)]);\n}}\n"
        );
        vec![("src/main.rs", main), ("c/said.h", format!("#define SAID {}\n", variant / 2))]
    },
    says: |variant| format!("beta: main {variant}, script {}, twice {}\n", variant / 2, variant / 2 * 2),
};

impl Subject {
    /// The sources of variant 0 with their lock file, in a folder that nobody may change. What it names is downloaded.
    ///
    /// # Errors
    /// A crate cannot be fetched.
    pub fn sources(&self) -> Result<PathBuf> {
        let dir = host::cache()?.join(format!("crates/chaos-{}-1", self.name));
        if !dir.join("Cargo.lock").is_file() {
            crates_io::publish(&dir, |temp| {
                for (path, content) in self.fixed {
                    write(temp, path, content)?;
                }
                self.write_variant(temp, 0)?;
                host::line_of(crates_io::cargo(temp).arg("generate-lockfile")).map(drop)
            })?;
        }
        crates_io::fetch_locked(&dir)?;
        Ok(dir)
    }

    /// Makes the checkout at `dir` that variant. Files that are so already stay untouched, times and all.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_variant(&self, dir: &Path, variant: u32) -> Result {
        for (path, content) in (self.varying)(variant) {
            if std::fs::read_to_string(dir.join(path)).is_ok_and(|there| there == content) {
                continue;
            }
            write(dir, path, &content)?;
        }
        Ok(())
    }

    /// The files that people write, of any variant.
    pub fn files(&self) -> Vec<&'static str> {
        let varying = (self.varying)(0).into_iter().map(|(path, _)| path);
        self.fixed.iter().map(|(path, _)| *path).chain(varying).collect()
    }
}

fn write(dir: &Path, path: &str, content: &str) -> Result {
    let path = dir.join(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(std::fs::write(path, content)?)
}
