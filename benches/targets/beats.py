"""Counts a target's loops in a file that both sides map, so that reading them costs the target nothing."""
import mmap
import sys


def counter():
    """One number, `counter()[0]`, in the file that is the first argument."""
    with open(sys.argv[1], "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")


def ready():
    print("ready", flush=True)
