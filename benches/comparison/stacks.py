"""What the profilers wrote, as counted stacks of function names, root first."""
import re
from collections import Counter

STORM = ("<module>", "storm")
CHAINS = [tuple("%s_%d" % (side, level) for level in (1, 2, 3, 4)) for side in ("left", "right")]
# All that fixtures/storm.py can ever have on its main thread's stack.
POSSIBLE = {STORM + chain[:depth] for chain in CHAINS for depth in range(5)}


# The thread that waits for the end, which some profilers take for a running one.
WATCHER = {"leave", "Thread.run", "Thread._bootstrap", "Thread._bootstrap_inner"}


def is_storms(stack):
    """Whether a stack is of the thread that storms, as far as one can tell."""
    return not WATCHER.issuperset(stack) and bool(stack)


def storm(stacks):
    """Of fixtures/storm.py: how many stacks, how many impossible ones, and the leaves of the others."""
    count, wrong, leaves = 0, 0, Counter()
    for stack, times in stacks.items():
        if not is_storms(stack):
            continue
        count += times
        if stack in POSSIBLE:
            leaves[stack[-1]] += times
        else:
            wrong += times
    return count, wrong, leaves


def folded(text, name_of):
    """Folded stacks: `frame;frame;frame COUNT` in each line."""
    stacks = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        names = (name_of(frame) for frame in stack.split(";"))
        stacks[tuple(name for name in names if name not in (None, "<GC>"))] += int(count)
    return stacks


def in_parentheses(frame):
    """`name (file:line)`, as py-spy and pyspy-rs write frames."""
    name, found, _ = frame.rpartition(" (")
    return name if found else frame


def between_colons(frame):
    """`file:name:line`, as CPython's sampler does, after a `tid:NUMBER`."""
    if frame.startswith("tid:"):
        return None
    parts = frame.rsplit(":", 2)
    return parts[1] if len(parts) == 3 else frame  # `<GC>` has no place.


# Austin's binary format, MOJO: events of a type byte and numbers that go on while the top bit is set.
_NUMBER = rb"[\x80-\xff]*+[\x00-\x7f]"
_TEXT = rb"[^\0]*+\0"
# The whole of a stack that brings no new names is one match: there are hundreds of thousands.
_MOJO = re.compile(
    rb"\x02%(n)s%(n)s%(t)s(?P<stack>(?:\x05%(n)s|(?P<new>\x0b(?P<key>%(n)s)(?P<value>%(t)s)"
    rb"|\x03(?P<frame>%(n)s)%(n)s(?P<scope>%(n)s)%(n)s%(n)s%(n)s%(n)s)|[\x04\x07\x08])*+)"
    rb"\x09%(n)s" % {b"n": _NUMBER, b"t": _TEXT},
    re.DOTALL,
)
_MOJO_EVENT = re.compile(
    rb"\x05(?P<ref>%(n)s)|\x0b(?P<key>%(n)s)(?P<value>%(t)s)|(?P<special>[\x04\x07\x08])"
    rb"|\x03(?P<frame>%(n)s)%(n)s(?P<scope>%(n)s)%(n)s%(n)s%(n)s%(n)s" % {b"n": _NUMBER, b"t": _TEXT},
    re.DOTALL,
)
_MOJO_FACT = re.compile(rb"\x01%(t)s%(t)s" % {b"t": _TEXT}, re.DOTALL)


def mojo(data):
    """Austin 4.0's output, format version 3; a frame that it could not read is named `:INVALID:`."""
    if data[:4] != b"MOJ\x03":
        raise ValueError("not MOJO version 3")
    position, size = 4, len(data)
    strings, scopes, raw = {}, {}, Counter()
    while position < size:
        match = _MOJO.match(data, position)
        if match is None:
            match = _MOJO_FACT.match(data, position)
            if match is None:
                break  # The end of a file that was cut off.
        elif match["new"]:
            refs = []
            for event in _MOJO_EVENT.finditer(match["stack"]):
                if event["ref"] is not None:
                    refs.append(event[0])
                elif event["key"] is not None:
                    strings[event["key"]] = event["value"][:-1].decode("utf-8", "replace")
                elif event["frame"] is not None:
                    scopes[event["frame"]] = event["scope"]
                else:
                    refs.append(event[0])
            raw[b"".join(refs)] += 1
        else:
            raw[match["stack"]] += 1
        position = match.end()
    if size - position > 4096:
        raise ValueError("%d bytes of MOJO cannot be understood" % (size - position))
    stacks = Counter()
    for events, count in raw.items():
        names = []
        for event in _MOJO_EVENT.finditer(events):
            if event["ref"] is not None:
                names.append(strings.get(scopes.get(event["ref"]), "?"))
            elif event["special"] == b"\x04":
                names.append(":INVALID:")
        stacks[tuple(names)] += count
    return stacks
