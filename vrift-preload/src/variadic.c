/* The variadic exec functions. Stable Rust cannot define variadic functions; these collect their arguments into a list and
 * call the list forms, which are hooked in Rust. See execl(3). */

#include <alloca.h>
#include <stdarg.h>
#include <stddef.h>

extern char **environ;

int execve(const char *path, char *const argv[], char *const envp[]);
int execvpe(const char *file, char *const argv[], char *const envp[]);

#define COLLECT(first, argv, last)                       \
    va_list list;                                        \
    size_t count = 1;                                    \
    va_start(list, first);                               \
    while (va_arg(list, char *) != NULL)                 \
        count++;                                         \
    va_end(list);                                        \
    char **argv = alloca((count + 1) * sizeof *argv);    \
    va_start(list, first);                               \
    argv[0] = (char *)first;                             \
    for (size_t at = 1; at <= count; at++)               \
        argv[at] = va_arg(list, char *);                 \
    last;                                                \
    va_end(list)

int vrift_execl(const char *path, const char *first, ...)
{
    COLLECT(first, argv, (void)0);
    return execve(path, argv, environ);
}

int vrift_execlp(const char *file, const char *first, ...)
{
    COLLECT(first, argv, (void)0);
    return execvpe(file, argv, environ);
}

int vrift_execle(const char *path, const char *first, ...)
{
    char *const *envp;
    COLLECT(first, argv, envp = va_arg(list, char *const *));
    return execve(path, argv, envp);
}
