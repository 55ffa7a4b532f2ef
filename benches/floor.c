/* floor PID ADDRESS BYTES [ROUNDS]: what the kernel takes for a sample, with no profiler around it.
 *
 * Does by turns what a look at a busy thread does, BYTES at ADDRESS (hex) of the process PID in seven
 * parts standing for its stack, and prints the CPU microseconds of each kind of look: 1,000 times a
 * second, where each begins with a sleep, and flat out. ROUNDS (3) of half a second each, the least of
 * them is printed: on a shared machine whatever else there is comes on top.
 *
 *   sleep      nothing but clock_nanosleep
 *   read       and one process_vm_readv
 *   ask        and five preads: statm, syscall, and three fields of the GIL
 *   pause      and PTRACE_SEIZE, INTERRUPT, waitid, PEEKUSER before the read, DETACH after it
 *
 * cc -O2 -o floor benches/floor.c */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLEEP, READ, ASK, PAUSE, KINDS, PARTS = 7 };
static const char *const names[KINDS] = {"sleep", "read", "ask", "pause"};

static pid_t pid;
static uintptr_t address;
static size_t bytes;
static char *copy;
static int mem, statm, syscall_file;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double cpu_us(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1e6 + used.tv_nsec / 1e3;
}

static int opened(const char *format) {
    char path[64];
    snprintf(path, sizeof path, format, (int)pid, (int)pid);
    int file = open(path, O_RDONLY);
    if (file < 0)
        fail(path);
    return file;
}

static void ask(void) {
    if (pread(statm, copy, 160, 0) < 0 || pread(syscall_file, copy, 160, 0) < 0)
        fail("pread");
    for (int field = 0; field < 3; field++)
        if (pread(mem, copy, 8, (off_t)(address + 64 * field)) < 0)
            fail("pread of its memory");
}

static void pause_it(void) {
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
        fail("ptrace");
    siginfo_t stop = {0};
    while (waitid(P_PID, (id_t)pid, &stop, WSTOPPED | __WALL) && errno == EINTR)
        ;
    errno = 0;
    ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rax), 0);
    if (errno)
        fail("PTRACE_PEEKUSER");
}

static void read_stack(void) {
    struct iovec here = {copy, bytes}, there[PARTS];
    for (size_t part = 0; part < PARTS; part++)
        there[part] = (struct iovec){(void *)(address + part * (bytes / PARTS)), bytes / PARTS};
    if (process_vm_readv(pid, &here, 1, there, PARTS, 0) < 0)
        fail("process_vm_readv");
}

static double look(int kind, int hz) {
    int looks = hz ? hz / 2 : 20000;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    double before = cpu_us();
    for (int i = 0; i < looks; i++) {
        if (hz) {
            next.tv_nsec += 1000000000 / hz;
            next.tv_sec += next.tv_nsec / 1000000000;
            next.tv_nsec %= 1000000000;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
        if (kind >= ASK)
            ask();
        if (kind >= PAUSE)
            pause_it();
        if (kind >= READ)
            read_stack();
        if (kind >= PAUSE && ptrace(PTRACE_DETACH, pid, 0, 0))
            fail("PTRACE_DETACH");
    }
    return (cpu_us() - before) / looks;
}

int main(int count, char **words) {
    if (count < 4) {
        fprintf(stderr, "usage: floor PID ADDRESS BYTES [ROUNDS]\n");
        return 2;
    }
    pid = atoi(words[1]);
    address = strtoul(words[2], NULL, 16);
    bytes = strtoul(words[3], NULL, 10);
    int rounds = count > 4 ? atoi(words[4]) : 3;
    copy = malloc(bytes + 4096);
    if (!copy)
        fail("malloc");
    mem = opened("/proc/%d/mem");
    statm = opened("/proc/%d/statm");
    syscall_file = opened("/proc/%d/task/%d/syscall");
    prctl(PR_SET_TIMERSLACK, 1);
    double least[2][KINDS];
    for (int round = 0; round < rounds; round++)
        for (int flat_out = 0; flat_out < 2; flat_out++)
            for (int kind = flat_out ? READ : SLEEP; kind < KINDS; kind++) {
                double took = look(kind, flat_out ? 0 : 1000);
                if (!round || took < least[flat_out][kind])
                    least[flat_out][kind] = took;
            }
    printf("CPU us per look of %zu bytes\n%-8s%10s%10s\n", bytes, "", "1 kHz", "flat out");
    for (int kind = 0; kind < KINDS; kind++)
        if (kind == SLEEP)
            printf("%-8s%10.1f\n", names[kind], least[0][kind]);
        else
            printf("%-8s%10.1f%10.1f\n", names[kind], least[0][kind], least[1][kind]);
    return 0;
}
