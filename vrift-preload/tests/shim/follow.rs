//! Calls that the shim must see.

use std::fs;

use vrift_core::event::{EventKind, flag};

use crate::harness::Program;

#[test]
fn opening_to_read_with_create_is_a_read_of_what_is_there() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        int main(void) { return open("there", O_RDONLY | O_CREAT, 0644) < 0 || open("new", O_RDONLY | O_CREAT, 0644) < 0; }"#,
    );
    fs::write(program.path("there"), "text").expect("writes");
    let run = program.run(&[]);
    assert!(run.status.success());
    assert_eq!(run.event(EventKind::OpenRead, "/there"), Some(0));
    assert_eq!(run.event(EventKind::OpenWrite, "/there"), None);
    assert_eq!(run.event(EventKind::OpenWrite, "/new"), Some(0));
}

#[test]
fn truncating_says_whether_a_file_was_there() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <stdio.h>
        int main(void) { creat("there", 0644); fopen("new", "w"); return 0; }"#,
    );
    fs::write(program.path("there"), "text").expect("writes");
    let run = program.run(&[]);
    let flags = |end: &str| {
        let event = run.trace.events.iter().find(|e| e.kind == EventKind::OpenWrite && e.path.ends_with(end.as_bytes()));
        event.expect("an event").flags
    };
    assert_eq!(flags("/there"), flag::TRUNCATED | flag::EXISTED);
    assert_eq!(flags("/new"), flag::TRUNCATED);
}

#[test]
fn files_opened_for_a_spawned_child_are_seen() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <spawn.h>
        #include <sys/wait.h>
        extern char **environ;
        int main(void) {
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_addopen(&actions, 0, "in.txt", O_RDONLY, 0);
            posix_spawn_file_actions_addopen(&actions, 1, "out.txt", O_WRONLY | O_CREAT | O_TRUNC, 0644);
            char *argv[] = {"cat", 0};
            pid_t pid;
            if (posix_spawn(&pid, "/bin/cat", &actions, 0, argv, environ)) return 1;
            int status;
            waitpid(pid, &status, 0);
            return status != 0;
        }"#,
    );
    fs::write(program.path("in.txt"), "text").expect("writes");
    let run = program.run(&[]);
    assert!(run.status.success());
    assert_eq!(run.event(EventKind::OpenRead, "/in.txt"), Some(0));
    assert_eq!(run.event(EventKind::OpenWrite, "/out.txt"), Some(0));
}

#[test]
fn a_child_spawned_in_another_folder_is_not_taken_for_one_of_this_folder() {
    let program = Program::new(
        r#"
        #include <spawn.h>
        #include <sys/wait.h>
        extern char **environ;
        int main(void) {
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_addchdir_np(&actions, "sub");
            char *argv[] = {"./tool", 0};
            pid_t pid;
            if (posix_spawn(&pid, "./tool", &actions, 0, argv, environ)) return 1;
            int status;
            waitpid(pid, &status, 0);
            return status != 0;
        }"#,
    );
    fs::create_dir(program.path("sub")).expect("mkdir");
    std::os::unix::fs::symlink("/bin/true", program.path("sub/tool")).expect("symlink");
    let run = program.run(&[]);
    assert!(run.status.success());
    assert!(
        run.event(EventKind::Exec, "/sub/tool").is_some() || run.trace.events.iter().any(|e| e.flags & flag::UNRESOLVED != 0)
    );
}

#[test]
fn changes_through_descriptors_are_seen() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <sys/stat.h>
        int main(void) { int fd = open("there", O_RDONLY); return fchmod(fd, 0600); }"#,
    );
    fs::write(program.path("there"), "text").expect("writes");
    assert_eq!(program.run(&[]).event(EventKind::Modify, "/there"), Some(0));
}

#[test]
fn old_and_odd_entries_are_seen() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <pwd.h>
        #include <stdio.h>
        #include <unistd.h>
        extern int __open(const char *, int, ...), __open64(const char *, int, ...);
        int main(void) { __open("a", O_RDONLY); __open64("b", O_RDONLY); getpwuid(getuid()); return 0; }"#,
    );
    let run = program.run(&[]);
    assert_eq!(run.event(EventKind::OpenRead, "/a"), Some(2));
    assert_eq!(run.event(EventKind::OpenRead, "/b"), Some(2));
    assert_eq!(run.event(EventKind::OpenRead, "/etc/passwd"), Some(0));
}

#[test]
fn what_cannot_be_followed_is_said() {
    let wordexp = Program::new(
        r#"
        #include <wordexp.h>
        int main(void) { wordexp_t w; return wordexp("$(cat secret)", &w, 0); }"#,
    );
    assert!(wordexp.run(&[]).untraced());
    let attribute = Program::new(
        r#"
        #include <sys/xattr.h>
        int main(void) { return setxattr("p.c", "user.x", "1", 1, 0) != 0 ? 77 : 0; }"#,
    );
    let run = attribute.run(&[]);
    assert!(run.untraced() || run.status.code() == Some(77));
}

#[test]
fn a_path_that_cannot_be_resolved_has_no_folders_beyond_the_missing_one() {
    let program = Program::new(
        r#"
        #include <stdlib.h>
        int main(void) { return realpath("sub/none/../deeper/x", 0) != 0; }"#,
    );
    fs::create_dir(program.path("sub")).expect("mkdir");
    let run = program.run(&[]);
    assert!(run.status.success());
    assert_eq!(run.event(EventKind::Readlink, "/sub"), Some(0));
    assert_eq!(run.event(EventKind::Readlink, "/sub/none"), Some(2));
    assert_eq!(run.event(EventKind::Readlink, "/sub/none/.."), None);
}

/// libc searches in the child, from the folder that it was sent to: neither a program of this folder nor one further down the path is
/// meant.
#[test]
fn a_program_that_a_child_finds_in_another_folder_is_that_one() {
    let program = Program::new(
        r#"
        #include <spawn.h>
        #include <sys/wait.h>
        extern char **environ;
        int main(void) {
            posix_spawn_file_actions_t actions;
            posix_spawn_file_actions_init(&actions);
            posix_spawn_file_actions_addchdir_np(&actions, "sub");
            for (int i = 0; i < 2; i++) {
                char *name = i ? "false" : "tool", *argv[] = {name, 0};
                pid_t pid;
                if (posix_spawnp(&pid, name, &actions, 0, argv, environ)) return 1;
                int status;
                waitpid(pid, &status, 0);
                if (status) return 2;
            }
            return 0;
        }"#,
    );
    fs::create_dir(program.path("sub")).expect("mkdir");
    for name in ["tool", "false"] {
        std::os::unix::fs::symlink("/bin/true", program.path("sub").join(name)).expect("symlink");
    }
    let run = program.run_with(&[], |command| {
        command.env("PATH", ".:/usr/bin:/bin");
    });
    assert!(run.status.success(), "{}", run.status);
    assert_eq!(run.count(EventKind::SignIn), 3, "they do not sign in");
    assert_eq!(run.count(EventKind::ExecFailed), 0);
    assert!(run.trace.events.iter().any(|e| e.kind == EventKind::Exec && e.flags & flag::UNRESOLVED != 0));
}

#[test]
fn links_of_proc_lead_to_files() {
    let program = Program::new(
        r#"
        #include <dirent.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(void) {
            int dir = open("src", O_PATH | O_DIRECTORY), file = open("file", O_PATH), fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
            int memory = memfd_create("own", 0);
            char p[99];
            #define OPEN(...) (snprintf(p, sizeof p, __VA_ARGS__), open(p, O_RDONLY) < 0)
            if (OPEN("/proc/self/fd/%d/a", dir) || OPEN("/dev/fd/%d/b", dir) || OPEN("/proc/%d/fd/%d/c", getpid(), dir)) return 1;
            if (OPEN("/proc/self/task/%d/fd/%d/d", gettid(), dir) || OPEN("/proc/thread-self/cwd/src/e")) return 2;
            if (OPEN("/proc/self/fd/%d", file) || OPEN("/proc/self/fd/%d", memory) || OPEN("/dev/fd/0")) return 3;
            if (snprintf(p, sizeof p, "%d/f", dir), openat(fds, p, O_RDONLY) < 0) return 4;
            snprintf(p, sizeof p, "/proc/self/fd/%d", dir);
            if (!opendir(p) || readlink(p, p, sizeof p) < 0) return 5;
            return 0;
        }"#,
    );
    fs::create_dir(program.path("src")).expect("mkdir");
    for name in ["a", "b", "c", "d", "e", "f"] {
        fs::write(program.path("src").join(name), "text").expect("writes");
    }
    fs::write(program.path("file"), "text").expect("writes");
    let run = program.run(&[]);
    assert!(run.status.success(), "{}", run.status);
    for name in ["src/a", "src/b", "src/c", "src/d", "src/e", "src/f", "file"] {
        let path = fs::canonicalize(program.path(name)).expect("there");
        assert_eq!(run.event(EventKind::OpenRead, path.to_str().expect("text")), Some(0), "{name}");
    }
    let folder = fs::canonicalize(program.path("src")).expect("there");
    assert_eq!(run.event(EventKind::List, folder.to_str().expect("text")), Some(0));
    assert_eq!(run.event(EventKind::Readlink, "/src"), None);
    // Standard input stays what it is, and what has no name gets none.
    assert_eq!(run.event(EventKind::OpenRead, "/dev/fd/0"), Some(0));
    assert!(!run.trace.events.iter().any(|e| e.path.starts_with(b"/memfd")));
}

/// Without its folder, nothing can be made there: that the file is missing says less.
#[test]
fn a_file_that_cannot_be_made_says_why() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <stdio.h>
        int main(void) { return open("none/new", O_WRONLY | O_CREAT, 0644) >= 0 || fopen("p.c/new", "w"); }"#,
    );
    let run = program.run(&[]);
    assert!(run.status.success());
    // From that it is concluded later what its folder was.
    let error = |end| run.event(EventKind::OpenWrite, end);
    assert_eq!((error("/none/new"), error("/p.c/new")), (Some(libc::ENOENT as u16), Some(libc::ENOTDIR as u16)));
}

/// Of an action inside another one both hear everything, whatever it starts.
#[test]
fn both_of_two_actions_hear_everything() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <stdlib.h>
        int main(void) { open("none", O_RDONLY); creat("new", 0644); return system("cat in.txt > out.txt"); }"#,
    );
    fs::write(program.path("in.txt"), "text").expect("writes");
    let (run, outer) = program.run_inside_two();
    assert!(run.status.success());
    assert_eq!(run.event(EventKind::OpenRead, "/in.txt"), Some(0));
    assert!(run.trace.events.iter().filter(|event| event.kind == EventKind::SignIn).count() >= 3);
    assert_eq!(run.trace.events, outer.events);
}
