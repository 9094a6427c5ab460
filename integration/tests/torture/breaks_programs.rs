//! Never break: programs that vrift's library cannot follow. They must work, and what they did must not be served wrongly.

use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::{host, small};

/// A package whose build script runs the program `tool` of the checkout, which prints the word in `word.txt`, and whose
/// own program prints what the tool said.
fn package(checkout: &Checkout<'_>) -> Result {
    small::app(checkout, "fn main() { println!(\"{}\", env!(\"SAID\")); }\n", "")?;
    checkout.write(
        "build.rs",
        "fn main() {\n let said = std::process::Command::new(\"./tool\").output().unwrap();\n \
         assert!(said.status.success());\n \
         println!(\"cargo::rustc-env=SAID={}\", String::from_utf8(said.stdout).unwrap().trim());\n}\n",
    )?;
    checkout.write("word.txt", "one")?;
    Ok(())
}

const PRINT_WORD: &str = "#include <stdio.h>\nint main(void) { char b[99]; FILE *f = fopen(\"word.txt\", \"r\");\n\
                          if (!f || !fgets(b, 99, f)) return 1;\n puts(b); return 0; }\n";

/// Every checkout must get its own word.
fn own_words(first: &Checkout<'_>) -> Result {
    for (at, word) in ["one", "two", "one", "three"].into_iter().enumerate() {
        let checkout = first.copy(&format!("own/{at}"))?;
        checkout.write("word.txt", word)?;
        checkout.vrift("build").ok()?;
        let printed = checkout.output_of("app")?;
        ensure!(printed.trim_end() == word, "{printed:?} instead of {word}");
    }
    Ok(())
}

#[test]
fn statically_linked() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    if small::c_program(&first, "tool", PRINT_WORD, "-static").is_err() {
        // No static C library here.
        return Ok(());
    }
    own_words(&first)
}

#[test]
fn sanitized() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    if small::c_program(&first, "tool", PRINT_WORD, "-fsanitize=address").is_err() {
        return Ok(());
    }
    own_words(&first)
}

#[test]
fn closing_all_descriptors() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    let source = "#define _GNU_SOURCE\n#include <stdio.h>\n#include <unistd.h>\nint main(int n, char **v) {\n\
                  for (int f = 3; f < 4096; f++) close(f);\n close_range(3, ~0U, 0);\n\
                  char b[99]; FILE *f = fopen(\"word.txt\", \"r\");\n if (!f || !fgets(b, 99, f)) return 1;\n\
                  if (n > 1) { puts(b); return 0; }\n fflush(stdout);\n execl(v[0], v[0], \"again\", (char *)0); return 1; }\n";
    small::c_program(&first, "tool", source, "")?;
    own_words(&first)
}

#[test]
fn empty_environment() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    first.write("tool", "#!/bin/sh\nexec env -i PATH=/usr/bin:/bin sh -c 'cat word.txt'\n")?;
    std::fs::set_permissions(first.path("tool"), std::fs::Permissions::from_mode(0o755))?;
    own_words(&first)
}

#[test]
fn privileged() -> Result {
    // Privileged programs lose preloads: what they read cannot be seen.
    if !host::is_root() {
        return Ok(());
    }
    let Some(env) = TestEnv::as_user()? else { return Ok(()) };
    let first = env.checkout("first")?;
    package(&first)?;
    small::c_program(&first, "tool.bin", PRINT_WORD, "")?;
    let tool = env.path().join("w/privileged");
    std::fs::copy(first.path("tool.bin"), &tool)?;
    // Owned by root, and setuid.
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755))?;
    first.write("tool", format!("#!/bin/sh\nexec '{}'\n", tool.display()))?;
    std::fs::set_permissions(first.path("tool"), std::fs::Permissions::from_mode(0o755))?;
    own_words(&first)
}

#[test]
fn raw_system_calls() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    let source = "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <stdio.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
                  int main(void) { char b[99] = {0}; long f = syscall(SYS_openat, AT_FDCWD, \"word.txt\", O_RDONLY);\n\
                  if (f < 0 || syscall(SYS_read, f, b, 98) <= 0) return 1;\n puts(b); return 0; }\n";
    small::c_program(&first, "tool", source, "")?;
    own_words(&first)
}

#[test]
fn surviving_children() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    // Says its word at once, and goes on in the background for a while, holding nothing.
    first.write("tool", "#!/bin/sh\ncat word.txt\n(sleep 1; cat word.txt > late.txt) </dev/null >/dev/null 2>&1 &\n")?;
    std::fs::set_permissions(first.path("tool"), std::fs::Permissions::from_mode(0o755))?;
    own_words(&first)
}

#[test]
fn vforks_threads_and_spawns() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    package(&first)?;
    let source = "#define _GNU_SOURCE\n#include <pthread.h>\n#include <spawn.h>\n#include <stdio.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\
                  extern char **environ;\nstatic void *work(void *x) { for (int i = 0; i < 50; i++) access(\"word.txt\", R_OK); return x; }\n\
                  int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, work, 0);\n\
                  pid_t p = vfork(); if (p == 0) { execl(\"/bin/true\", \"true\", (char *)0); _exit(1); }\n\
                  int s; waitpid(p, &s, 0); if (s) return 1;\n\
                  char *a[] = {\"cat\", \"word.txt\", 0}; if (posix_spawnp(&p, \"cat\", 0, 0, a, environ)) return 1;\n\
                  waitpid(p, &s, 0); for (int i = 0; i < 4; i++) pthread_join(t[i], 0); return s != 0; }\n";
    small::c_program(&first, "tool", source, "-pthread")?;
    own_words(&first)
}
