"""What is compared: the targets, and how each profiler is asked about them."""
import dataclasses
from dataclasses import dataclass

from . import stacks
from .profilers import FLAT_OUT_RATE


@dataclass(frozen=True)
class Asked:
    """One row of the table."""

    profiler: str
    rate: int
    options: tuple = ()
    # Which interpreter the target runs on: "3.12" or "3.15".
    on: str = "3.12"
    # The row's name, after the profiler's.
    how: str = ""
    # Whether its leaves are the truth for the others on the same interpreter.
    truth: bool = False
    # Whether it pauses the target for a sample.
    pauses: bool = False
    seconds: int = 2
    # Which stacks are samples of the thread in question.
    counts: object = None


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    script: str
    asked: tuple
    arguments: tuple = ()
    native_threads: int = 0
    counts_beats: bool = True
    # Stacks have a truth: fixtures/storm.py.
    storms: bool = False
    # Only dumps, or only one long recording by all at once.
    dumps: bool = False
    seconds: int | None = None


def busy(stack):
    """A stack of the thread that works."""
    return "main_loop" in stack


NONBLOCKING = ("--nonblocking",)
# As root, the default is the kernel engine.
PAUSING = ("--engine", "pause")
BY_RATE = {"pyspy-rs": (), "py-spy": (), "Austin": (), "profiling.sampling": ()}


def sleeps(stack):
    """A stack of waits.py."""
    return "waits" in stack


def nothing(stack):
    """Where sleeping threads are left out, there are no samples to count, only ticks."""
    return False


def everyone(rate, counts=busy, options=BY_RATE, both=False):
    """All that record, as their users start them; CPython's sampler has a target of its own version.
    `both` adds pyspy-rs on that version. With its default options pyspy-rs has a row that pauses, too."""
    rows = [
        Asked(name, rate, options[name], on="3.12", counts=counts)
        for name in ("pyspy-rs", "py-spy", "Austin")
    ]
    versions = ("3.12", "3.15") if both else ("3.12",)
    if not options["pyspy-rs"]:
        rows.extend(
            Asked("pyspy-rs", rate, PAUSING, on=on, how="pausing", counts=counts) for on in versions
        )
    if both:
        rows.append(Asked("pyspy-rs", rate, options["pyspy-rs"], on="3.15", counts=counts))
    rows.append(
        Asked("profiling.sampling", rate, options["profiling.sampling"], on="3.15", counts=counts)
    )
    return tuple(rows)


def floor(rate, size, *kinds):
    """The system calls of a sample, without a profiler around them."""
    return tuple(Asked("floor.c", rate, (str(size), kind), how=kind) for kind in kinds)


def storm_rows(rate=2000):
    def row(name, how="", options=(), on="3.12", **more):
        return Asked(name, rate, options, on, how, counts=stacks.is_storms, **more)

    return (
        row("pyspy-rs", "default"),
        row("pyspy-rs", "pausing", PAUSING, pauses=True),
        row("pyspy-rs", "nonblocking", NONBLOCKING),
        row("py-spy", "default", truth=True, pauses=True),
        row("py-spy", "nonblocking", NONBLOCKING),
        row("Austin"),
        Asked("Austin", 10_000, how="its default interval", counts=stacks.is_storms),
        row("pyspy-rs", "default", on="3.15"),
        row("pyspy-rs", "pausing", PAUSING, on="3.15", pauses=True),
        row("pyspy-rs", "nonblocking", NONBLOCKING, on="3.15"),
        row("profiling.sampling", "default", on="3.15"),
        row(
            "profiling.sampling", "blocking", ("--blocking",), on="3.15", truth=True, pauses=True
        ),
    )


def dump_rows():
    names = ("pyspy-rs", "py-spy", "Austin", "pystack")
    return (
        *(Asked(name, 0) for name in names),
        Asked("pyspy-rs", 0, on="3.15"),
        Asked("profiling.sampling", 0, on="3.15"),
    )


FLAT_OUT = {
    "pyspy-rs": NONBLOCKING,
    "py-spy": NONBLOCKING,
    "Austin": (),
    "profiling.sampling": ("--binary",),
}
ALL_THREADS = {**BY_RATE, "profiling.sampling": ("--all-threads",)}

SCENARIOS = [
    Scenario("attach", "one dump, depth 30", "chain.py", dump_rows(), dumps=True),
    Scenario(
        "flat-out", "flat out, nonblocking, depth 30", "chain.py",
        (*everyone(FLAT_OUT_RATE, options=FLAT_OUT, both=True), *floor(FLAT_OUT_RATE, 4096, "read")),
    ),
    Scenario(
        "1khz", "1 kHz, default, depth 30", "chain.py",
        (*everyone(1000, both=True), *floor(1000, 4096, "sleep", "ask", "pause")),
    ),
    Scenario(
        "native", "200 Hz beside 160 native threads, depth 30", "chain.py",
        (*everyone(200), *floor(200, 4096, "pause")), native_threads=160,
    ),
    Scenario(
        "storm", "call storm", "storm.py", storm_rows(), counts_beats=False, storms=True
    ),
    Scenario(
        "crowd", "100 threads, 99 asleep, 1 kHz, per tick", "crowd.py",
        everyone(1000, options=ALL_THREADS), (99,),
    ),
    Scenario(
        "deep", "depth 1,000, 1 kHz, default", "deep.py",
        (*everyone(1000), *floor(1000, 128 << 10, "pause")), (1000,),
    ),
    Scenario(
        "asleep", "target asleep, 100 Hz", "waits.py",
        # pyspy-rs and py-spy leave sleeping threads out.
        tuple(
            dataclasses.replace(row, counts=nothing) if row.profiler in ("pyspy-rs", "py-spy") else row
            for row in everyone(100, counts=sleeps)
        ),
        counts_beats=False,
    ),
    Scenario(
        "long", "record {seconds} s at 100 Hz, an ordinary program", "ordinary.py", everyone(100), seconds=60
    ),
]
