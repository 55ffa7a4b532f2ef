"""The table: medians of the rounds, and ratios of sums where single events are counted."""
import statistics
from collections import Counter

from . import stacks

COLUMNS = [
    "what", "profiler", "target", "asked /s", "samples /s", "CPU µs per sample", "same, once running",
    "% of a core", "target keeps", "impossible", "lost", "leaf shares off", "dump ms", "peak RSS MiB",
]
NOTHING = "–"


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def show(value, form):
    return NOTHING if value is None else form.format(value)


def percent(part, whole):
    """Few events are not rounded down to none."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    return "0" if part == 0 else "%.2g %%" % share if share < 1 else "%.1f %%" % share


def kept(shares):
    """The median, and the range when there are more: this is the noisiest number."""
    if len(shares) < 2:
        return show(median(shares), "{:.1f} %")
    return "%.1f %% (%.0f–%.0f)" % (median(shares), min(shares), max(shares))


def shares(leaves):
    total = sum(leaves.values())
    return {leaf: 100 * count / total for leaf, count in leaves.items()}


def per_second(run):
    """Samples, or ticks where a sleeping target gives no samples."""
    return run.samples / run.seconds if run.samples else run.ticks


def pooled(runs):
    """All stacks of a call storm's rounds: how many, impossible ones, leaves."""
    total = Counter()
    for run in runs:
        total.update(run.stacks)
    return stacks.storm(total)


def off(leaves, truth):
    """The largest difference of any leaf's share, in percentage points."""
    if not leaves or not truth:
        return None
    ours, theirs = shares(leaves), shares(truth)
    return max(abs(ours.get(leaf, 0) - theirs.get(leaf, 0)) for leaf in {*ours, *theirs})


class Table:
    """Collects runs by scenario and row."""

    def __init__(self):
        self.runs = {}
        self.notes = []

    def add(self, scenario, asked, run):
        self.runs.setdefault((scenario.name, asked), []).append(run)

    def text(self, scenarios, profilers, pythons):
        lines = ["| %s |" % " | ".join(COLUMNS), "|%s" % (" --- |" * len(COLUMNS))]
        for scenario in scenarios:
            for asked in scenario.asked:
                runs = self.runs.get((scenario.name, asked))
                if runs:
                    cells = self._row(scenario, asked, runs, profilers, pythons)
                    lines.append("| %s |" % " | ".join(cells))
        notes = ["%d. %s" % (number, note) for number, note in enumerate(self.notes, 1)]
        return "\n".join([*lines, *(["", "Runs that failed:", "", *notes] if notes else [])]) + "\n"

    def _row(self, scenario, asked, runs, profilers, pythons):
        good = [run for run in runs if not run.problem]
        name = profilers[asked.profiler].title()
        if asked.how:
            name += ", " + asked.how
        if len(good) < len(runs):
            problems = Counter(run.problem for run in runs if run.problem).most_common()
            told = "; ".join("%s (%d of %d)" % (text, n, len(runs)) for text, n in problems)
            self.notes.append("%s, %s: %s" % (scenario.title, name, told))
            name += " [%d]" % len(self.notes)
        head = [scenario.title, name, pythons[asked.on].version]
        if not good:
            return head + [str(asked.rate or NOTHING)] + [NOTHING] * (len(COLUMNS) - 4)
        rss = show(median(run.peak_rss_bytes / 2**20 for run in good), "{:.1f}")
        if scenario.dumps:
            wall = show(median(run.wall * 1000 for run in good), "{:.0f}")
            cpu = show(median(run.cpu * 1e6 for run in good), "{:.0f}")
            return head + [NOTHING, NOTHING, cpu] + [NOTHING] * 6 + [wall, rss]
        rates = [(run, per_second(run)) for run in good]
        rates = [(run, rate) for run, rate in rates if rate]
        per_sample = median(run.cpu * 1e6 / run.seconds / rate for run, rate in rates)
        running = median(run.cores * 1e6 / rate for run, rate in rates if run.cores is not None)
        impossible = wrong_leaves = NOTHING
        lost = percent(sum(run.lost for run in good), sum(run.lost + run.samples for run in good))
        if scenario.storms:
            count, wrong, leaves = pooled(good)
            impossible = percent(wrong, count)
            wrong_leaves = show(off(leaves, self._truth(scenario, asked)), "{:.1f}")
            wrong_leaves = "truth" if asked.truth else wrong_leaves
            own = off(leaves, self._paused(scenario, asked))
            if own is not None:
                wrong_leaves += " (%.1f)" % own
        cores = [run.cores for run in good]
        return head + [
            str(asked.rate),
            show(median(rate for _, rate in rates), "{:,.0f}"),
            show(per_sample, "{:.1f}"),
            show(running, "{:.1f}"),
            show(median(100 * share for share in cores if share is not None), "{:.2f}"),
            kept([100 * run.kept for run in good if run.kept is not None]),
            impossible, lost, wrong_leaves, NOTHING, rss,
        ]

    def _truth(self, scenario, asked):
        return self._leaves(scenario, lambda other: other.truth and other.on == asked.on)

    def _paused(self, scenario, asked):
        """What the same profiler sees when it pauses; None where that is the truth anyway."""
        return self._leaves(
            scenario,
            lambda other: other.pauses and not asked.pauses and not other.truth
            and (other.profiler, other.on) == (asked.profiler, asked.on),
        )

    def _leaves(self, scenario, is_wanted):
        for other in filter(is_wanted, scenario.asked):
            runs = self.runs.get((scenario.name, other), [])
            return pooled([run for run in runs if not run.problem])[2]
        return None
