"""The machine that a run was made on, in a few lines of Markdown."""
import os
import platform
import time
from pathlib import Path


def _cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.machine()


def describe(profilers, pythons, options):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = "%.2f, %.2f, %.2f" % os.getloadavg()
    peers = ", ".join(one.title() for one in profilers.values() if one.version)
    targets = ", ".join(one.version for one in pythons.values())
    facts = [
        ("CPU", "%s, %d cores" % (_cpu_model(), os.cpu_count())),
        ("memory", "%.1f GiB" % memory),
        ("kernel", "%s %s" % (platform.system(), platform.release())),
        ("C library", " ".join(platform.libc_ver())),
        ("CPython of the targets", targets),
        ("profilers", peers),
        ("load average at the start", load),
        ("rounds", "%d, recordings of %d s" % (options.rounds, options.seconds)),
        ("time", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
    ]
    return "".join("- %s: %s\n" % fact for fact in facts)
