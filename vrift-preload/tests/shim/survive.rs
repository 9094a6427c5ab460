//! Programs must behave as they do without the shim.

use std::fs;
use std::os::unix::process::CommandExt;

use vrift_core::event::EventKind;

use crate::harness::Program;

#[test]
fn threads_may_start_shells_at_once() {
    let program = Program::new(
        r#"
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        static void *shell(void *arg) {
            (void)arg;
            for (int i = 0; i < 20; i++) {
                if (system("exit 3") != 3 << 8) abort();
                FILE *f = popen("echo x", "r");
                if (fgetc(f) != 'x') abort();
                pclose(f);
            }
            return 0;
        }
        extern char **environ;
        int main(void) {
            pthread_t t[4];
            for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, shell, 0);
            for (int i = 0; i < 4; i++) { pthread_join(t[i], 0); }
            for (char **e = environ; *e; e++) puts(*e);
            return 0;
        }"#,
    );
    let run = program.run_with(&[], |command| {
        command.env("MINE", "1");
    });
    assert!(run.status.success(), "{}", run.status);
    assert!(run.stdout.contains("MINE=1\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("VRIFT") && !run.stdout.contains("LD_PRELOAD"), "{}", run.stdout);
    assert_eq!(run.count(EventKind::SignIn), run.count(EventKind::Exec) + 1);
}

#[test]
fn the_environment_survives_a_change_behind_a_running_shell() {
    let program = Program::new(
        r#"
        #include <pthread.h>
        #include <stdlib.h>
        #include <stdio.h>
        #include <unistd.h>
        static void *changes(void *arg) { usleep(100000); setenv("LATER", "1", 1); return 0; }
        static void wipe(void) { char room[100000]; for (int i = 0; i < sizeof room; i++) ((volatile char *)room)[i] = 1; }
        extern char **environ;
        int main(void) {
            pthread_t t;
            pthread_create(&t, 0, changes, 0);
            system("sleep 0.3");
            pthread_join(t, 0);
            wipe();
            puts(getenv("MINE"));
            puts(getenv("LATER"));
            fflush(stdout);
            system("echo child=$LATER ${VRIFT_CONTEXT+context} $LD_PRELOAD");
            execl("/bin/sh", "sh", "-c", "echo again=$LATER ${VRIFT_CONTEXT+context} $LD_PRELOAD", (char *)0);
        }"#,
    );
    let run = program.run_with(&[], |command| {
        command.env("MINE", "1");
    });
    assert_eq!(run.stdout.split_whitespace().collect::<Vec<_>>(), ["1", "1", "child=1", "again=1"], "{}", run.status);
}

#[test]
fn forks_among_loading_threads_do_not_hang() {
    let program = Program::new(
        r#"
        #include <dlfcn.h>
        #include <link.h>
        #include <pthread.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static volatile int done;
        static int one(struct dl_phdr_info *i, size_t s, void *d) { return 0; }
        static void *loads(void *arg) {
            while (!done) { void *h = dlopen("libm.so.6", RTLD_NOW); if (h) dlclose(h); dl_iterate_phdr(one, 0); dlsym(RTLD_DEFAULT, "nope"); }
            return 0;
        }
        int main(void) {
            pthread_t t[2];
            for (int i = 0; i < 2; i++) pthread_create(&t[i], 0, loads, 0);
            for (int i = 0; i < 300; i++) {
                pid_t pid = fork();
                if (pid == 0) { char *argv[] = {"true", 0}; if (i % 2) execv("/bin/true", argv); _exit(i % 2); }
                int status;
                waitpid(pid, &status, 0);
                if (status) abort();
            }
            done = 1;
            for (int i = 0; i < 2; i++) pthread_join(t[i], 0);
            return 0;
        }"#,
    );
    assert!(program.run(&[]).status.success());
}

#[test]
fn a_folder_in_the_search_path_is_no_program() {
    let program = Program::new(
        r#"
        #include <spawn.h>
        #include <stdio.h>
        #include <sys/wait.h>
        #include <unistd.h>
        extern char **environ;
        int main(void) {
            char *argv[] = {"true", 0};
            pid_t pid;
            int error = posix_spawnp(&pid, "true", 0, 0, argv, environ);
            if (error) return 1;
            waitpid(pid, 0, 0);
            execvp("true", argv);
            return 2;
        }"#,
    );
    fs::create_dir_all(program.path("bin/true")).expect("mkdir");
    fs::create_dir_all(program.path("broken")).expect("mkdir");
    fs::write(program.path("broken/true"), "#!/nowhere/at/all\n").expect("writes");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(program.path("broken/true"), executable).expect("chmod");
    let run = program.run_with(&[], |command| {
        let dir = program.dir.path().display();
        command.env("PATH", format!("{dir}/bin:{dir}/broken:/usr/bin:/bin"));
    });
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(run.count(EventKind::SignIn) + run.count(EventKind::ExecFailed), run.count(EventKind::Exec) + 1);
}

#[test]
fn small_stacks_are_enough() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <limits.h>
        #include <pthread.h>
        #include <spawn.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        extern char **environ;
        static void *small(void *arg) {
            char *argv[] = {"true", 0};
            pid_t pid;
            if (posix_spawnp(&pid, "true", 0, 0, argv, environ)) abort();
            waitpid(pid, 0, 0);
            if (open("missing", O_RDONLY) >= 0) abort();
            return 0;
        }
        int main(void) {
            pthread_attr_t a;
            pthread_attr_init(&a);
            pthread_attr_setstacksize(&a, 128 << 10);
            pthread_t t;
            if (pthread_create(&t, &a, small, 0)) abort();
            pthread_join(t, 0);
            return 0;
        }"#,
    );
    assert!(program.run(&[]).status.success());
}

#[test]
fn a_cancelled_thread_ends() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <pthread.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        #include <unistd.h>
        static void cleanup(void *arg) { puts("cleaned"); fflush(stdout); }
        static void *waits(void *arg) {
            pthread_cleanup_push(cleanup, 0);
            open("fifo", O_RDONLY);
            pthread_cleanup_pop(0);
            return 0;
        }
        int main(void) {
            mkfifo("fifo", 0600);
            pthread_t t;
            pthread_create(&t, 0, waits, 0);
            usleep(50000);
            pthread_cancel(t);
            void *result;
            pthread_join(t, &result);
            return result == PTHREAD_CANCELED ? 0 : 1;
        }"#,
    );
    let run = program.run(&[]);
    assert_eq!((run.status.code(), run.stdout.as_str()), (Some(0), "cleaned\n"), "{}", run.status);
}

#[test]
fn an_environment_at_the_limit_still_fits() {
    let program = Program::new(
        r#"
        #include <stdlib.h>
        #include <string.h>
        #include <sys/resource.h>
        #include <unistd.h>
        #include <errno.h>
        #include <sys/wait.h>
        /* The longest single argument that the kernel takes is 128 KiB; a quarter of the stack limit is for all. */
        int main(int argc, char **argv) {
            if (argc > 2) return 0;
            char *big = malloc(100001);
            memset(big, 'x', 100000);
            big[100000] = 0;
            /* Find how much fits by a call that the shim does not see. */
            for (int size = 100000; size > 0; size -= 100) {
                big[size] = 0;
                char *args[] = {argv[0], "a", big, 0};
                char *envp[] = {0};
                pid_t pid = fork();
                if (pid == 0) {
                    struct rlimit limit = {512 << 10, 512 << 10};
                    setrlimit(RLIMIT_STACK, &limit);
                    char *fill = malloc(31000);
                    memset(fill, 'y', 31000 - 1);
                    fill[31000 - 1] = 0;
                    char *all[] = {argv[0], fill, big, 0};
                    if (argv[1][0] == 'h') execve(argv[0], all, envp);
                    else { __asm__ volatile("syscall" : : "a"(59), "D"(argv[0]), "S"(all), "d"(envp) : "rcx", "r11", "memory"); }
                    _exit(9);
                }
                int status;
                waitpid(pid, &status, 0);
                if (status == 0) { printf("%d\n", size); return 0; }
            }
            return 1;
        }"#,
    );
    let fits = program.run(&["hooked"]);
    assert_eq!(fits.stdout, program.run(&["raw"]).stdout);
}

#[test]
fn a_program_in_memory_can_be_executed() {
    let program = Program::new(
        r#"
        #include <fcntl.h>
        #include <sys/mman.h>
        #include <unistd.h>
        extern char **environ;
        int main(void) {
            int from = open("/bin/true", O_RDONLY), to = memfd_create("program", MFD_CLOEXEC);
            char buffer[65536];
            for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;) write(to, buffer, n);
            char *argv[] = {"true", 0};
            fexecve(to, argv, environ);
            return 7;
        }"#,
    );
    assert_eq!(program.run(&[]).status.code(), Some(0));
}

#[test]
fn a_failed_spawn_leaves_the_pid_alone() {
    let program = Program::new(
        r#"
        #include <spawn.h>
        extern char **environ;
        int main(void) {
            char *argv[] = {"x", 0};
            pid_t pid = -7;
            return posix_spawn(&pid, "/nowhere/x", 0, 0, argv, environ) != 2 || pid != -7;
        }"#,
    );
    let run = program.run_with(&[], |command| {
        command.arg0("p");
    });
    assert_eq!(run.status.code(), Some(0));
}

/// Opening a pipe waits for somebody at its other end.
#[test]
fn a_pipe_is_no_program() {
    let program = Program::new(
        r#"
        #include <errno.h>
        #include <spawn.h>
        #include <sys/stat.h>
        #include <unistd.h>
        extern char **environ;
        int main(int c, char **v) {
            char *argv[] = {"./pipe", 0};
            pid_t pid;
            if (mkfifo("pipe", 0755) || chmod("pipe", 0755)) return 1;
            if (execv("./pipe", argv) != -1 || errno != EACCES) return 2;
            return posix_spawn(&pid, "./pipe", 0, 0, argv, environ) != EACCES;
        }"#,
    );
    let run = program.run(&[]);
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(run.count(EventKind::SignIn) + run.count(EventKind::ExecFailed), run.count(EventKind::Exec) + 1);
}
