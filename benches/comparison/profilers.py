"""How each profiler is asked to record and to dump, and what its output says."""
import json
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field

from . import stacks
from .peers import output, say

# Samples a second that no profiler reaches.
FLAT_OUT_RATE = 1_000_000
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Recorded:
    """What a recording says of itself."""

    stacks: Counter = field(default_factory=Counter)
    # Samples that it took and kept; None when that is to be counted from the stacks.
    taken: int | None = None
    # Samples that it says it lost: errors, torn reads, invalid frames.
    lost: int = 0
    # Its ticks, whatever they showed, and for how long, where it says so.
    ticks: float | None = None
    seconds: float | None = None


def number(pattern, text, kind=float):
    found = re.search(pattern, text)
    return kind(found[1]) if found else None


class Profiler:
    """One that is found at `command`; `root` is the folder that it is run in by chroot."""

    # Ended by Ctrl-C after the time that was asked for, and not by an option.
    is_interrupted = False
    # Exit statuses of a recording that went well.
    good = (0,)

    def __init__(self, name, command, version):
        self.name, self.command, self.version = name, command, version
        self.environment = {**os.environ, "LC_ALL": "C"}

    def title(self):
        return " ".join(filter(None, (self.name, self.version)))

    def dump(self, pid):
        """The command that prints every thread's stack once."""
        raise NotImplementedError

    def record(self, pid, rate, seconds, out, options):
        """The command that records into the file `out`."""
        raise NotImplementedError

    def recorded(self, data, text):
        """Reads the file that record() wrote (bytes), and what was printed."""
        raise NotImplementedError


class PySpy(Profiler):
    """py-spy. Its --duration is a number of samples, so that it takes minutes when it is flat out."""

    is_interrupted = True

    def dump(self, pid):
        return [*self.command, "dump", "--pid", str(pid)]

    def record(self, pid, rate, seconds, out, options):
        return [
            *self.command, "record", "--pid", str(pid), "--rate", str(rate), "--format", "raw",
            "--output", out, *options,
        ]

    def recorded(self, data, text):
        found = stacks.folded(data.decode("utf-8", "replace"), stacks.in_parentheses)
        lost = number(r"Errors: (\d+)", text, int)
        if lost is None:
            raise ValueError("it says nothing of samples and errors")
        # pyspy-rs may tell torn reads from other errors.
        lost += number(r"\b[Tt]orn(?: reads)?: (\d+)", text, int) or 0
        return Recorded(found, lost=lost)


class PyspyRs(PySpy):
    """Its options are py-spy's, and --summary, which older ones that it is compared with do not have."""

    is_interrupted = False

    def __init__(self, name, command, version):
        super().__init__(name, command, version)
        shown = subprocess.run([*command, "record", "--help"], capture_output=True, text=True)
        self.has_summary = "--summary" in shown.stdout

    def record(self, pid, rate, seconds, out, options):
        words = [*super().record(pid, rate, seconds, out, options), "--duration", str(seconds)]
        return [*words, "--summary", "-"] if self.has_summary else words

    def recorded(self, data, text):
        if not self.has_summary:
            recorded = super().recorded(data, text)
            recorded.ticks = number(r"Rate: ([\d.]+) of", text)
            return recorded
        # Alone on a line each are its braces; around it there are the lines of stderr.
        summary = json.loads(text[text.index("{\n") : text.rindex("\n}") + 2])
        found = stacks.folded(data.decode("utf-8", "replace"), stacks.in_parentheses)
        return Recorded(found, lost=sum(summary["errors"].values()), ticks=summary["achieved_hz"])


class Austin(Profiler):
    # 254 is how its exposure ends.
    good = (0, 254)

    def dump(self, pid):
        return [*self.command, "--where", str(pid)]

    def record(self, pid, rate, seconds, out, options):
        interval = max(1, round(1e6 / rate))
        return [
            *self.command, "--pid", str(pid), "--interval", "%dus" % interval,
            "--exposure", str(seconds), "--output", out, *options,
        ]

    def recorded(self, data, text):
        found = stacks.mojo(data)
        invalid = [stack for stack in found if ":INVALID:" in stack or not stack]
        lost = sum(found.pop(stack) for stack in invalid)
        errors = number(r"Error rate[ .]*(\d+)/", text, int)
        if errors is None:
            raise ValueError("it says nothing of its error rate")
        return Recorded(found, lost=lost + errors)


class Sampling(Profiler):
    """CPython 3.15's profiling.sampling, which samples only its own version."""

    def __init__(self, python):
        command = [*python.words, "-m", "profiling.sampling"]
        super().__init__("profiling.sampling", command, python.version)
        self.environment = python.environment

    def dump(self, pid):
        return [*self.command, "dump", "--all-threads", str(pid)]

    def record(self, pid, rate, seconds, out, options):
        # Its binary format is its fastest, but does not tell the stacks.
        form = [] if "--binary" in options else ["--collapsed"]
        return [
            *self.command, "attach", "--sampling-rate", str(rate), "--duration", str(seconds),
            *form, "--output", out, *options, str(pid),
        ]

    def recorded(self, data, text):
        captured = number(r"Captured ([\d,]+) samples?", text.replace(",", ""), int)
        seconds = number(r"samples? in ([\d.]+) second", text)
        errors = number(r"Error rate: ([\d.]+)", text)
        if captured is None or errors is None:
            raise ValueError("it says nothing of samples and errors")
        lost = round(captured * errors / 100)
        if "Binary profile written" in text:
            return Recorded(taken=captured - lost, lost=lost, seconds=seconds)
        found = stacks.folded(data.decode("utf-8", "replace"), stacks.between_colons)
        return Recorded(found, lost=lost, seconds=seconds)


class Floor(Profiler):
    """benches/floor.c: no profiler, but the system calls of a sample. Its options are how many bytes it reads,
    and the kind of sample."""

    def record(self, pid, rate, seconds, out, options):
        size, kind = options
        return [*self.command, str(pid), size, kind, "0" if rate == FLAT_OUT_RATE else str(rate), str(seconds)]

    def recorded(self, data, text):
        samples = number(r"samples: (\d+)", text, int)
        if samples is None:
            raise ValueError("it prints no number of samples")
        return Recorded(taken=samples)


class Pystack(Profiler):
    """Only dumps."""

    def dump(self, pid):
        return [*self.command, "remote", str(pid)]


def version_of(command):
    """The version that a tool prints."""
    text = ANSI.sub("", output([*command, "--version"], env={**os.environ, "LC_ALL": "C"}))
    return number(r"(\d+\.\d+[\w.]*)", text, str) or "?"


def all_profilers(binary, peers, python_of_sid):
    """Those that are there, by name."""
    found = [PyspyRs("pyspy-rs", [str(binary)], version_of([str(binary)]))]
    if peers.py_spy:
        found.append(PySpy("py-spy", peers.py_spy, version_of(peers.py_spy)))
    if peers.austin:
        found.append(Austin("Austin", peers.austin, version_of(peers.austin)))
    if peers.pystack:
        found.append(Pystack("pystack", peers.pystack, version_of(peers.pystack)))
    if python_of_sid:
        found.append(Sampling(python_of_sid))
    found.append(Floor("floor.c", [str(peers.floor)], ""))
    for what, why in peers.missing.items():
        say("without %s: %s" % (what, why))
    return {profiler.name: profiler for profiler in found}
