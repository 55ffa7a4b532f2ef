/* What the kernel takes for a sample, with no profiler around it: does what a sample of a busy thread does,
 * BYTES of the process PID's memory in seven parts standing for its stack.
 *
 * floor PID BYTES [ROUNDS]: every kind of sample in turn, 1,000 times a second, where each begins with a
 * sleep, and flat out. Prints the CPU microseconds of each, the least of ROUNDS (3) of half a second: on a
 * shared machine whatever else there is comes on top.
 *
 *   sleep      nothing but clock_nanosleep
 *   read       and one process_vm_readv
 *   ask        and three preads: statm, syscall, and the GIL
 *   pause      and PTRACE_SEIZE, INTERRUPT, waitid, PEEKUSER before the read, DETACH after it
 *
 * floor PID BYTES KIND HZ SECONDS: one kind, so often (0: flat out), for so long; prints how many samples.
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
    if (pread(mem, copy, 24, (off_t)address) < 0)
        fail("pread of its memory");
}

static void pause_it(void) {
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
        fail("ptrace");
    // It stops sooner than the kernel would wake us.
    siginfo_t stop = {0};
    while (!stop.si_pid)
        if (waitid(P_PID, (id_t)pid, &stop, WSTOPPED | WNOHANG | __WALL) && errno != EINTR)
            fail("waitid");
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

static void sample(int kind) {
    if (kind >= ASK)
        ask();
    if (kind >= PAUSE)
        pause_it();
    if (kind >= READ)
        read_stack();
    if (kind >= PAUSE && ptrace(PTRACE_DETACH, pid, 0, 0))
        fail("PTRACE_DETACH");
}

/* So many samples; flat out for hz 0. */
static void samples(int kind, int hz, long count) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (long i = 0; i < count; i++) {
        if (hz) {
            next.tv_nsec += 1000000000 / hz;
            next.tv_sec += next.tv_nsec / 1000000000;
            next.tv_nsec %= 1000000000;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
        sample(kind);
    }
}

/* The start of the first memory that it can write and that is large enough. */
static uintptr_t found(void) {
    char path[64], line[512], rights[8];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    if (!maps)
        fail(path);
    unsigned long start, end;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && rights[1] == 'w' && end - start > bytes) {
            fclose(maps);
            return start;
        }
    errno = ENOMEM;
    fail(path);
    return 0;
}

static int one_kind(char **words) {
    for (int kind = SLEEP; kind < KINDS; kind++)
        if (!strcmp(words[0], names[kind])) {
            int hz = atoi(words[1]);
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            double end = now.tv_sec + now.tv_nsec / 1e9 + atof(words[2]);
            long done = 0, some = hz ? hz / 20 + 1 : 5000;
            for (; now.tv_sec + now.tv_nsec / 1e9 < end; clock_gettime(CLOCK_MONOTONIC, &now), done += some)
                samples(kind, hz, some);
            printf("samples: %ld\n", done);
            return 0;
        }
    fprintf(stderr, "no such kind: %s\n", words[0]);
    return 2;
}

static int all_kinds(int rounds) {
    double least[2][KINDS];
    for (int round = 0; round < rounds; round++)
        for (int flat_out = 0; flat_out < 2; flat_out++)
            for (int kind = flat_out ? READ : SLEEP; kind < KINDS; kind++) {
                long count = flat_out ? 20000 : 500;
                double before = cpu_us();
                samples(kind, flat_out ? 0 : 1000, count);
                double took = (cpu_us() - before) / count;
                if (!round || took < least[flat_out][kind])
                    least[flat_out][kind] = took;
            }
    printf("CPU us per sample of %zu bytes\n%-8s%10s%10s\n", bytes, "", "1 kHz", "flat out");
    for (int kind = 0; kind < KINDS; kind++)
        if (kind == SLEEP)
            printf("%-8s%10.1f\n", names[kind], least[0][kind]);
        else
            printf("%-8s%10.1f%10.1f\n", names[kind], least[0][kind], least[1][kind]);
    return 0;
}

int main(int count, char **words) {
    if (count < 3 || count == 5 || count > 6) {
        fprintf(stderr, "usage: floor PID BYTES [ROUNDS | KIND HZ SECONDS]\n");
        return 2;
    }
    pid = atoi(words[1]);
    bytes = strtoul(words[2], NULL, 10);
    address = found();
    copy = malloc(bytes + 4096);
    if (!copy)
        fail("malloc");
    mem = opened("/proc/%d/mem");
    statm = opened("/proc/%d/statm");
    syscall_file = opened("/proc/%d/task/%d/syscall");
    prctl(PR_SET_TIMERSLACK, 1);
    return count == 6 ? one_kind(words + 3) : all_kinds(count == 4 ? atoi(words[3]) : 3);
}
