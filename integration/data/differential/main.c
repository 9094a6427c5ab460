// The differential test of the VDir through the shim. Several processes, some under the shim and some static and therefore
// without it, change a small tree in every way; behind each change every thread of every process under the shim compares what
// libc answers with what the kernel answers.
//
//   differential FILE ROOT OUTSIDE STATIC WANTED SEED   starts everything, in a project under the shim
//   static FILE WHO                                     one of the processes without the shim
//   differential FILE join WHO                          one with it, of another project
//
// FILE is mapped by all. Ends with status 0 where nothing differed; prints numbers for `integration::differential`.
#include "change.h"
#include "compare.h"

enum { HOOKED = 3, UNHOOKED = 2 };

// A path as a program may spell it: absolute or not, with detours.
static void spell(char *to) {
    char plain[PATH_ROOM], odd[PATH_ROOM] = "";
    if (roll(2)) plain_path(plain);
    else strcpy(plain, all->last[roll(2)]);
    char *part = plain;
    if (roll(4) == 0) {
        // What is in it, or what it is in.
        char *slash = strrchr(plain, '/');
        if (roll(2) && slash) *slash = 0;
        else strcat(plain, roll(2) ? "/a" : "/none");
    }
    if (roll(3) == 0) {
        for (char *name = strsep(&part, "/"); name; name = strsep(&part, "/")) {
            static const char *const detours[] = {"", "", "", "./", "/", "../", "a/../", "none/../", ".f/..//"};
            strcat(strcat(strcat(odd, detours[roll(9)]), name), part ? "/" : "");
        }
        static const char *const ends[] = {"", "", "/", "/.", "/..", "//", "/./"};
        strcat(odd, ends[roll(7)]);
        strcpy(plain, odd);
    }
    switch (roll(8)) {
    case 0: case 1: case 2: case 3: snprintf(to, PATH_ROOM, "%s/%.4000s", all->root, plain); break;
    case 4: strcpy(to, roll(20) ? "." : ""); if (roll(4) == 0) strcpy(to, roll(2) ? ".." : all->root); break;
    case 5: snprintf(to, PATH_ROOM, "../%.4000s", plain); break;
    default: strcpy(to, plain);
    }
    if (roll(500) == 0) {
        // Too long, for a name or for a path.
        memset(odd, 'x', roll(2) ? 300 : 4090);
        odd[roll(2) ? 300 : 4095] = 0;
        strcat(strcat(to, "/"), odd);
    }
}

static void compare_some(unsigned count, int folder) {
    static __thread struct question q;
    for (unsigned n = 0; n < count; n++) {
        memset(q.path, 0, 1);
        spell(q.path);
        q.kind = roll(KINDS);
        q.folder = folder;
        q.len = roll(4) ? PATH_MAX : roll(8);
        q.flags = roll(2) ? AT_SYMLINK_NOFOLLOW : 0;
        if (q.kind == OPEN) q.flags = (int[]){O_RDONLY, O_RDONLY | O_CLOEXEC, O_PATH, O_RDONLY | O_DIRECTORY, O_RDONLY | O_NOFOLLOW, O_WRONLY}[roll(6)] | O_NONBLOCK;
        compare(&q);
    }
}

// A process of another folder: what it does must not lead its parent astray.
static void fork_and_compare(int folder) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        watch_calls();
        char there[PATH_ROOM], plain[PATH_ROOM];
        plain_path(plain);
        absolute(there, all->root, plain);
        compare_some(20, folder);
        if (chdir(there) == 0) compare_some(60, folder);
        fflush(NULL);
        _exit(0);
    }
    int status = 0;
    if (pid > 0) waitpid(pid, &status, 0);
    if (status != 0) atomic_fetch_add(&all->different, 1);
}

static void compare_behind_the_last(int slot, int folder) {
    // Who has compared behind the last change lets the next one come, except while it is to be calm.
    if (atomic_load(&all->seen[slot]) >= atomic_load(&all->changes) && all->changes > 0 && now_ns() >= atomic_load(&all->calm_until)) {
        usleep(50);
        return;
    }
    pthread_rwlock_rdlock(&all->lock);
    uint64_t changes = all->changes;
    compare_some(24, folder);
    if (roll(200) == 0) fork_and_compare(folder);
    pthread_rwlock_unlock(&all->lock);
    atomic_store(&all->seen[slot], changes);
    if (atomic_load(&all->compared) >= all->wanted) atomic_store(&all->stop, 1);
}

static int all_have_compared(void) {
    if (now_ns() < atomic_load(&all->calm_until)) return 0;
    for (int n = 0; n < atomic_load(&all->comparers); n++) {
        if (atomic_load(&all->seen[n]) < atomic_load(&all->changes)) return 0;
    }
    return 1;
}

// At times nothing changes for a while: the keeper needs some, and what it then puts into the map is to be compared as well.
static int64_t calm(void) {
    unsigned which = roll(1000);
    return which < 930 ? 0 : which < 994 ? 1000000 * (1 + roll(8)) : 1000000 * (60 + roll(100));
}

static void change_once(int hooked, int folder) {
    pthread_rwlock_wrlock(&all->lock);
    if (all_have_compared() && !all->stop) {
        change();
        atomic_fetch_add(&all->changes, 1);
        // Whoever changed it compares first, and at once.
        if (hooked) compare_some(8, folder);
        atomic_store(&all->calm_until, now_ns() + calm());
    }
    pthread_rwlock_unlock(&all->lock);
}

static void *compare_always(void *given) {
    int slot = (int)(intptr_t)given;
    dice_begin(all->seed, 100 + (unsigned)slot);
    watch_calls();
    int folder = open(all->root, O_PATH | O_DIRECTORY);
    while (!atomic_load(&all->stop)) compare_behind_the_last(slot, folder);
    return NULL;
}

static int hooked(int who) {
    under_the_shim = 1;
    dice_begin(all->seed, (unsigned)who);
    watch_calls();
    pthread_t thread;
    int folder = open(all->root, O_PATH | O_DIRECTORY);
    if (pthread_create(&thread, NULL, compare_always, (void *)(intptr_t)(2 * who + 1)) != 0) return 2;
    while (!atomic_load(&all->stop)) {
        compare_behind_the_last(2 * who, folder);
        if (all_have_compared()) change_once(1, folder);
    }
    pthread_join(thread, NULL);
    return 0;
}

static void *change_always(void *given) {
    dice_begin(all->seed, (unsigned)(intptr_t)given);
    while (!atomic_load(&all->stop)) {
        if (all_have_compared()) change_once(0, -1);
        else usleep(50);
    }
    return NULL;
}

static int unhooked(int who) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, change_always, (void *)(intptr_t)(1000 + who)) != 0) return 2;
    change_always((void *)(intptr_t)(2000 + who));
    pthread_join(thread, NULL);
    return 0;
}

static void map_shared(const char *file) {
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *all) != 0) exit(2);
    all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (all == MAP_FAILED) exit(2);
    close(fd);
}

static void begin(char **args) {
    snprintf(all->root, sizeof all->root, "%s", args[2]);
    snprintf(all->outside, sizeof all->outside, "%s", args[3]);
    all->wanted = strtoull(args[5], NULL, 10);
    all->seed = strtoull(args[6], NULL, 10);
    all->comparers = 2 * HOOKED;
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    // Comparisons are always under way: changes would wait for ever.
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&all->lock, &attributes);
}

// One of the processes under the shim belongs to the project at `second`, if there is one.
static void start_hooked(char **args, int who, const char *second) {
    fflush(NULL);
    if (fork() != 0) return;
    if (who > 0 || !second) exit(hooked(who));
    char number[16];
    snprintf(number, sizeof number, "%d", who);
    setenv("VRIFT_PROJECT_ROOT", second, 1);
    execlp("vrift", "vrift", "run", "--", args[0], args[1], "join", number, (char *)NULL);
    _exit(2);
}

int main(int count, char **args) {
    if (count < 3) return 2;
    map_shared(args[1]);
    if (count == 3) return unhooked(atoi(args[2]));
    if (count == 4) return hooked(atoi(args[3]));
    begin(args);
    for (int who = 0; who < HOOKED; who++) start_hooked(args, who, getenv("SECOND_PROJECT"));
    for (int who = 0; who < UNHOOKED; who++) {
        char number[16];
        snprintf(number, sizeof number, "%d", who);
        if (fork() == 0) {
            execl(args[4], args[4], args[1], number, (char *)NULL);
            _exit(2);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0) {
        if (status != 0) {
            fprintf(stderr, "a process ended with %x\n", status);
            failed = 1;
            atomic_store(&all->stop, 1);
        }
    }
    printf("comparisons %lu\nchanges %lu\ndifferent %lu\nagain %lu\nunwatched %d\n", all->compared, all->changes, all->different, all->again, all->unwatched);
    for (int kind = 0; kind < KINDS; kind++) printf("silent %lu of %lu %s\n", all->silent[kind], all->watched[kind], kind_names[kind]);
    return failed || all->different != 0;
}
