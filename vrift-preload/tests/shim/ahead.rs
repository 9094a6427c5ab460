//! Calls past libc's wrappers, which are reported before they are made, and what cannot be followed.

use std::fs;

use vrift_core::event::{EventKind, flag};

use crate::harness::{Program, Run};

const PRELUDE: &str = "#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
                       #include <sys/stat.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n";

/// What a program with this `main` did in a folder with the files `there` and `other`, and the folder `dir`.
fn run(body: &str) -> Run {
    let program = Program::new(&format!("{PRELUDE}int main(void) {{ {body} }}"));
    for name in ["there", "other"] {
        fs::write(program.path(name), "text").expect("writes");
    }
    fs::create_dir(program.path("dir")).expect("mkdir");
    let run = program.run(&[]);
    assert!(run.status.success(), "{body}: {}", run.status);
    run
}

/// Error and flags of each event of a kind about a path with this end.
fn events(run: &Run, kind: EventKind, end: &str) -> Vec<(u16, u8)> {
    let matches = |e: &&vrift_core::arena::Event| e.kind == kind && e.path.ends_with(end.as_bytes());
    run.trace.events.iter().filter(matches).map(|e| (e.errno, e.flags)).collect()
}

const AHEAD: u8 = flag::AHEAD;
const BOTH: u8 = flag::AHEAD | flag::EXISTED;

#[test]
fn changes_by_bare_calls_are_foretold() {
    let made = run("return !syscall(SYS_mkdirat, AT_FDCWD, \"dir\", 0755) || syscall(SYS_mkdirat, AT_FDCWD, \"new\", 0755);");
    assert_eq!(events(&made, EventKind::Mkdir, "/dir"), [(libc::EEXIST as u16, BOTH)]);
    assert_eq!(events(&made, EventKind::Mkdir, "/new"), [(0, AHEAD)]);
    let lost = run(
        "return !syscall(SYS_mkdirat, AT_FDCWD, \"none/new\", 0755) || !syscall(SYS_openat, AT_FDCWD, \"gone/new\", O_CREAT | O_WRONLY, 0644);",
    );
    assert_eq!(events(&lost, EventKind::Mkdir, "/new"), [(libc::ENOENT as u16, AHEAD)]);
    assert_eq!(events(&lost, EventKind::OpenWrite, "/gone/new"), [(libc::ENOENT as u16, AHEAD)]);
    let moved = run(
        "return !syscall(SYS_renameat2, AT_FDCWD, \"there\", AT_FDCWD, \"other\", 1) || syscall(SYS_renameat2, AT_FDCWD, \"there\", AT_FDCWD, \"other\", 0);",
    );
    assert_eq!(events(&moved, EventKind::RenameFrom, "/there"), [(libc::EEXIST as u16, BOTH), (0, BOTH)]);
    assert_eq!(events(&moved, EventKind::RenameTo, "/other"), [(libc::EEXIST as u16, BOTH), (0, BOTH)]);
    let linked = run("return syscall(SYS_linkat, AT_FDCWD, \"there\", AT_FDCWD, \"new\", 0);");
    assert_eq!(events(&linked, EventKind::LinkFrom, "/there"), [(0, 0)]);
    assert_eq!(events(&linked, EventKind::LinkTo, "/new"), [(0, AHEAD)]);
    let removed = run(
        "return syscall(SYS_unlinkat, AT_FDCWD, \"there\", 0) || !syscall(SYS_unlinkat, AT_FDCWD, \"dir\", 0) || !syscall(SYS_unlinkat, AT_FDCWD, \"none\", 0);",
    );
    assert_eq!(events(&removed, EventKind::Remove, "/there"), [(0, BOTH)]);
    assert_eq!(events(&removed, EventKind::Remove, "/dir"), [(libc::EISDIR as u16, BOTH)]);
    assert_eq!(events(&removed, EventKind::Remove, "/none"), [(libc::ENOENT as u16, AHEAD)]);
    let written = run(
        "return syscall(SYS_openat, AT_FDCWD, \"there\", O_WRONLY | O_TRUNC) < 0 || syscall(SYS_utimensat, AT_FDCWD, \"other\", 0, 0);",
    );
    assert_eq!(events(&written, EventKind::OpenWrite, "/there"), [(0, BOTH | flag::TRUNCATED)]);
    assert_eq!(events(&written, EventKind::Modify, "/other"), [(0, BOTH)]);
}

#[test]
fn what_cannot_be_read_is_the_kernels_to_refuse() {
    let bad = run("void *bad = (void *)8; int fails = 0;\n\
                   fails += syscall(SYS_openat2, AT_FDCWD, \"there\", 0, 24) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_openat2, AT_FDCWD, \"there\", bad, 24) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_openat, AT_FDCWD, bad, 0) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_mkdirat, AT_FDCWD, bad, 0) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_linkat, AT_FDCWD, bad, AT_FDCWD, bad, AT_EMPTY_PATH) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_renameat, AT_FDCWD, bad, AT_FDCWD, bad) < 0 && errno == EFAULT;\n\
                   fails += syscall(SYS_clone3, bad, 64) < 0 && errno == EFAULT;\n\
                   unsigned long how[3] = {0};\n\
                   return fails != 7 || syscall(SYS_openat2, AT_FDCWD, \"there\", how, sizeof how) < 0;");
    assert_eq!(events(&bad, EventKind::OpenRead, "/there"), [(0, 0)]);
    assert!(!bad.untraced());
}

#[test]
fn names_that_change_places_are_not_followed() {
    for call in [
        "renameat2(AT_FDCWD, \"there\", AT_FDCWD, \"other\", 2)",
        "syscall(SYS_renameat2, AT_FDCWD, \"there\", AT_FDCWD, \"other\", 2)",
    ] {
        assert!(run(&format!("return {call};")).untraced(), "{call}");
    }
    let plain = run("return renameat2(AT_FDCWD, \"there\", AT_FDCWD, \"new\", 1);");
    assert!(!plain.untraced());
    assert_eq!(plain.event(EventKind::RenameTo, "/new"), Some(0));
}

#[test]
fn what_leads_to_other_files_or_hides_them_is_said() {
    let odd = [
        "#include <sys/mount.h>\nint main(void) { umount2(\"/none\", 0); return 0; }",
        "#include <sys/mount.h>\nint main(void) { umount(\"/none\"); return 0; }",
        "int pivot_root(const char *, const char *); int main(void) { pivot_root(\"/none\", \"/none\"); return 0; }",
        "#include <sched.h>\n#include <stdlib.h>\nstatic int none(void *p) { return 0; }\n\
         int main(void) { char *s = malloc(65536); clone(none, s + 65536, CLONE_NEWNS | 17, 0); return 0; }",
        "#include <sched.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
         int main(void) { if (!syscall(SYS_clone, CLONE_NEWUTS | 17, 0, 0, 0, 0)) _exit(0); return 0; }",
        "#include <sys/ptrace.h>\nint main(void) { ptrace(PTRACE_ATTACH, -1, 0, 0); return 0; }",
        "#include <fcntl.h>\nint main(void) { struct { struct file_handle h; char r[128]; } h = {{128}}; int m;\n\
         name_to_handle_at(AT_FDCWD, \"p.c\", &h.h, &m, 0); open_by_handle_at(AT_FDCWD, &h.h, O_RDONLY); return 0; }",
        "#include <arpa/inet.h>\n#include <sys/socket.h>\nint main(void) { struct sockaddr_in a = { AF_INET, 9, { htonl(0x7f000001) } };\n\
         struct iovec v = { \"x\", 1 }; struct mmsghdr m = { { &a, sizeof a, &v, 1 } }; sendmmsg(socket(AF_INET, SOCK_DGRAM, 0), &m, 1, 0); return 0; }",
    ];
    for source in odd {
        let run = Program::new(source).run(&[]);
        assert!(run.status.success() && run.untraced(), "{}: {source}", run.status);
    }
    let thread = Program::new(
        "#include <sched.h>\n#include <stdlib.h>\n#include <sys/wait.h>\nstatic int seven(void *p) { return *(int *)p; }\n\
         int main(void) { char *s = malloc(65536); int n = 7, st; pid_t p = clone(seven, s + 65536, CLONE_VM | SIGCHLD, &n); waitpid(p, &st, 0); return WEXITSTATUS(st) != 7; }",
    );
    let run = thread.run(&[]);
    assert!(run.status.success() && !run.untraced(), "{}", run.status);
}

#[test]
fn files_that_libc_reads_by_itself_are_seen() {
    let program = Program::new(
        r#"
        #include <grp.h>
        #include <mntent.h>
        #include <nl_types.h>
        #include <pwd.h>
        #include <netdb.h>
        #include <stdlib.h>
        #include <sys/xattr.h>
        #include <time.h>
        int main(int c, char **v) {
            char room[99];
            time_t now = 0;
            struct tm parts = {0};
            gid_t groups[9];
            int count = 9;
            switch (v[1][0]) {
            case 'p': getpwent(); break;
            case 'g': getgrouplist("root", 0, groups, &count); break;
            case 's': getservbyname("http", "tcp"); break;
            case 'm': return !setmntent("p.c", "r");
            case 'c': ctime(&now); break;
            case 'f': strftime(room, sizeof room, "%Z", &parts); break;
            case 't': setenv("TZ", "Nowhere/City", 1); tzset(); break;
            case 'n': catopen("./none.cat", 0); break;
            case 'x': getxattr("p.c", "user.x", room, sizeof room); break;
            }
            return 0;
        }"#,
    );
    let reads = [
        ("p", EventKind::OpenRead, "/etc/passwd"),
        ("g", EventKind::OpenRead, "/etc/group"),
        ("s", EventKind::OpenRead, "/etc/services"),
        ("m", EventKind::OpenRead, "/p.c"),
        ("c", EventKind::OpenRead, "/etc/localtime"),
        ("f", EventKind::OpenRead, "/etc/localtime"),
        ("t", EventKind::OpenRead, "/usr/share/zoneinfo/Nowhere/City"),
        ("n", EventKind::OpenRead, "/./none.cat"),
        ("x", EventKind::Stat, "/p.c"),
    ];
    for (case, kind, end) in reads {
        let run = program.run_with(&[case], |command| {
            command.env_remove("TZ");
        });
        assert!(run.status.success(), "{case}: {}", run.status);
        assert!(run.event(kind, end).is_some() && !run.untraced(), "{case}");
    }
}

#[test]
fn attributes_that_are_removed_are_said() {
    let program = Program::new("#include <sys/xattr.h>\nint main(void) { return removexattr(\"p.c\", \"user.x\"); }");
    let path = std::ffi::CString::new(program.path("p.c").into_os_string().into_encoded_bytes()).expect("a path");
    // SAFETY: the strings are NUL-terminated, and the value is one byte long.
    let set = unsafe { libc::setxattr(path.as_ptr(), c"user.x".as_ptr(), b"1".as_ptr().cast(), 1, 0) };
    if set == 0 {
        let run = program.run(&[]);
        assert!(run.status.success() && run.untraced());
    }
}
