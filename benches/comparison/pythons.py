"""The interpreters that the targets run on, and the targets: live processes that count their own loops."""
import ctypes
import glob
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from .peers import REPOSITORY, output

PR_SET_PDEATHSIG = 1
# Seconds.
WARM_UP = 0.3
_libc = ctypes.CDLL(None)


def die_with_us():
    """In a new child: it ends when we are killed, too."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Python:
    """One CPython, with a folder of files that it and we can see. Close it to remove the folder."""

    def __init__(self, executable, root=None):
        self.executable, self.root = str(executable), root
        self.words = ["chroot", str(root), self.executable] if root else [self.executable]
        base = root / "tmp" if root else None
        self.folder = Path(tempfile.mkdtemp(prefix="pyspy-rs-bench-", dir=base))
        os.chmod(self.folder, 0o755)
        sources = [*(REPOSITORY / "benches/targets").glob("*.py")]
        for source in [*sources, *(REPOSITORY / "fixtures").glob("*.py")]:
            shutil.copy(source, self.folder)
        # The small root has no other locale.
        self.environment = {**os.environ, "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
        for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONUNBUFFERED"):
            self.environment.pop(name, None)
        self.version = output(
            [*self.words, "-c", "import platform; print(platform.python_version())"],
            env=self.environment,
        ).strip()

    def inside(self, path):
        """A path of ours as the interpreter sees it."""
        return "/" + str(Path(path).relative_to(self.root)) if self.root else str(path)

    def add(self, path):
        """Puts a copy of a file into the folder; returns its path inside."""
        return self.inside(shutil.copy(path, self.folder))

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def find_native(version):
    """The executable of a CPython of this minor version on this machine, or None."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    found = sorted(glob.glob("%s/versions/%s.*/bin/python" % (pyenv, version)))
    return found[-1] if found else shutil.which("python" + version)


class Target:
    """A running target program. Use it in a `with`."""

    def __init__(self, python, script, arguments=(), counts=True):
        self.python = python
        self.counter = None
        self.file = None
        words = [python.inside(python.folder / script)]
        if counts:
            handle, self.file = tempfile.mkstemp(dir=python.folder, prefix="beats-")
            os.write(handle, bytes(8))
            self.counter = mmap.mmap(handle, 8)
            os.close(handle)
            words.append(python.inside(self.file))
        self.process = subprocess.Popen(
            [*python.words, *words, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python.environment,
            preexec_fn=die_with_us, start_new_session=True,
        )
        try:
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _await_ready(self, seconds=20):
        readable, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if readable else b""
        if not line.startswith(b"ready"):
            raise RuntimeError("%s did not get ready" % self.process.args)
        # Until its loop is specialised it is slower, as if the first profiler sped it up.
        if self.counter:
            time.sleep(WARM_UP)

    @property
    def pid(self):
        return self.process.pid

    def beats(self):
        return struct.unpack("=Q", self.counter[:8])[0] if self.counter else 0

    def mark(self):
        """Now, and how far the target is."""
        return time.monotonic(), self.beats()

    def revive(self):
        """Sets it going, should a profiler that was killed have left it stopped; False if it is gone."""
        if self.process.poll() is not None:
            return False
        os.kill(self.pid, signal.SIGCONT)
        return True

    def close(self):
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        if self.counter:
            self.counter.close()
            os.unlink(self.file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def rate(before, after):
    """Loops per second between two marks."""
    return (after[1] - before[1]) / (after[0] - before[0])
