/* Counts the calls by which a process changes files under one folder, and kills it or fills its disk at one of them.
 *
 * Loaded with LD_PRELOAD; does nothing until `faults_arm` is called, as a forked child does for itself.
 *   gcc -O1 -shared -fPIC -o faults.so faults.c -ldl
 *
 * kind 0 only counts. Kind 1 kills the process at call `at`: a write then leaves the first half of its bytes. Kind 2
 * fills the disk at call `at`: the first half of a write arrives, everything that would take space fails from then on,
 * and what frees space still works.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, FULL = 2 };
enum { GO_ON, HALF, FAIL };

static char under[PATH_MAX];
static size_t under_length;
static int armed, kind, at, names_descriptor = -1;
static _Atomic int *num_calls;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

/* Count the changing calls of this process to files under `folder` into `calls`, which its parent shares; names of
 * calls go, a line each, to the descriptor `names` unless it is -1. */
void faults_arm(const char *folder, int how, int call, _Atomic int *calls, int names) {
    strncpy(under, folder, sizeof under - 1);
    under_length = strlen(under);
    kind = how, at = call, num_calls = calls, names_descriptor = names;
    armed = 1;
}

static int is_ours(const char *path) { return path && strncmp(path, under, under_length) == 0; }

static int is_ours_open(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

static void die(void) { REAL(kill)(getpid(), SIGKILL); }

/* What to do with a call that changes a file: `frees` space (unlink) never fails, `writes` can stop half-way. */
static int verdict(const char *name, const char *path, int frees, int writes) {
    int number = atomic_fetch_add(num_calls, 1) + 1;
    if (names_descriptor >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%d %s %s\n", number, name, path ? path : "");
        REAL(write)(names_descriptor, line, (size_t)length);
    }
    if (kind == COUNT || number < at) return GO_ON;
    if (kind == KILL && number == at) {
        if (!writes) die();
        return HALF;
    }
    if (kind != FULL || frees) return GO_ON;
    errno = ENOSPC;
    return number == at && writes ? HALF : FAIL;
}

static int path_verdict(const char *name, const char *path, int frees) {
    return armed && is_ours(path) ? verdict(name, path, frees, 0) : GO_ON;
}

static int descriptor_verdict(const char *name, int descriptor, int writes) {
    return armed && is_ours_open(descriptor) ? verdict(name, NULL, 0, writes) : GO_ON;
}

#define WRITES(name, prototype, arguments, half_arguments, count)                                                      \
    ssize_t name prototype {                                                                                           \
        int what = descriptor_verdict(#name, descriptor, 1);                                                           \
        if (what == FAIL || (what == HALF && kind == FULL && (count) < 2)) { errno = ENOSPC; return -1; }              \
        if (what == GO_ON) return REAL(name) arguments;                                                                \
        ssize_t written = (count) < 2 ? 0 : REAL(name) half_arguments;                                                 \
        if (kind == KILL) die();                                                                                       \
        return written;                                                                                                \
    }

WRITES(write, (int descriptor, const void *bytes, size_t count), (descriptor, bytes, count),
       (descriptor, bytes, count / 2), count)
WRITES(pwrite, (int descriptor, const void *bytes, size_t count, off_t place), (descriptor, bytes, count, place),
       (descriptor, bytes, count / 2, place), count)
WRITES(pwrite64, (int descriptor, const void *bytes, size_t count, off64_t place), (descriptor, bytes, count, place),
       (descriptor, bytes, count / 2, place), count)
WRITES(writev, (int descriptor, const struct iovec *parts, int count), (descriptor, parts, count),
       (descriptor, parts, count / 2), count)
WRITES(sendfile, (int descriptor, int source, off_t *place, size_t count), (descriptor, source, place, count),
       (descriptor, source, place, count / 2), count)
WRITES(sendfile64, (int descriptor, int source, off64_t *place, size_t count), (descriptor, source, place, count),
       (descriptor, source, place, count / 2), count)

ssize_t copy_file_range(int source, off64_t *from, int descriptor, off64_t *to, size_t count, unsigned flags) {
    int what = descriptor_verdict("copy_file_range", descriptor, 1);
    if (what == FAIL) { errno = ENOSPC; return -1; }
    if (what == GO_ON) return REAL(copy_file_range)(source, from, descriptor, to, count, flags);
    ssize_t copied = REAL(copy_file_range)(source, from, descriptor, to, count / 2, flags);
    if (kind == KILL) die();
    return copied;
}

#define CHANGES(verdict_of, type, name, prototype, arguments)                                                          \
    type name prototype {                                                                                              \
        if (verdict_of == FAIL) { errno = ENOSPC; return -1; }                                                         \
        return REAL(name) arguments;                                                                                   \
    }
#define BY_DESCRIPTOR(name, prototype, arguments) \
    CHANGES(descriptor_verdict(#name, descriptor, 0), int, name, prototype, arguments)
#define BY_PATH(name, path, frees, prototype, arguments) \
    CHANGES(path_verdict(#name, path, frees), int, name, prototype, arguments)

BY_DESCRIPTOR(fsync, (int descriptor), (descriptor))
BY_DESCRIPTOR(fdatasync, (int descriptor), (descriptor))
BY_DESCRIPTOR(ftruncate, (int descriptor, off_t size), (descriptor, size))
BY_DESCRIPTOR(ftruncate64, (int descriptor, off64_t size), (descriptor, size))
BY_PATH(rename, new, 0, (const char *old, const char *new), (old, new))
BY_PATH(renameat, new, 0, (int from, const char *old, int to, const char *new), (from, old, to, new))
BY_PATH(renameat2, new, 0, (int from, const char *old, int to, const char *new, unsigned flags),
        (from, old, to, new, flags))
BY_PATH(link, new, 0, (const char *old, const char *new), (old, new))
BY_PATH(linkat, new, 0, (int from, const char *old, int to, const char *new, int flags), (from, old, to, new, flags))
BY_PATH(mkdir, path, 0, (const char *path, mode_t mode), (path, mode))
BY_PATH(unlink, path, 1, (const char *path), (path))
BY_PATH(rmdir, path, 1, (const char *path), (path))

/* Removing a tree goes by the open folder above each name. */
int unlinkat(int folder, const char *path, int flags) {
    if (armed && is_ours_open(folder)) verdict("unlinkat", path, 1, 0);
    return REAL(unlinkat)(folder, path, flags);
}

#define MAKES(flags) ((flags) & (O_CREAT | O_TRUNC))
#define MODE(flags) ({ va_list more; va_start(more, flags); mode_t given = MAKES(flags) ? va_arg(more, mode_t) : 0;    \
                       va_end(more); given; })
#define OPENS(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                       \
        mode_t mode = MODE(flags);                                                                                     \
        if (MAKES(flags) && path_verdict(#name, path, 0) == FAIL) { errno = ENOSPC; return -1; }                       \
        return REAL(name)(path, flags, mode);                                                                          \
    }
#define OPENS_AT(name)                                                                                                 \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        mode_t mode = MODE(flags);                                                                                     \
        if (MAKES(flags) && path_verdict(#name, path, 0) == FAIL) { errno = ENOSPC; return -1; }                       \
        return REAL(name)(folder, path, flags, mode);                                                                  \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
