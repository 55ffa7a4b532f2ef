#!/usr/bin/env python3
"""verdicts.py PYSPY SEEDS SHAPE... -- PYTHON...: how often the verdict on memory is right.

    python3 benches/verdicts.py target/release/pyspy-rs 0-19 -- python3.8 "chroot /srv/debian /bin/python3.15"

For each PYTHON (words that start one) and SHAPE of fixtures/memory_shapes.py (without any, those below), records
a program for each of the SEEDS (FIRST-LAST) at once, for a minute, and prints how many verdicts were right, and the
others.
The programs mostly sleep: 20 at once are no load.
"""

import json
import os
import subprocess
import sys
import tempfile

PROGRAM = os.path.join(os.path.dirname(__file__), "..", "fixtures", "memory_shapes.py")
RIGHT = {
    "leak:1024": "growing",
    "leak:50": "growing",
    "sawtooth": "stable",
    "warmup": "step",
    "cache": "stable",
    "sleep": "stable",
}


def record(pyspy, python, source, shape, seed, folder):
    """Starts a program and, as soon as it is ready, its recording."""
    program = subprocess.Popen(
        python.split() + ["-c", source, shape, str(seed), "64"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    program.stdout.readline()
    output = os.path.join(folder, str(seed))
    words = ["record", "-r", "50", "-i", "-f", "raw", "-d", "60", "-o", output, "--summary", "-"]
    words += ["--pid", str(program.pid)]
    recording = subprocess.Popen(
        [pyspy] + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return program, recording


def verdict(program, recording):
    """In a word, and as people read it; or what is wrong."""
    summary, error = recording.communicate()
    program.kill()
    program.communicate()
    memory = json.loads(summary)["memory"] if summary else None
    return f"{memory['verdict']} ({memory['text']})" if memory else error.strip()


def main():
    at = sys.argv.index("--")
    (pyspy, seeds, *shapes), pythons = sys.argv[1:at], sys.argv[at + 1 :]
    first, last = map(int, seeds.split("-"))
    with open(PROGRAM) as file:
        source = file.read()
    for python in pythons:
        for shape in shapes or RIGHT:
            with tempfile.TemporaryDirectory() as folder:
                seeds = range(first, last + 1)
                running = [record(pyspy, python, source, shape, seed, folder) for seed in seeds]
                verdicts = [verdict(*pair) for pair in running]
            right = RIGHT.get(shape, "")
            wrong = [f"{seed}: {said}" for seed, said in zip(seeds, verdicts) if not said.startswith(right)]
            count = f"{len(verdicts) - len(wrong)} of {len(verdicts)} right"
            print(f"{python} {shape}: {count}", *wrong, sep="\n    ", flush=True)


main()
