/* A library to preload, by which one chosen system call on files below one directory fails.

   fault_arm(directory, position, kind) makes the position-th call from now on fail: kind 0 with
   EIO, kind 1 with ENOSPC, kind 2 is a write of which only the first half is done (a call that
   writes nothing then succeeds). fault_disarm() ends that, and returns how many calls there were;
   fault_hit() tells which call failed: 0 none, 1 a write, 2 one that syncs, 3 another. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, OTHER = 3 };

static char directory[PATH_MAX];
static atomic_int position, seen, hit, kind;

void fault_arm(const char *below, int at, int how) {
    snprintf(directory, sizeof directory, "%s", below);
    kind = how;
    seen = 0;
    hit = 0;
    position = at;
}

int fault_disarm(void) {
    position = 0;
    return seen;
}

int fault_hit(void) { return hit; }

static int is_watched(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strncmp(path, directory, strlen(directory)) == 0;
}

/* Whether this call is the one: -1 fail with errno set, 1 do half, 0 do it. */
static int judge(int fd, int what) {
    int before = errno;
    if (!position || !is_watched(fd)) {
        errno = before;
        return 0;
    }
    if (++seen != position) {
        errno = before;
        return 0;
    }
    hit = what;
    if (kind == 2) {
        errno = before;
        return what == WRITES;
    }
    errno = kind == 0 ? EIO : ENOSPC;
    return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define SYNCING(name)                       \
    int name(int fd) {                      \
        if (judge(fd, SYNCS) < 0)           \
            return -1;                      \
        return REAL(name)(fd);              \
    }

SYNCING(fsync)
SYNCING(fdatasync)

ssize_t write(int fd, const void *data, size_t size) {
    int verdict = judge(fd, WRITES);
    if (verdict < 0)
        return -1;
    return REAL(write)(fd, data, verdict ? (size + 1) / 2 : size);
}

#define WRITING_AT(name, offset_type)                                       \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) {   \
        int verdict = judge(fd, WRITES);                                    \
        if (verdict < 0)                                                    \
            return -1;                                                      \
        return REAL(name)(fd, data, verdict ? (size + 1) / 2 : size, at);   \
    }

WRITING_AT(pwrite, off_t)
WRITING_AT(pwrite64, off64_t)

/* Half of several parts is half of the first. */
static ssize_t first_half(int fd, const struct iovec *parts, off64_t at) {
    size_t half = (parts[0].iov_len + 1) / 2;
    return at < 0 ? REAL(write)(fd, parts[0].iov_base, half)
                  : REAL(pwrite64)(fd, parts[0].iov_base, half, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int verdict = judge(fd, WRITES);
    if (verdict < 0)
        return -1;
    return verdict ? first_half(fd, parts, -1) : REAL(writev)(fd, parts, count);
}

#define WRITING_PARTS_AT(name, offset_type)                                     \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type at) { \
        int verdict = judge(fd, WRITES);                                        \
        if (verdict < 0)                                                        \
            return -1;                                                          \
        return verdict ? first_half(fd, parts, at) : REAL(name)(fd, parts, count, at); \
    }

WRITING_PARTS_AT(pwritev, off_t)
WRITING_PARTS_AT(pwritev64, off64_t)

#define RESIZING(name, offset_type)         \
    int name(int fd, offset_type size) {    \
        if (judge(fd, OTHER) < 0)           \
            return -1;                      \
        return REAL(name)(fd, size);        \
    }

RESIZING(ftruncate, off_t)
RESIZING(ftruncate64, off64_t)
