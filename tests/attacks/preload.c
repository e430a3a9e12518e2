/* What the kernel does to a daemon, made by a library that is loaded before all others (LD_PRELOAD).

   IBBRIDGE_TEST_CLOCK names a file with a 64-bit number: so many seconds are added to the time of day.
   IBBRIDGE_TEST_HANG names a file: while it is there, whatever writes to a file of a directory "store" or "records", or
   waits for its disk, does not return.
   IBBRIDGE_TEST_WRITES names a file with a 64-bit number: the process is killed before it writes to a file or a socket,
   or waits for a disk, for that many-th time. The number counts down. At 0 it stands still, and nothing is killed. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead, *writes;
static const char *hang;

static volatile int64_t *number_in(const char *path) {
    if (!path) return NULL;
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return found == MAP_FAILED ? NULL : found;
}

__attribute__((constructor)) static void begin(void) {
    hang = getenv("IBBRIDGE_TEST_HANG");
    ahead = number_in(getenv("IBBRIDGE_TEST_CLOCK"));
    writes = number_in(getenv("IBBRIDGE_TEST_WRITES"));
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

static void count_down(void) {
    if (writes && *writes > 0 && __sync_sub_and_fetch(writes, 1) == 0) kill(getpid(), SIGKILL);
}

#define SLOW(type, name, arguments, call)                                     \
    type name arguments {                                                     \
        static type(*real) arguments;                                         \
        if (!real) real = dlsym(RTLD_NEXT, #name);                            \
        wait_for_disk(file);                                                  \
        count_down();                                                         \
        return real call;                                                     \
    }

SLOW(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
SLOW(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
SLOW(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
SLOW(int, fsync, (int file), (file))
SLOW(int, fdatasync, (int file), (file))
SLOW(int, ftruncate, (int file, off_t size), (file, size))
SLOW(int, ftruncate64, (int file, off64_t size), (file, size))
SLOW(ssize_t, send, (int file, const void *data, size_t size, int flags), (file, data, size, flags))
SLOW(ssize_t, sendmsg, (int file, const struct msghdr *message, int flags), (file, message, flags))
