/* What the kernel does to a daemon, made by a library that is loaded before all others (LD_PRELOAD).

   IBBRIDGE_TEST_CLOCK names a file with a 64-bit number: so many seconds are added to the time of day.
   IBBRIDGE_TEST_HANG names a file: while it is there, whatever writes to a file of a directory "store" or "records", or
   waits for its disk, does not return. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;
static const char *hang;

__attribute__((constructor)) static void begin(void) {
    const char *clock = getenv("IBBRIDGE_TEST_CLOCK");
    hang = getenv("IBBRIDGE_TEST_HANG");
    if (clock) {
        int file = open(clock, O_RDONLY | O_CLOEXEC);
        void *found = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) ahead = found;
        close(file);
    }
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (ahead && id == CLOCK_REALTIME) now->tv_sec += *ahead;
    return result;
}

static void wait_for_disk(int file) {
    char link[64], path[4096];
    if (!hang || access(hang, F_OK)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    if (!strstr(path, "/store/") && !strstr(path, "/records/")) return;
    while (!access(hang, F_OK)) usleep(1000);
}

#define SLOW(type, name, arguments, call)                                     \
    type name arguments {                                                     \
        static type(*real) arguments;                                         \
        if (!real) real = dlsym(RTLD_NEXT, #name);                            \
        wait_for_disk(file);                                                  \
        return real call;                                                     \
    }

SLOW(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
SLOW(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
SLOW(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
SLOW(int, fsync, (int file), (file))
SLOW(int, fdatasync, (int file), (file))
SLOW(int, ftruncate, (int file, off_t size), (file, size))
SLOW(int, ftruncate64, (int file, off64_t size), (file, size))
