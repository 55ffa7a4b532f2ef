"""deep.py COUNTER [DEPTH]: three functions call one another until DEPTH frames are on the stack (1,000)."""
import sys

import beats

DEPTH = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
# <module>, main_loop and work are three of them.
CALLS = DEPTH - 3


def main_loop(walked):
    while True:
        visit(CALLS)
        walked[0] += 1


def visit(left):
    return visit_children(left - 1) if left > 1 else work(10000)


def visit_children(left):
    return visit_child(left - 1) if left > 1 else work(10000)


def visit_child(left):
    return visit(left - 1) if left > 1 else work(10000)


def work(rounds):
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) & 0xFFFF
    return total


sys.setrecursionlimit(DEPTH + 1000)
beats.ready()
main_loop(beats.counter())
