#!/usr/bin/env python3
"""Collects the licences of all that is linked into the static binary.

    licences.py DIR

writes into DIR:
    list.txt                     name, version and licence of each part
    crates.txt                   the licence texts of the crates, each text once
    rust-standard-library.html   what comes with the Rust toolchain
    glibc.txt, LGPL-2.1.txt      what comes with the C library

The crates are those of `cargo tree`: what pyspy-rs depends on on x86-64 Linux, without build scripts, tests and
procedural macros. A crate without a licence, or without its text, is an error.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

TARGET = "x86_64-unknown-linux-gnu"
ROOT = pathlib.Path(__file__).resolve().parent.parent
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicense|notice|copyright)", re.IGNORECASE)

GLIBC_TEXTS = [
    # Debian and Ubuntu; Fedora, Arch.
    ("glibc.txt", ["/usr/share/doc/libc6-dev/copyright", "/usr/share/licenses/glibc/LICENSES"]),
    ("LGPL-2.1.txt", ["/usr/share/common-licenses/LGPL-2.1", "/usr/share/licenses/glibc/COPYING.LIB"]),
]

HEAD = """\
What is linked into the static binary of pyspy-rs {version}
{rule}

pyspy-rs itself is under the MIT licence (LICENSE).

The C library (glibc {glibc}) is under the GNU Lesser General Public License, version 2.1 or later (LGPL-2.1.txt; its
parts: glibc.txt). It is linked unchanged from the distribution's package, whose source the distribution publishes. You
may link pyspy-rs with another version of it: all source of pyspy-rs is published, Cargo.lock has the exact version of
every crate, and packaging/build links them again with the C library of the machine on which it runs. You may also
reverse engineer pyspy-rs to debug such changes.

GCC's runtime library (libgcc, libgcc_eh) is under the GNU General Public License, version 3, with the GCC Runtime
Library Exception, which permits this use under any terms.

The Rust standard library of {rust}
is under MIT or Apache-2.0, with parts under other licences (rust-standard-library.html).

The crates below are linked unchanged. The source of each is published on crates.io under its name and version. Their
texts are in crates.txt.

"""


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def linked_crates():
    """The packages that are linked in, without our own, and our version."""
    lines = run(
        "cargo", "tree", "--locked", "--package", "pyspy-rs", "--target", TARGET,
        "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}",
    ).splitlines()
    # "clap v4.6.7", with "(*)" if it was printed before.
    linked = {tuple(line.split()[:2]) for line in lines if line}
    metadata = json.loads(
        run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET)
    )
    ours = set(metadata["workspace_members"])
    crates, version = [], None
    for package in metadata["packages"]:
        is_linked = (package["name"], "v" + package["version"]) in linked
        if is_linked and package["id"] not in ours:
            crates.append(package)
        elif package["name"] == "pyspy-rs":
            version = package["version"]
    assert len(crates) + len(ours) > len(linked) > 50, "cargo tree and cargo metadata disagree"
    return sorted(crates, key=lambda package: (package["name"], package["version"])), version


def texts_of(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in folder.iterdir() if path.is_file() and LICENCE_FILE.match(path.name)]
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in sorted(files)]


def write_crates(folder, crates):
    """Writes each text once, below the names of its crates."""
    users, missing = {}, []
    for package in crates:
        texts = texts_of(package)
        if not texts or not package["license"]:
            missing.append("{name} {version}: {license}".format(**package))
        for text in texts:
            users.setdefault(text, []).append("{name} {version}".format(**package))
    if missing:
        sys.exit("licences.py: no licence or no text of it:\n  " + "\n  ".join(missing))
    with open(folder / "crates.txt", "w", encoding="utf-8") as out:
        for text, names in users.items():
            out.write("{0}\n{1}\n{0}\n\n{2}\n\n".format("=" * 80, "\n".join(names), text))


def copy_texts(folder):
    sysroot = pathlib.Path(run("rustc", "--print", "sysroot").strip())
    rust = ("rust-standard-library.html", [sysroot / "share/doc/rust/COPYRIGHT-library.html"])
    for name, places in [rust, *GLIBC_TEXTS]:
        found = [place for place in map(pathlib.Path, places) if place.is_file()]
        if not found:
            sys.exit("licences.py: none of these files is here: " + ", ".join(map(str, places)))
        shutil.copyfile(found[0], folder / name)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    crates, version = linked_crates()
    write_crates(folder, crates)
    copy_texts(folder)
    head = HEAD.format(
        version=version,
        rule="=" * (len("What is linked into the static binary of pyspy-rs ") + len(version)),
        glibc=run("getconf", "GNU_LIBC_VERSION").split()[-1],
        rust=run("rustc", "--version").strip(),
    )
    with open(folder / "list.txt", "w", encoding="utf-8") as out:
        out.write(head)
        for package in crates:
            out.write("{:<32}{}\n".format("{name} {version}".format(**package), package["license"]))


if __name__ == "__main__":
    main()
