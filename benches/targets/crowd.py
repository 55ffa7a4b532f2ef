"""crowd.py COUNTER SLEEPERS: that many threads wait for an event that never comes, the main thread works."""
import sys
import threading

import beats


def sleeper(never):
    never.wait()


def main_loop(worked):
    while True:
        step(worked)


def step(worked):
    work(600)
    worked[0] += 1


def work(rounds):
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) & 0xFFFF
    return total


event = threading.Event()
for _ in range(int(sys.argv[2])):
    threading.Thread(target=sleeper, args=(event,), daemon=True).start()
beats.ready()
main_loop(beats.counter())
