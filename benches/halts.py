#!/usr/bin/env python3
"""halts.py PYSPY [--times 300] [--rate 1000] [--python python3]: for how long a program stands still when the profiler is
killed, stopped, frozen or throttled.

A program measures the longest gap in which its only busy thread did not run. In turn, so that each row sees the same
machine, a recording of it at RATE is, at a random moment,

    undisturbed  left alone for 100 ms
    kill         ended by SIGKILL
    ctrl-z       sent SIGTSTP, and SIGCONT 100 ms later
    stop         sent SIGSTOP, and SIGCONT 100 ms later
    freeze       frozen by a control group for 100 ms
    throttle     allowed 2 % of a CPU by a control group for 300 ms

and the longest gap from just before to just after is taken; `nobody` is the program without a profiler. Needs root and
control groups, of version 1 or 2. Prints a table: how many gaps, their median, their 99th percentile, the longest, and how
many were longer than the goal of 25 ms.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

GOAL_MS = 25

TARGET = """
import sys, threading, time
longest = 0.0

def measure():
    global longest
    clock = time.perf_counter
    before = clock()
    while True:
        now = clock()
        if now - before > longest:
            longest = now - before
        before = now

def report():
    global longest
    print("ready", flush=True)
    while sys.stdin.readline():
        gap, longest = longest, 0.0
        print(gap * 1000, flush=True)

threading.Thread(target=report, daemon=True).start()
measure()
"""


class Group:
    """A control group with a file that freezes or throttles: of version 1 in a hierarchy of its own, or of 2."""

    def __init__(self, hierarchy, version_1, version_2):
        """The versions are each a file, and what is written to it for on and off."""
        above = os.path.join("/sys/fs/cgroup", hierarchy)
        is_1 = os.path.isdir(above)
        self.file, self.on, self.off = version_1 if is_1 else version_2
        name = "halts-%s-%d" % (hierarchy, os.getpid())
        self.folder = os.path.join(above if is_1 else "/sys/fs/cgroup", name)
        os.mkdir(self.folder)

    def write(self, file, text):
        with open(os.path.join(self.folder, file), "w") as out:
            out.write(text)

    def enter(self):
        """For a process before it executes the profiler: afterwards its real-time threads are refused."""
        self.write("cgroup.procs", "0")

    def set(self, on):
        self.write(self.file, self.on if on else self.off)

    def remove(self):
        os.rmdir(self.folder)


class Target:
    def __init__(self, python):
        self.process = subprocess.Popen(
            [python, "-c", TARGET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process.stdout.readline()

    def gap(self):
        """The longest since it was asked last, in milliseconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def disturb(kind, profiler, group):
    """Does it; returns with the profiler undisturbed again, or ended."""
    signals = {"ctrl-z": signal.SIGTSTP, "stop": signal.SIGSTOP}
    if kind == "kill":
        profiler.kill()
        profiler.wait()
        time.sleep(0.05)
    elif kind in signals:
        profiler.send_signal(signals[kind])
        time.sleep(0.1)
        profiler.send_signal(signal.SIGCONT)
    elif group:
        group.set(True)
        time.sleep(0.3 if kind == "throttle" else 0.1)
        group.set(False)
    else:
        time.sleep(0.1)


def trial(kind, arguments, target, groups, folder):
    group = groups.get(kind)
    if kind == "nobody":
        target.gap()
        time.sleep(0.1)
        return target.gap()
    words = ["record", "-r", str(arguments.rate), "-f", "raw", "-o", os.path.join(folder, "out")]
    profiler = subprocess.Popen(
        [arguments.pyspy] + words + ["--pid", str(target.process.pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # Earlier versions say there that they sample.
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=group.enter if group else None,
    )
    for line in profiler.stdout:
        if "Sampling process" in line:
            break
    time.sleep(0.02 + random.random() / 10)
    target.gap()
    disturb(kind, profiler, group)
    gap = target.gap()
    if profiler.poll() is None:
        profiler.send_signal(signal.SIGINT)
    profiler.communicate()
    return gap


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("pyspy")
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--python", default="python3")
    arguments = parser.parse_args()
    kinds = ["nobody", "undisturbed", "kill", "ctrl-z", "stop", "freeze", "throttle"]
    gaps = {kind: [] for kind in kinds}
    target = Target(arguments.python)
    freezer = ("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")
    quota = ("cpu.cfs_quota_us", "2000", "-1"), ("cpu.max", "2000 100000", "max 100000")
    groups = {"freeze": Group("freezer", *freezer), "throttle": Group("cpu", *quota)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(arguments.times):
                for kind in random.sample(kinds, len(kinds)):
                    gaps[kind].append(trial(kind, arguments, target, groups, folder))
    finally:
        target.process.kill()
        target.process.wait()
        for group in groups.values():
            group.remove()
    print("| while the profiler is | times | median ms | 99 %% ms | longest ms | over %d ms |" % GOAL_MS)
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        own = sorted(gaps[kind])
        cells = statistics.median(own), own[int(0.99 * (len(own) - 1))], own[-1]
        over = sum(gap > GOAL_MS for gap in own)
        print("| %s | %d | %s | %d |" % (kind, len(own), " | ".join("%.1f" % cell for cell in cells), over))


if __name__ == "__main__":
    sys.exit(main())
