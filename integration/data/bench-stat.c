// What it costs to look at a file: through libc under the shim, and by the bare system call, in turn.
//
//   bench-stat ROUNDS NAME PATH [NAME PATH]…
//
// Prints for each: its name, nanoseconds of a look by the kernel and by libc (medians of rounds), and how many of 1,000 answers of
// libc came without a system call. Of a path that ends in a slash all names are read, from opening it to closing it: a stream has
// a descriptor, so none of these comes without a system call.
#include "differential/compare.h"

#include <dirent.h>

enum { LOOKS = 2000, LISTINGS = 20 };

static int is_listed(const char *path) { return path[strlen(path) - 1] == '/'; }

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static long by_kernel(const char *path) {
    static char records[1 << 15];
    long names = 0, fd = raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0);
    for (long len; (len = raw(SYS_getdents64, fd, (long)records, sizeof records, 0, 0)) > 0;) {
        for (long at = 0; at < len; at += ((struct dirent64 *)(records + at))->d_reclen) names++;
    }
    raw(SYS_close, fd, 0, 0, 0, 0);
    return names;
}

static long by_stream(const char *path) {
    DIR *dir = opendir(path);
    long names = 0;
    while (dir && readdir(dir)) names++;
    if (dir) closedir(dir);
    return names;
}

static double listing(const char *path, int by_libc) {
    int64_t began = now_ns();
    for (int n = 0; n < LISTINGS; n++) {
        if ((by_libc ? by_stream(path) : by_kernel(path)) < 1002) exit(3);
    }
    return (double)(now_ns() - began) / LISTINGS;
}

static double round_of(const char *path, int by_libc) {
    if (is_listed(path)) return listing(path, by_libc);
    struct stat stat_buffer;
    int64_t began = now_ns();
    for (int n = 0; n < LOOKS; n++) {
        if (by_libc) stat(path, &stat_buffer);
        else raw(SYS_newfstatat, AT_FDCWD, (long)path, (long)&stat_buffer, 0, 0);
    }
    return (double)(now_ns() - began) / LOOKS;
}

int main(int count, char **args) {
    static struct shared mine;
    all = &mine;
    int rounds = atoi(args[1]), asked = (count - 2) / 2;
    double *times[2] = {malloc(sizeof(double) * rounds), malloc(sizeof(double) * rounds)}, medians[64][2];
    if (asked > 64) return 2;
    for (int which = 0; which < asked; which++) {
        const char *path = args[3 + 2 * which];
        struct stat buffer;
        // The keeper looks for questions a few times a second.
        for (int n = 0; n < 100; n++) {
            is_listed(path) ? (void)by_stream(path) : (void)stat(path, &buffer);
            usleep(3000);
        }
        for (int n = 0; n < rounds; n++) {
            for (int by_libc = 0; by_libc < 2; by_libc++) times[by_libc][n] = round_of(path, by_libc);
        }
        for (int by_libc = 0; by_libc < 2; by_libc++) {
            qsort(times[by_libc], rounds, sizeof(double), by_value);
            medians[which][by_libc] = times[by_libc][rounds / 2];
        }
    }
    // From here on each system call takes longer.
    watch_calls();
    for (int which = 0; which < asked; which++) {
        int silent = 0;
        struct stat buffer;
        for (int n = 0; n < 1000; n++) {
            entered = 0, selector = 1;
            stat(args[3 + 2 * which], &buffer);
            selector = 0;
            silent += !entered;
        }
        printf("%s %.1f %.1f %d\n", args[2 + 2 * which], medians[which][0], medians[which][1], mine.unwatched ? -1 : silent);
    }
    return 0;
}
