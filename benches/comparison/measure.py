"""One run of one profiler on one target: what it took, what it saw, and how the target fared."""
import os
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .profilers import ANSI
from .pythons import die_with_us, rate

# Before and after a recording the target runs alone for so long.
ALONE = 0.6
# A profiler has this long to start before its CPU and the target's progress are measured, and the
# measurement ends so long before its time is over.
SETTLE, MARGIN = 0.5, 0.15
# A profiler may take so much longer than it was asked to, or for a dump.
PATIENCE = 15


@dataclass
class Run:
    """All times in seconds."""

    problem: str = ""
    wall: float = 0.0
    cpu: float = 0.0
    peak_rss_bytes: int = 0
    # Seconds of recording, and what was kept and lost in it.
    seconds: float = 0.0
    samples: int = 0
    lost: int = 0
    ticks: float | None = None
    stacks: Counter = field(default_factory=Counter)
    # Profiler's CPU per second, once it had started.
    cores: float | None = None
    # Target's loops per second with the profiler, over those without it.
    kept: float | None = None


def cpu_seconds(pid):
    """What the threads that a process has now have run, to the nanosecond; None when it is gone."""
    total = 0
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
                total += int(file.read().split()[0])
    except (OSError, IndexError):
        return None
    return total / 1e9


def reason(text):
    """The lines that say why a profiler failed: those that speak of an error, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no word"]
    told = [line for line in lines if re.search("error|failed|reason", line, re.IGNORECASE)]
    return " / ".join(told[:2] or lines[-1:])[:160]


def alone(target):
    """The target's rate without a profiler."""
    before = target.mark()
    time.sleep(ALONE)
    return rate(before, target.mark())


class Measured:
    """A profiler, running under benches/measure.c."""

    def __init__(self, measure, command, environment, folder):
        self.report = folder / "report"
        self.report.unlink(missing_ok=True)
        self.printed = open(folder / "printed", "w+b")
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [measure, self.report, *command], stdin=subprocess.DEVNULL, stdout=self.printed,
            stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            preexec_fn=die_with_us, cwd="/",
        )

    def pid(self):
        """The profiler's own; None before it has started."""
        try:
            return int(self.report.read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return None

    def sleep_until(self, moment):
        """False when the profiler ended before."""
        while time.monotonic() < moment:
            if self.process.poll() is not None:
                return False
            time.sleep(min(0.05, max(0.0, moment - time.monotonic())))
        return self.process.poll() is None

    def interrupt(self):
        """Ctrl-C."""
        pid = self.pid()
        if pid is not None and self.process.poll() is None:
            os.kill(pid, signal.SIGINT)

    def finish(self, timeout, run, good=(0,)):
        """Waits for the end; kills it when it takes too long. `good` are the right exit statuses."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            run.problem = "did not end in time"
        self.kill()
        text = self.text()
        if run.problem:
            return text
        words = self.report.read_text().split()[2:]
        status, user, system, rss, wall = map(int, words)
        run.cpu, run.wall, run.peak_rss_bytes = (user + system) / 1e6, wall / 1e6, rss * 1024
        code = os.waitstatus_to_exitcode(status)
        if code not in good:
            run.problem = "status %d: %s" % (code, reason(text))
        return text

    def kill(self):
        """Ends it, whatever it does; it is a session of its own."""
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait(10)

    def text(self):
        self.printed.seek(0)
        text = self.printed.read().decode("utf-8", "replace")
        self.printed.close()
        return ANSI.sub("", text)


def dump(peers, profiler, target, folder):
    """Time and memory of one dump."""
    run = Run()
    measured = Measured(peers.measure, profiler.dump(target.pid), profiler.environment, Path(folder))
    try:
        text = measured.finish(PATIENCE, run)
    finally:
        measured.kill()
    if not run.problem and "main_loop" not in text:
        run.problem = "the stack is not in its output"
    return run


def record(peers, profiler, target, asked, before=None):
    """Records; `asked` has rate, seconds, options and which stacks count. `before` is the target's rate
    alone, if that was measured just now. Returns the run and the rate afterwards."""
    run, folder = Run(), target.python.folder
    out = folder / "out"
    out.unlink(missing_ok=True)
    seen = target.python.inside(out) if profiler.name == "profiling.sampling" else str(out)
    if before is None and target.counter:
        before = alone(target)
    command = profiler.record(target.pid, asked.rate, asked.seconds, seen, asked.options)
    measured = Measured(peers.measure, command, profiler.environment, folder)
    try:
        on_time = measured.sleep_until(measured.start + SETTLE)
        pid = measured.pid()
        first = (target.mark(), cpu_seconds(pid)) if on_time and pid else None
        on_time = measured.sleep_until(measured.start + asked.seconds - MARGIN)
        last = (target.mark(), cpu_seconds(pid)) if on_time and first else None
        if profiler.is_interrupted and measured.sleep_until(measured.start + asked.seconds):
            measured.interrupt()
        text = measured.finish(PATIENCE, run, profiler.good)
    finally:
        measured.kill()
    alive = target.revive()
    after = alone(target) if alive and target.counter else None
    if run.problem:
        return run, after
    if first is None or last is None:
        run.problem = "it ended before its time"
        return run, after
    between = last[0][0] - first[0][0]
    if first[1] is not None and last[1] is not None:
        run.cores = (last[1] - first[1]) / between
    if before and after:
        run.kept = rate(first[0], last[0]) / ((before + after) / 2)
    try:
        recorded = profiler.recorded(out.read_bytes() if out.exists() else b"", text)
    except (ValueError, IndexError) as error:
        run.problem = "its output is not understood: %s" % error
        return run, after
    run.seconds = recorded.seconds or asked.seconds
    run.lost, run.stacks, run.ticks = recorded.lost, recorded.stacks, recorded.ticks
    run.samples = recorded.taken
    if run.samples is None:
        run.samples = sum(n for stack, n in recorded.stacks.items() if asked.counts(stack))
    return run, after
