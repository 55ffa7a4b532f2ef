"""Brings the other profilers, and what runs and measures them, into a cache folder outside the clone."""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyspy-rs"
# Pinned, so that tables of different days compare; raise them on purpose.
PACKAGES = ["py-spy==0.4.3", "austin-dist==4.0.0", "pystack==1.7.2"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def output(command, timeout=60, **options):
    """What a command prints; "" when it cannot be run."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=timeout, text=True, errors="replace", **options
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


class Peers:
    """Where everything is; what could not be had is None, and why is in `missing`."""

    def __init__(self, python):
        self.folder = CACHE / "peers"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.missing = {}
        self.environment = self._environment(python)
        self.root = self._sid_root()
        self.measure = self._compile("measure", REPOSITORY / "benches/measure.c")
        self.floor = self._compile("floor", REPOSITORY / "benches/floor.c")
        self.native_threads = self._compile(
            "native_threads.so", REPOSITORY / "fixtures/native_threads.c", "-shared", "-fPIC"
        )
        self.py_spy = self._tool("py-spy")
        self.pystack = self._tool("pystack")
        self.austin = self._austin()

    def _environment(self, python):
        """A private environment for exactly these versions."""
        name = "env-" + hashlib.sha1(" ".join(PACKAGES).encode()).hexdigest()[:10]
        environment = self.folder / name
        if not (environment / "done").exists():
            say("installing %s" % ", ".join(PACKAGES))
            shutil.rmtree(environment, ignore_errors=True)
            subprocess.run([python, "-m", "venv", environment], check=True, timeout=120)
            for package in PACKAGES:
                pip = [environment / "bin/pip", "install", "--quiet", package]
                if subprocess.run([*pip, "--disable-pip-version-check"], timeout=300).returncode != 0:
                    self.missing[package.split("=")[0]] = "pip could not install %s" % package
            if not self.missing:
                (environment / "done").touch()
        return environment

    def _tool(self, name):
        path = self.environment / "bin" / name
        return [str(path)] if path.exists() else None

    def _sid_root(self):
        """The root of tests/support/debian-python.sh, with CPython 3.15 and a newer C library."""
        script = REPOSITORY / "tests/support/debian-python.sh"
        done = subprocess.run([script], stdout=subprocess.PIPE, text=True, timeout=900)
        if done.returncode != 0:
            self.missing["CPython 3.15"] = "tests/support/debian-python.sh gives no root"
            return None
        return Path(done.stdout.strip())

    def _compile(self, name, source, *options):
        stamp = hashlib.sha1(source.read_bytes()).hexdigest()[:10]
        path = self.folder / ("%s-%s" % (stamp, name))
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                work = Path(folder) / name
                command = ["cc", "-O1", "-pthread", *options, "-o", work, source]
                subprocess.run(command, check=True, timeout=60)
                work.rename(path)
        return path

    def _austin(self):
        """Austin, if need be under the loader of the newer C library."""
        tool = self._tool("austin")
        if tool is None:
            return None
        if output([*tool, "--version"]):
            return tool
        if self.root is not None:
            # Resolved here: its own links point into the root.
            for libraries in (self.root / "usr/lib").glob("*-linux-gnu"):
                loader = libraries / "ld-linux-x86-64.so.2"
                command = [str(loader), "--library-path", str(libraries), *tool]
                if output([*command, "--version"]):
                    return command
        self.missing["austin-dist"] = "its binary does not run with this C library"
        return None
