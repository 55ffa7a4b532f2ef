"""filling.py DEPTH: for each line on stdin, fills new memory as fast as it can for 2 s, below so many calls.

Says "ready" first, and then the MB that it has filled in each second of its CPU time.
"""
import sys
import time

PIECE = 16 << 10
MOST = 400 << 20


def fill():
    held, filled, start, cpu = [], 0, time.monotonic(), time.process_time()
    while time.monotonic() - start < 2:
        held.append(b"\x55" * PIECE)
        filled += PIECE
        if len(held) * PIECE >= MOST:
            held.clear()
    return filled / (time.process_time() - cpu) / 1e6


def down(depth):
    if depth:
        return down(depth - 1)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(fill(), flush=True)


down(int(sys.argv[1]))
