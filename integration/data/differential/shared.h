#pragma once
// What the processes of the differential test share, and what all of its files need. See main.c.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { COMPARERS = 64, KINDS = 10, PATH_ROOM = 5000 };

// One for all processes, in a file that they map. The lock keeps changes (for writing) and comparisons (for reading) apart:
// what is compared while something changes may rightly differ.
struct shared {
    pthread_rwlock_t lock;
    _Atomic int64_t calm_until;         // no change before that, nanoseconds
    _Atomic uint64_t changes;           // finished
    _Atomic uint64_t seen[COMPARERS];   // by each thread that compares: the changes behind which it has compared
    _Atomic int comparers;
    _Atomic int stop;
    _Atomic uint64_t compared, different, again;
    _Atomic uint64_t watched[KINDS], silent[KINDS]; // comparisons watched for system calls, and those without one
    _Atomic int unwatched;              // the kernel does not tell of system calls
    uint64_t wanted, seed;
    char root[256], outside[256];       // the project; a folder of the same file system that is not in it
    char last[2][PATH_ROOM];            // what the last change was about
};

static struct shared *all;

// A generator of its own for each thread.
static __thread uint64_t dice_state;

static void dice_begin(uint64_t seed, unsigned who) { dice_state = seed * 0x9e3779b97f4a7c15u + who * 0xd1342543de82ef95u + 1; }

static unsigned roll(unsigned sides) {
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((dice_state >> 33) % sides);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000l + now.tv_nsec;
}

// The kernel itself: `syscall()` is libc's, and the shim replaces it.
static long raw(long number, long a, long b, long c, long d, long e) {
    long result;
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    result = x0;
#else
#error "no raw system calls for this architecture"
#endif
    return result;
}

// A path below the root, plainly spelt, of few: they are to meet.
static void plain_path(char *to) {
    static const char *const names[] = {"a", "b", "c", "dd", "e.rs", ".f"};
    *to = 0;
    for (unsigned n = 1 + roll(3); n > 0; n--) {
        strcat(strcat(to, names[roll(6)]), n > 1 ? "/" : "");
    }
}

static void absolute(char *to, const char *base, const char *path) { snprintf(to, PATH_ROOM, "%s/%s", base, path); }
