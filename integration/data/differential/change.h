// One random change of the tree, by whichever call. Most fail, since the tree is small: a failed call is one to compare behind, too.
#pragma once
#include "shared.h"

static int under_the_shim;

// A descriptor that stays open while the file's names come and go.
static __thread int held = -1;

static void remove_below(const char *path, int depth) {
    static const char *const names[] = {"a", "b", "c", "dd", "e.rs", ".f"};
    if (unlink(path) == 0 || rmdir(path) == 0 || depth == 0) return;
    for (int n = 0; n < 6; n++) {
        char below[PATH_ROOM];
        snprintf(below, sizeof below, "%.4000s/%s", path, names[n]);
        remove_below(below, depth - 1);
    }
    rmdir(path);
}

static void write_some(int fd, unsigned most) {
    static const char text[20000];
    if (fd >= 0 && write(fd, text, roll(most)) < 0) return;
}

static void write_to(const char *path, int flags, unsigned most) {
    int fd = open(path, O_WRONLY | O_NONBLOCK | flags, 0644);
    write_some(fd, most);
    if (fd >= 0) close(fd);
}

static void set_times(const char *path) {
    struct timespec times[2];
    for (int n = 0; n < 2; n++) {
        time_t now = time(NULL);
        time_t choices[] = {now, now - roll(200000), roll(1u << 30), now + roll(100000), -(time_t)roll(1000)};
        times[n].tv_sec = choices[roll(5)];
        long parts[] = {roll(1000000000), 0, UTIME_NOW, UTIME_OMIT};
        times[n].tv_nsec = parts[roll(4)];
    }
    // One time alone makes no notice of the right kind, but for the shim: see vrift_core::vdir.
    int alone = (times[0].tv_nsec == UTIME_OMIT) != (times[1].tv_nsec == UTIME_OMIT);
    if (alone && !under_the_shim) return;
    utimensat(AT_FDCWD, path, times, roll(2) ? AT_SYMLINK_NOFOLLOW : 0);
}

static void link_somewhere(const char *at, const char *other) {
    char target[PATH_ROOM];
    switch (roll(5)) {
    case 0: absolute(target, all->root, other); break;
    case 1: snprintf(target, sizeof target, "../%.4000s", other); break;
    case 2: strcpy(target, "none/where"); break;
    case 3: strcpy(target, "."); break;
    default: strcpy(target, other);
    }
    if (symlink(target, at) != 0) return;
}

// Renames the folder that this process is in, to a name beside it.
static void move_own_folder(void) {
    char here[PATH_ROOM], there[PATH_ROOM];
    if (raw(SYS_getcwd, (long)here, PATH_MAX, 0, 0, 0) <= 0) return;
    char *name = strrchr(here, '/');
    if (strcmp(here, all->root) == 0 || strncmp(here, all->root, strlen(all->root)) != 0 || !name) return;
    snprintf(there, sizeof there, "%.*s/%s", (int)(name - here), here, roll(2) ? "a" : "dd");
    strcpy(all->last[0], here + strlen(all->root) + 1);
    strcpy(all->last[1], there + strlen(all->root) + 1);
    rename(here, there);
}

// Into a folder of the project, mostly; at times out of it.
static void go_somewhere(const char *one) {
    int fd;
    switch (roll(6)) {
    case 0: if (chdir(all->root) != 0) return; break;
    case 1: if (chdir(all->outside) != 0) return; break;
    case 2: if (chdir("..") != 0) return; break;
    case 3:
        fd = open(one, O_RDONLY | O_DIRECTORY);
        if (fd >= 0) {
            if (fchdir(fd) != 0) abort();
            close(fd);
        }
        break;
    default: if (chdir(one) != 0) return;
    }
}

static void change(void) {
    char one[PATH_ROOM], two[PATH_ROOM], spare[PATH_ROOM];
    plain_path(all->last[0]);
    plain_path(all->last[1]);
    absolute(one, all->root, all->last[0]);
    absolute(two, all->root, all->last[1]);
    absolute(spare, all->outside, "spare");
    char byte;
    int fd;
    switch (roll(34)) {
    case 0: case 1: case 2: case 3: mkdir(one, 0755); break;
    case 4: case 5: fd = open(one, O_WRONLY | O_CREAT | O_EXCL, 0600); if (fd >= 0) close(fd); break;
    case 6: case 7: write_to(one, O_CREAT | O_TRUNC, 3000); break;
    case 8: write_to(one, O_CREAT | O_TRUNC, 20000); break;
    case 9: write_to(one, O_APPEND, 100); break;
    case 10: if (truncate(one, roll(6000)) != 0) break; break;
    case 11: case 12: rename(one, two); break;
    case 13: renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE); break;
    case 14: renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_NOREPLACE); break;
    case 15: unlink(one); break;
    case 16: rmdir(one); break;
    case 17: remove_below(one, 3); break;
    case 18: if (link(one, two) != 0) break; break;
    case 19: case 20: link_somewhere(one, all->last[1]); break;
    case 21: chmod(one, (mode_t[]){0644, 0600, 0755, 0444, 0000, 04711}[roll(6)]); break;
    case 22: set_times(one); break;
    case 23: case 24: go_somewhere(one); break;
    case 25: move_own_folder(); break;
    // A name outside the project, of which nobody is told, and what is written through it.
    case 26:
        if (link(one, spare) == 0) {
            write_to(spare, O_APPEND, 50);
            unlink(spare);
        }
        break;
    // Out of the project and in again.
    case 27: if (rename(one, spare) == 0 && rename(spare, two) != 0) remove_below(spare, 3); break;
    case 28:
        if (held >= 0) close(held);
        held = open(one, O_RDWR | O_NONBLOCK);
        break;
    case 29: write_some(held, 200); break;
    case 30: if (held >= 0 && (roll(2) ? fchmod(held, 0640) : ftruncate(held, roll(5000))) != 0) break; break;
    case 31: if (held >= 0 && fallocate(held, 0, 0, roll(30000) + 1) != 0) break; break;
    case 32: if (roll(2) ? mkfifo(one, 0644) : lsetxattr(one, "user.x", &byte, roll(2), 0)) break; break;
    // Reading sets a time as well, by rules of its own.
    default:
        fd = open(one, O_RDONLY | O_NONBLOCK);
        if (fd >= 0 && read(fd, &byte, 1) < 0) byte = 0;
        if (fd >= 0) close(fd);
    }
}
