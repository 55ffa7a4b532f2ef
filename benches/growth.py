#!/usr/bin/env python3
"""growth.py PYSPY [--rounds 3] [--engines kernel,pause] -- PYTHON...: how exactly growth of memory is attributed, and what
that costs the target.

Records programs of fixtures/, which say what each of their functions has added, with `record --memory`. `off` is the
largest difference between the share of a function in the file and its share in truth, in percentage points; `unknown` the
share of no function; `total` the growth in the file, less what was released, beside that of the kernel. The last two
columns are a program that only fills new memory: how much of its speed it keeps while it is recorded itself, and while
another program is. Medians over the rounds. Needs root for the kernel engine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = REPOSITORY / "fixtures"
RATE_64_16_4 = {"grow_64": 64 / 84, "grow_16": 16 / 84, "grow_4": 4 / 84}

# Title, program with its arguments, and shares where the program does not tell.
PROGRAMS = [
    ("in turn, 125 ms each", ["growing.py", "2", "0.5"], RATE_64_16_4),
    ("bursts of 0.2 to 3 ms", ["growing.py", "2", "0.05", "burst"], RATE_64_16_4),
    ("two threads at once", ["growing.py", "2", "0.5", "threads"], {"grow_64": 64 / 80, "grow_16": 16 / 80}),
    ("bursts of 50 µs", ["short_bursts.py", "2"], {"take": 1.0}),
    ("recursion, maps, a shared helper, four threads", ["growing_otherwise.py", "2"], None),
    ("huge pages, files, churn", ["growing_oddly.py", "40"], None),
]
UNKNOWN = ("<between samples>", "<not by a Python thread>")


class Target:
    def __init__(self, python, program):
        self.process = subprocess.Popen(
            [python] + program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def end(self):
        self.process.kill()
        self.process.wait()


class Recording:
    def __init__(self, pyspy, pid, engine, folder):
        self.file, self.summary = os.path.join(folder, "raw"), os.path.join(folder, "summary")
        words = [pyspy, "record", "--memory", "-F", "-f", "raw", "-o", self.file, "--summary", self.summary]
        # Its own descriptor of the target's memory tells that it has attached.
        self.process = subprocess.Popen(
            words + ["--engine", engine, "--pid", str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted, limit = "/proc/%d/statm" % pid, time.monotonic() + 10
        while wanted not in self.opened() and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(0.1)

    def opened(self):
        folder = "/proc/%d/fd" % self.process.pid
        try:
            return [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]
        except OSError:
            return []

    def stop(self):
        """Growth by function, in all and of no function, and the summary."""
        self.process.send_signal(2)
        self.process.wait()
        by_function, unknown = {}, 0
        for line in Path(self.file).read_text().splitlines():
            stack, weight = line.rsplit(" ", 1)
            names = {frame.rsplit(" (", 1)[0] for frame in stack.split(";")}
            unknown += int(weight) if names.intersection(UNKNOWN) else 0
            for name in names:
                by_function[name] = by_function.get(name, 0) + int(weight)
        return by_function, unknown, json.loads(Path(self.summary).read_text())


def accuracy(pyspy, python, engine, program, shares, folder):
    target = Target(python, [str(FIXTURES / program[0])] + program[1:])
    recording = Recording(pyspy, target.process.pid, engine, folder)
    answer = target.go()
    if answer.startswith("truth "):
        truth, answer = json.loads(answer[6:]), target.process.stdout.readline()
        # What comes and goes is no growth.
        truth = {name: added for name, added in truth.items() if name != "churn"}
        shares = {name: added / sum(truth.values()) for name, added in truth.items()}
    found, unknown, summary = recording.stop()
    target.end()
    churn = found.get("churn", 0)
    memory = summary["memory"]
    total = max(1, memory["grown_bytes"] - churn)
    off = max(abs(found.get(name, 0) / total - share) for name, share in shares.items())
    net = memory["grown_bytes"] - memory["released_bytes"]
    return 100 * off, 100 * unknown / total, 100 * net / int(answer.split()[1])


def speed(pyspy, python, engine, is_target, folder):
    """MB filled in each second of CPU time, while it or another program is recorded."""
    target = Target(python, [str(REPOSITORY / "benches/targets/filling.py"), "20"])
    other = subprocess.Popen([python, "-c", "import time; time.sleep(1000)"])
    recording = None
    if engine:
        time.sleep(0.2)
        recording = Recording(pyspy, target.process.pid if is_target else other.pid, engine, folder)
    filled = float(target.go())
    if recording:
        recording.stop()
    target.end()
    other.kill()
    other.wait()
    return filled


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("pyspy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", default="kernel,pause")
    parser.add_argument("pythons", nargs="+")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    with tempfile.TemporaryDirectory() as folder:
        print("| CPython | program | engine | off, points | unknown, % | total, % of the kernel's |")
        print("|---|---|---|---|---|---|")
        for python in arguments.pythons:
            words = [python, "-c", "import platform; print(platform.python_version())"]
            version = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
            for title, program, shares in PROGRAMS:
                runs = {engine: [] for engine in engines}
                for _ in range(arguments.rounds):
                    for engine in engines:
                        runs[engine].append(accuracy(arguments.pyspy, python, engine, program, shares, folder))
                for engine in engines:
                    cells = [statistics.median(run) for run in zip(*runs[engine])]
                    cells = " | ".join("%.2f" % cell for cell in cells)
                    print("| %s | %s | %s | %s |" % (version, title, engine, cells), flush=True)
        print("\n| CPython | engine | speed of a target that fills memory, % | of another program that does, % |")
        print("|---|---|---|---|")
        for python in arguments.pythons[-1:]:
            runs = {engine: [] for engine in engines}
            for _ in range(arguments.rounds):
                alone = speed(arguments.pyspy, python, None, True, folder)
                for engine in engines:
                    both = [speed(arguments.pyspy, python, engine, is_target, folder) for is_target in (True, False)]
                    runs[engine].append([100 * one / alone for one in both])
            for engine in engines:
                cells = " | ".join("%.1f" % statistics.median(cell) for cell in zip(*runs[engine]))
                print("| %s | %s | %s |" % (python, engine, cells))


if __name__ == "__main__":
    sys.exit(main())
