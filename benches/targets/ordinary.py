"""ordinary.py COUNTER: parses, compares, formats with Python's own library: many different stacks."""
import ast
import difflib
import fractions
import inspect
import io
import json
import textwrap
import tokenize

import beats

TEXT = inspect.getsource(textwrap)
LINES = TEXT.splitlines()
TREE = ast.parse(TEXT)


def main_loop(done):
    turn = 0
    while True:
        TASKS[turn % len(TASKS)]()
        turn += 1
        done[0] = turn


def parse():
    ast.unparse(TREE)
    ast.dump(TREE)


def tokens():
    list(tokenize.generate_tokens(io.StringIO(TEXT).readline))


def compare():
    list(difflib.unified_diff(LINES, LINES[5:50] + LINES[::7]))


def wrap():
    textwrap.fill(TEXT, 60)
    textwrap.dedent(TEXT)


def encode():
    # Not the one in C: with an indent json.dumps takes the encoder in Python.
    json.loads(json.dumps({"lines": LINES, "nested": [[{"a": 1.5}] * 20] * 5}, indent=1))


def count():
    sorted((fractions.Fraction(n * 7 % 31, 31 + n) for n in range(200)), key=lambda one: one + 1)


TASKS = [parse, tokens, compare, wrap, encode, count]
beats.ready()
main_loop(beats.counter())
