/* A library to preload, by which every sync of a file does what the file named by SYNC_FAULT says:
   a number of milliseconds that it takes longer, or "eio" for a sync that fails. An empty or absent
   file changes nothing. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int fault(void) {
    const char *path = getenv("SYNC_FAULT");
    char text[16] = {0};
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length >= 3 && strncmp(text, "eio", 3) == 0) {
        errno = EIO;
        return -1;
    }
    long pause_ms = atol(text);
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000};
    if (pause_ms > 0)
        nanosleep(&pause, NULL);
    return 0;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fault() ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fault() ? -1 : real(fd);
}
