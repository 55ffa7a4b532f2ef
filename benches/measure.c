/* measure REPORT PROGRAM [ARGS...]: runs a program and writes what it took: one line into the file REPORT.
 *
 * The line is: wait status, user and system CPU in microseconds, peak RSS in KiB, wall time in
 * microseconds. Why this is not Python's os.wait4: the kernel keeps the larger of the old and the new
 * program's peak RSS over an exec, and a fork of Python has 15 MiB or more to begin with; a fork of this
 * has a few hundred KiB. The program's pid is written first, as `pid N`, so that it can be profiled.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long micros(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000LL + time.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;
    FILE *report;
    long long start;
    pid_t child;

    if (argc < 3 || (report = fopen(argv[1], "we")) == NULL)
        return 125;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    start = now();
    child = fork();
    if (child < 0)
        return 125;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    fprintf(report, "pid %d\n", (int)child);
    fflush(report);
    if (wait4(child, &status, 0, &usage) != child)
        return 125;
    fprintf(report, "%d %lld %lld %ld %lld\n", status, micros(usage.ru_utime),
            micros(usage.ru_stime), usage.ru_maxrss, now() - start);
    return fclose(report) == 0 ? 0 : 125;
}
