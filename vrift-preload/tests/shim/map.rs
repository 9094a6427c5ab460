//! What programs learn from a VDir. The one of these tests lies: so it shows who answered.

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use vrift_core::event::EventKind;
use vrift_core::vdir::layout::{flag, state};
use vrift_core::vdir::ring::Ring;
use vrift_core::vdir::{Capacity, EntryData, Identity, Stat, Writer};

use crate::harness::Program;

/// A size that no file here has.
const LIE: u64 = 4711;

struct Map {
    _dir: tempfile::TempDir,
    path: PathBuf,
    _writer: Writer,
    _ring: Ring,
    _notices: PipeReader,
    notice: PipeWriter,
}

fn map(root: &Path) -> Map {
    let dir = tempfile::tempdir_in("/dev/shm").expect("tempdir");
    let path = dir.path().join("vdir");
    let create = |path: &Path| File::options().read(true).write(true).create_new(true).mode(0o600).open(path).expect("creates");
    let file = create(&path);
    create(&dir.path().join("vdir.asked")).set_len(vrift_core::vdir::asked::LEN as u64).expect("sizes");
    let namespace = |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).expect("there").ino();
    let identity = Identity {
        project: 1,
        generation: 7,
        namespaces: [namespace("mnt"), namespace("user")],
        uid: file.metadata().expect("there").uid(),
        key: [1, 2],
        root: root.as_os_str().as_encoded_bytes().to_vec(),
    };
    let mut writer = Writer::create(&file, Capacity::of(100), &identity).expect("creates");
    let (notices, notice) = std::io::pipe().expect("pipe");
    let ring = Ring::new(writer.map(), &[(notices.as_fd(), libc::POLLIN)]).expect("this kernel has io_uring");
    let stat = |kind: u32| Stat {
        mode: kind | 0o640,
        nlink: 3,
        size: LIE,
        times: [1, 2, 3, 4],
        dev: 0x801,
        statx: [0, 0, 9, 0xfff],
        ..Stat::default()
    };
    let folder = EntryData { flags: flag::DIR | flag::LISTED | flag::STAT, ino: 50, stat: Some(stat(0o040_000)) };
    let file = EntryData { flags: flag::FILE | flag::STAT, ino: 60, stat: Some(stat(0o100_000)) };
    writer.set_entry(b"", &folder).expect("room");
    let sub = writer.set_entry(b"sub", &folder).expect("room");
    let names = ["sub/told", "sub/other-name"].map(|name| writer.set_entry(name.as_bytes(), &file).expect("room"));
    writer.set_order(sub, &names);
    writer.set_entry(b"told", &file).expect("room");
    let link = EntryData { flags: flag::LINK, ino: 70, stat: Some(Stat { size: 6, ..stat(0o120_000) }) };
    let link = writer.set_entry(b"link", &link).expect("room");
    writer.set_target(link, b"a lie!").expect("room");
    writer.set_entry(b"untold", &EntryData { flags: flag::FILE, ino: 80, stat: None }).expect("room");
    writer.seal(ring.offsets());
    writer.set_valid_until(u64::MAX);
    writer.set_state(state::SERVING);
    writer.end();
    Map { _dir: dir, path, _writer: writer, _ring: ring, _notices: notices, notice }
}

/// A program with a folder of its own, and a map of it.
fn mapped(source: &str) -> (Program, Map) {
    let mut program = Program::new(&format!("{PRELUDE}{source}"));
    let root = fs::canonicalize(program.dir.path()).expect("canonical");
    for folder in ["sub", "real"] {
        fs::create_dir(root.join(folder)).expect("creates");
    }
    for file in ["told", "untold", "missing", "sub/told", "real/told"] {
        fs::write(root.join(file), "true").expect("writes");
    }
    std::os::unix::fs::symlink("told", root.join("link")).expect("links");
    let map = map(&root);
    program.vdir.clone_from(&map.path);
    (program, map)
}

/// `size` gives what `stat` says, or minus the error; 40 looks make the shim look for a map.
const PRELUDE: &str = r#"
    #include <dirent.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <sys/wait.h>
    #include <unistd.h>
    static long size(const char *path) { struct stat s; return stat(path, &s) ? -errno : s.st_size; }
    static void warm(void) { for (int i = 0; i < 40; i++) size("/"); }
    #define P(x) printf("%ld ", (long)(x))
    #define E(x) ((x) < 0 ? -errno : 1)
"#;

#[test]
fn every_way_of_looking_is_answered() {
    let (program, _map) = mapped(
        r#"
        int main(int c, char **v) {
            char path[PATH_MAX], room[PATH_MAX];
            struct stat s; struct statx x;
            warm();
            snprintf(path, sizeof path, "%s/told", v[1]);
            P(size(path)); P(size("told")); P(size("./sub/..//told")); P(size("sub/told"));
            P(lstat(path, &s) ? 0 : s.st_size); P(fstatat(AT_FDCWD, "told", &s, AT_SYMLINK_NOFOLLOW) ? 0 : s.st_size);
            P(statx(AT_FDCWD, "told", 0, STATX_BASIC_STATS | STATX_BTIME, &x) ? 0 : x.stx_size);
            P(x.stx_btime.tv_nsec); P(x.stx_mnt_id); P(x.stx_nlink); P(s.st_mode == (S_IFREG | 0640)); P(s.st_ino); P(s.st_mtim.tv_nsec);
            puts("");
            P(size("missing")); P(E(access("missing", F_OK))); P(E(open("missing", O_RDONLY))); P(size("told/x")); P(size("told/"));
            P(E(access("told", F_OK)));
            memset(room, 0, sizeof room); P(readlink("link", room, sizeof room)); printf("%s ", room); P(E(readlink("told", room, 9)));
            puts("");
            printf("%s ", realpath("sub/../sub/./other-name", room) ? room + strlen(v[1]) : "none");
            DIR *d = opendir("sub"); struct dirent *e; while ((e = readdir(d))) printf("%s:%ld:%d ", e->d_name, (long)e->d_ino, e->d_type);
            P(fstatat(dirfd(d), "told", &s, 0) ? 0 : s.st_size);
            rewinddir(d); int n = 0; while (readdir(d)) n++; P(n); closedir(d);
            puts("");
            return 0;
        }"#,
    );
    let root = fs::canonicalize(program.dir.path()).expect("canonical");
    let run = program.run(&[root.to_str().expect("text")]);
    let lines: Vec<&str> = run.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "4711 4711 4711 4711 4711 4711 4711 4 9 3 1 60 2");
    assert_eq!(lines[1], "-2 -2 -2 -20 -20 1 6 a lie! -22");
    // A relative look by a descriptor and what follows a change of position are the kernel's.
    assert_eq!(lines[2], "/sub/other-name .:50:4 ..:50:4 told:60:8 other-name:60:8 4 3");
    assert_eq!((run.event(EventKind::Stat, "/told"), run.event(EventKind::Stat, "/missing")), (Some(0), Some(2)));
    assert_eq!(run.event(EventKind::List, "/sub"), Some(0));
}

#[test]
fn what_is_not_known_exactly_is_the_kernels() {
    let source = r#"
        int main(int c, char **v) {
            struct stat s; struct statx x;
            warm();
            P(size("untold")); P(size("link")); P(size("real/../told")); P(size(""));
            P(fstatat(AT_FDCWD, "told", &s, 0x2000) ? 0 : s.st_size);
            P(statx(AT_FDCWD, "told", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &x) ? 0 : x.stx_size);
            P(statx(AT_FDCWD, "told", 0, STATX_BASIC_STATS, &x) ? 0 : x.stx_size);
            P(E(access("told", W_OK)));
            P(size("told"));
            return 0;
        }"#;
    let (program, mut map) = mapped(source);
    let run = program.run(&[]);
    assert_eq!(run.stdout.trim(), "4 4 4 -2 4 4 4 1 4711");
    map.notice.write_all(b"x").expect("writes");
    assert_eq!(program.run(&[]).stdout.trim(), "4 4 4 -2 4 4 4 1 4", "a notice waits");
}

#[test]
fn the_current_folder_is_followed() {
    let (program, _map) = mapped(
        r#"
        int main(int c, char **v) {
            warm();
            P(size("told")); P(chdir("sub")); P(size("told")); P(size("../told")); P(size("none")); P(chdir(".."));
            int child = fork();
            if (!child) { P(size("told")); P(chdir("/")); P(size("told")); fflush(stdout); _exit(0); }
            fflush(stdout); waitpid(child, 0, 0);
            child = vfork();
            if (!child) { int bad = chdir("/") || size("told") != -ENOENT; _exit(bad); }
            int status; waitpid(child, &status, 0); P(status); P(size("told"));
            return 0;
        }"#,
    );
    let run = program.run(&[]);
    assert!(run.stdout.contains("4711 0 4711 4711 -2 0 "), "{}", run.stdout);
    assert!(run.stdout.contains("4711 0 -2 "), "{}", run.stdout);
    // Behind a `vfork` child that went elsewhere the folder is not followed any more.
    assert!(run.stdout.trim_end().ends_with("0 4"), "{}", run.stdout);
}

#[test]
fn a_map_of_somebody_elses_making_is_not_used() {
    let source = r#"int main(void) { warm(); P(size("told")); return 0; }"#;
    let said = |prepare: &dyn Fn(&Path)| {
        let (program, map) = mapped(source);
        prepare(&map.path);
        program.run(&[]).stdout.trim().to_owned()
    };
    assert_eq!(said(&|_| {}), "4711");
    assert_eq!(said(&|path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("chmod")), "4");
    assert_eq!(
        said(&|path| fs::write(path.with_file_name("x"), "")
            .and_then(|()| fs::rename(path.with_file_name("x"), path))
            .expect("moves")),
        "4"
    );
    let link = |path: &Path| {
        fs::rename(path, path.with_file_name("real")).expect("moves");
        std::os::unix::fs::symlink("real", path).expect("links");
    };
    assert_eq!(said(&link), "4");
    let cut = |path: &Path| File::options().write(true).open(path).expect("opens").set_len(9000).expect("cuts");
    assert_eq!(said(&cut), "4");
}

#[test]
fn whoever_becomes_another_user_asks_the_kernel() {
    if fs::metadata("/proc/self").expect("there").uid() != 0 {
        return;
    }
    let (program, _map) = mapped(r#"int main(void) { warm(); P(size("told")); P(seteuid(65534)); P(size("told")); return 0; }"#);
    fs::set_permissions(program.dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(program.run(&[]).stdout.trim(), "4711 0 4");
}

/// libc goes through folders by system calls of its own.
#[test]
fn folders_that_libc_changes_to_are_followed() {
    let said = |body: &str| {
        let (program, _map) = mapped(&format!(
            "#include <ftw.h>\n#include <fts.h>\n\
             static int visit(const char *p, const struct stat *s, int t, struct FTW *f) {{ if (t == FTW_F) P(size(p + f->base)); return 0; }}\n\
             static void walk(int how) {{ char *v[] = {{\"real\", 0}}; FTS *f = fts_open(v, FTS_PHYSICAL | how, 0);\n\
             for (FTSENT *e; (e = fts_read(f));) if (e->fts_info == FTS_F) P(size(e->fts_accpath)); fts_close(f); }}\n\
             int main(void) {{ warm(); P(size(\"told\")); {body} P(size(\"told\")); return 0; }}"
        ));
        program.run(&[]).stdout.trim().to_owned()
    };
    assert_eq!(said("nftw(\"real\", visit, 8, FTW_CHDIR);"), "4711 4 4");
    assert_eq!(said("nftw64(\"real\", (void *)visit, 8, FTW_CHDIR);"), "4711 4 4");
    assert_eq!(said("walk(0);"), "4711 4 4");
    // By their whole names files are found in the same folder. (It has no such folder in the map.)
    assert_eq!(said("nftw(\"real\", visit, 8, 0);"), "4711 4711 4711");
    assert_eq!(said("walk(FTS_NOCHDIR);"), "4711 -2 4711");
    assert_eq!(said("fflush(stdout); if (daemon(0, 1)) return 1;").split_whitespace().last(), Some("-2"));
}
