#!/usr/bin/env python3
"""Compares pyspy-rs with other profilers, side by side in one run, and prints one table (Markdown).

Needs Python 3.11 or newer, a C compiler, CPython 3.12 and `cargo build --release`; brings the rest.
benches/README.md says what each number means.
"""
import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from comparison import measure
from comparison.machine import describe
from comparison.peers import REPOSITORY, Peers, say
from comparison.profilers import all_profilers
from comparison.pythons import Python, Target, find_native
from comparison.scenarios import SCENARIOS
from comparison.table import Table


def parse_options():
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--binary", type=Path, default=REPOSITORY / "target/release/pyspy-rs",
        help="the pyspy-rs to measure (default: target/release/pyspy-rs)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=2, help="of each recording, 2 or more (default: 2)")
    parser.add_argument("--scenarios", default=",".join(names), help="default: %(default)s")
    parser.add_argument("--only", default="", help="only these profilers, separated by commas")
    parser.add_argument("--python", help="the CPython 3.12 of the targets (default: pyenv's, or python3.12)")
    parser.add_argument("--long-seconds", type=int, default=60, help="of the scenario `long` (default: 60)")
    parser.add_argument(
        "--write", nargs="?", const="", metavar="FILE",
        help="write machine and table into FILE (default: benches/runs/YYYY-MM-DD.md)",
    )
    options = parser.parse_args()
    options.wanted = options.scenarios.split(",")
    if unknown := set(options.wanted) - set(names):
        parser.error("no such scenario: %s (there are %s)" % (", ".join(unknown), ", ".join(names)))
    if options.seconds < 2 or options.rounds < 1:
        parser.error("at least 2 seconds and 1 round")
    options.binary = options.binary.resolve()
    if not options.binary.exists():
        parser.error("%s does not exist: cargo build --release" % options.binary)
    return options


# One that fails costs its own row and not the table.
FAILURES = (OSError, RuntimeError, ValueError, subprocess.SubprocessError)


class Comparison:
    """What is to be run, and the table that it fills."""

    def __init__(self, options, peers, profilers, pythons):
        self.options, self.peers = options, peers
        self.profilers, self.pythons = profilers, pythons
        self.table = Table()
        self.scenarios = [self.prepared(one) for one in SCENARIOS if one.name in options.wanted]

    def prepared(self, scenario):
        """Without the rows that cannot be had here, and with the asked durations."""
        seconds = self.options.seconds if scenario.seconds is None else self.options.long_seconds
        only = [name for name in self.options.only.split(",") if name]
        rows = tuple(
            dataclasses.replace(asked, seconds=seconds)
            for asked in scenario.asked
            if asked.profiler in self.profilers and asked.on in self.pythons
            and (not only or asked.profiler in only)
        )
        return dataclasses.replace(
            scenario, asked=rows, title=scenario.title.format(seconds=seconds)
        )

    def target(self, scenario, python):
        arguments = list(scenario.arguments)
        if scenario.native_threads:
            arguments += [python.add(self.peers.native_threads), scenario.native_threads]
        return Target(python, scenario.script, arguments, scenario.counts_beats)

    def round(self, scenario, number):
        """Every profiler once, on one process per interpreter, each time in another order."""
        for on, python in self.pythons.items():
            rows = [asked for asked in scenario.asked if asked.on == on]
            shift = number % max(1, len(rows))
            rows = rows[shift:] + rows[:shift]
            with ExitStack() as stack:
                target = before = None
                for asked in rows:
                    profiler = self.profilers[asked.profiler]
                    try:
                        if target is None or not target.revive():
                            target, before = stack.enter_context(self.target(scenario, python)), None
                        if scenario.dumps:
                            run = measure.dump(self.peers, profiler, target, python.folder)
                        else:
                            run, before = measure.record(self.peers, profiler, target, asked, before)
                    except FAILURES as error:
                        run, before = measure.Run(problem=str(error)), None
                    self.add(scenario, asked, run)

    def long(self, scenario):
        """All at once, each on a target of its own: only memory is sampled, and it takes long."""
        def one(asked, python):
            try:
                with self.target(scenario, python) as target:
                    run, _ = measure.record(self.peers, self.profilers[asked.profiler], target, asked)
                run.cores = run.kept = None
            except FAILURES as error:
                run = measure.Run(problem=str(error))
            self.add(scenario, asked, run)

        with ExitStack() as stack:
            threads = []
            for asked in scenario.asked:
                like = self.pythons[asked.on]
                python = Python(like.executable, like.root)
                stack.callback(python.close)
                threads.append(threading.Thread(target=one, args=(asked, python)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def add(self, scenario, asked, run):
        if run.problem:
            say("  %s %s: %s" % (asked.profiler, asked.how, run.problem))
        self.table.add(scenario, asked, run)

    def run(self):
        start = time.monotonic()
        for number in range(self.options.rounds):
            for scenario in self.scenarios:
                if scenario.seconds is None and scenario.asked:
                    say("[%4.0f s] round %d: %s" % (time.monotonic() - start, number + 1, scenario.title))
                    self.round(scenario, number)
        for scenario in self.scenarios:
            if scenario.seconds is not None:
                say("[%4.0f s] %s" % (time.monotonic() - start, scenario.title))
                self.long(scenario)
        say("[%4.0f s] done" % (time.monotonic() - start))
        return self.table.text(self.scenarios, self.profilers, self.pythons)


def main():
    options = parse_options()
    # A target or a profiler that outlives us would disturb the next run: end as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = os.getloadavg()[0]
    if load > 0.5:
        say("The load average is %.1f: other work on this machine will show in the numbers." % load)
    peers = Peers(sys.executable)
    executable = options.python or find_native("3.12")
    with ExitStack() as stack:
        pythons = {}
        if executable:
            pythons["3.12"] = Python(executable)
        if peers.root:
            pythons["3.15"] = Python("/usr/bin/python3.15", peers.root)
        for python in pythons.values():
            stack.callback(python.close)
        if not pythons:
            sys.exit("no CPython 3.12 (--python), no CPython 3.15: nothing to profile")
        profilers = all_profilers(options.binary, peers, pythons.get("3.15"))
        machine = describe(profilers, pythons, options)
        text = machine + "\n" + Comparison(options, peers, profilers, pythons).run()
    print(text)
    if options.write is not None:
        day = time.strftime("%Y-%m-%d")
        path = Path(options.write or REPOSITORY / "benches/runs" / (day + ".md"))
        path.parent.mkdir(parents=True, exist_ok=True)
        head = "# %s\n\nMade by `benches/compare.py`; benches/README.md says what the numbers mean.\n\n"
        path.write_text(head % day + text)
        say("written to %s" % path)


if __name__ == "__main__":
    main()
