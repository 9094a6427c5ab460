// One comparison: what libc's function answers under the shim, and what the kernel answers.
#pragma once
#include "shared.h"

// What a call answered. Bytes that it leaves alone stay as they were before it.
struct answer {
    long result;
    int error;
    size_t used;
    union {
        struct stat stat;
        struct statx statx;
        char text[PATH_ROOM];
    };
};

enum kind { STAT, LSTAT, FSTATAT, STATX, ACCESS, FACCESSAT, READLINK, REALPATH, OPEN, AT_FOLDER };
static const char *const kind_names[KINDS] = {"stat", "lstat", "fstatat", "statx", "access", "faccessat", "readlink", "realpath", "open", "fstatat in a folder"};

// Which call, with which arguments.
struct question {
    enum kind kind;
    char path[PATH_ROOM];
    int flags;
    size_t len;
    int folder;
};

#define UNTOUCHED 0x5a
#define NO_ERROR 12345

// Counting system calls: the kernel sends a signal instead of doing one while the thread's selector says so
// (PR_SET_SYSCALL_USER_DISPATCH). The handler takes note, and has the call done after all.
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif
static __thread volatile char selector;
static __thread volatile int entered;

static void on_call(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    selector = 0;
    entered = 1;
#if defined(__x86_64__)
    // Behind the instruction, which is two bytes long; the number is in its register again.
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] -= 2;
#else
    (void)context;
#endif
}

static void watch_calls(void) {
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSYS, &action, NULL);
#if defined(__x86_64__)
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) == 0) return;
#endif
    atomic_store(&all->unwatched, 1);
}

static void forget(struct answer *answer) {
    answer->result = answer->error = 0;
    answer->used = 0;
    memset(answer->text, UNTOUCHED, answer->used = sizeof(struct statx));
}

static void ask_libc(const struct question *q, struct answer *answer, int watched) {
    forget(answer);
    char *path = NULL;
    errno = NO_ERROR;
    entered = 0;
    selector = (char)watched;
    switch (q->kind) {
    case STAT: answer->result = stat(q->path, &answer->stat); break;
    case LSTAT: answer->result = lstat(q->path, &answer->stat); break;
    case FSTATAT: answer->result = fstatat(AT_FDCWD, q->path, &answer->stat, q->flags); break;
    case STATX: answer->result = statx(AT_FDCWD, q->path, q->flags, STATX_BASIC_STATS | STATX_BTIME, &answer->statx); break;
    case ACCESS: answer->result = access(q->path, F_OK); break;
    case FACCESSAT: answer->result = faccessat(AT_FDCWD, q->path, F_OK, 0); break;
    case READLINK: answer->result = readlink(q->path, answer->text, q->len); break;
    case REALPATH: path = realpath(q->path, NULL); answer->result = path ? 0 : -1; break;
    case OPEN: answer->result = open(q->path, q->flags); break;
    case AT_FOLDER: answer->result = fstatat(q->folder, q->path, &answer->stat, q->flags); break;
    }
    selector = 0;
    answer->error = errno;
    if (q->kind == OPEN && answer->result >= 0) {
        close((int)answer->result);
        answer->result = 0;
    }
    if (q->kind == REALPATH) {
        // On success it leaves errno as it likes.
        if (path) answer->error = NO_ERROR, answer->used = strlen(strcpy(answer->text, path)) + 1;
        free(path);
    }
}

static void ask_kernel(const struct question *q, struct answer *answer) {
    forget(answer);
    long at = AT_FDCWD, path = (long)q->path, buffer = (long)answer->text, result = 0;
    switch (q->kind) {
    case STAT: result = raw(SYS_newfstatat, at, path, buffer, 0, 0); break;
    case LSTAT: result = raw(SYS_newfstatat, at, path, buffer, AT_SYMLINK_NOFOLLOW, 0); break;
    case FSTATAT: result = raw(SYS_newfstatat, at, path, buffer, q->flags, 0); break;
    case STATX: result = raw(SYS_statx, at, path, q->flags, STATX_BASIC_STATS | STATX_BTIME, buffer); break;
    case ACCESS: case FACCESSAT: result = raw(SYS_faccessat, at, path, F_OK, 0, 0); break;
    case READLINK: result = raw(SYS_readlinkat, at, path, buffer, q->len, 0); break;
    case REALPATH: result = raw(SYS_openat, at, path, O_PATH | O_CLOEXEC, 0, 0); break;
    case OPEN: result = raw(SYS_openat, at, path, q->flags, 0, 0); break;
    case AT_FOLDER: result = raw(SYS_newfstatat, q->folder, path, buffer, q->flags, 0); break;
    }
    if (q->kind == REALPATH && result >= 0) {
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%ld", result);
        long len = raw(SYS_readlinkat, at, (long)name, buffer, PATH_ROOM - 1, 0);
        answer->text[answer->used = (size_t)(len < 0 ? 0 : len)] = 0;
        answer->used++;
    }
    if ((q->kind == OPEN || q->kind == REALPATH) && result >= 0) {
        raw(SYS_close, result, 0, 0, 0, 0);
        result = 0;
    }
    answer->error = result < 0 ? (int)-result : NO_ERROR;
    answer->result = result < 0 ? -1 : result;
}

static int same(const struct answer *a, const struct answer *b) {
    return a->result == b->result && a->error == b->error && a->used == b->used && memcmp(a->text, b->text, a->used) == 0;
}

static void tell(const char *who, const struct question *q, const struct answer *answer) {
    fprintf(stderr, "  %s: %ld, error %d", who, answer->result, answer->error);
    const struct stat *s = &answer->stat;
    if (answer->result != 0) {
    } else if (q->kind == STATX) {
        const struct statx *x = &answer->statx;
        fprintf(stderr, ", ino %llu mode %o nlink %u size %llu blocks %llu mtime %lld.%09u ctime %lld.%09u atime %lld.%09u attributes %llx", x->stx_ino, x->stx_mode, x->stx_nlink, x->stx_size, x->stx_blocks, x->stx_mtime.tv_sec, x->stx_mtime.tv_nsec, x->stx_ctime.tv_sec, x->stx_ctime.tv_nsec, x->stx_atime.tv_sec, x->stx_atime.tv_nsec, x->stx_attributes);
    } else if (q->kind <= FSTATAT || q->kind == AT_FOLDER) {
        fprintf(stderr, ", ino %lu mode %o nlink %lu size %ld blocks %ld mtime %ld.%09ld ctime %ld.%09ld atime %ld.%09ld", s->st_ino, s->st_mode, s->st_nlink, s->st_size, s->st_blocks, s->st_mtim.tv_sec, s->st_mtim.tv_nsec, s->st_ctim.tv_sec, s->st_ctim.tv_nsec, s->st_atim.tv_sec, s->st_atim.tv_nsec);
    } else if (q->kind == REALPATH) {
        fprintf(stderr, ", %s", answer->text);
    }
    fprintf(stderr, "\n");
}

// Whether realpath(3) has an answer that open(2) has as well. In a folder that was removed it has none, and of a path that is too
// long it says what is wrong with its beginning.
static int is_comparable(const struct question *q) {
    char here[PATH_ROOM];
    if (q->kind == REALPATH && strlen(q->path) >= 4000) return 0;
    return q->kind != REALPATH || q->path[0] == '/' || raw(SYS_getcwd, (long)here, PATH_MAX, 0, 0, 0) > 0;
}

// The kernel is asked first, and what libc says next must be that. Nothing changes by a program meanwhile (the lock), but some
// fields change by themselves: atime when the keeper or a comparison reads (relatime), blocks when they are written back. Then
// libc's answer may lie behind the kernel's, and the kernel, asked again, must say the same as libc. An answer from before the
// last change never comes by: the kernel says otherwise both times, and what the keeper does later cannot make up for it, as
// libc is not asked again unless the kernel's own answers differ.
static void compare(const struct question *q) {
    static __thread struct answer libc_says, before, after;
    if (!is_comparable(q)) return;
    int watched = roll(16) == 0 && !atomic_load(&all->unwatched);
    for (int attempt = 0; attempt < 4; attempt++) {
        ask_kernel(q, &before);
        ask_libc(q, &libc_says, watched && attempt == 0);
        if (watched && attempt == 0) {
            atomic_fetch_add(&all->watched[q->kind], 1);
            if (!entered) atomic_fetch_add(&all->silent[q->kind], 1);
        }
        if (same(&libc_says, &before)) break;
        ask_kernel(q, &after);
        atomic_fetch_add(&all->again, 1);
        if (same(&libc_says, &after)) break;
        // A FIFO has a reader or none, by what other comparisons have open. The map says of opening that there is nothing, or nothing.
        if (q->kind == OPEN && libc_says.error != ENOENT && before.error != ENOENT) break;
        if (!same(&before, &after)) continue;
        if (atomic_fetch_add(&all->different, 1) < 20) {
            char here[PATH_ROOM] = "";
            raw(SYS_getcwd, (long)here, PATH_MAX, 0, 0, 0);
            fprintf(stderr, "DIFFERENT: %s of `%.300s` in %.300s, flags %x, behind change %lu of `%s`, `%s`, process %d\n", kind_names[q->kind], q->path, here, q->flags, (unsigned long)all->changes, all->last[0], all->last[1], getpid());
            tell("libc  ", q, &libc_says);
            tell("kernel", q, &before);
        }
        break;
    }
    atomic_fetch_add(&all->compared, 1);
}
