#!/usr/bin/env bash
# A root directory with Debian sid's CPython 3.14 and later, to be run through chroot.
#
#   debian-python.sh [DIR]             make DIR if needed, mount its /proc, print its path
#   debian-python.sh --unmount [DIR]   undo the mounts (do this before DIR is deleted)
#   debian-python.sh --remove [DIR]    undo the mounts and delete DIR
#
# DIR is ${XDG_CACHE_HOME:-~/.cache}/pyspy-rs/sid-root when not given. Inside it:
#   /usr/bin/python3.X     Debian's interpreter: static, stripped, at fixed addresses (not PIE)
#   /usr/lib/*/libpython3.X.so.1.0, /usr/include/python3.X   for embedding and for the offsets probe
#   /.packages             name and version of every package in there
#
# The packages come from the mirror that this machine's apt uses (or $PYSPY_DEBIAN_MIRROR), are
# checked against the Debian archive keyring, and are only unpacked: no maintainer script runs, and
# the machine's own apt state is left alone. With PYSPY_DEBIAN_DEBUG=1 the -dbg builds (200 MB) come too.
#
# Exit status: 0 done; 77 cannot be done here (not root, not Debian): skip; 75 the mirror cannot be
# reached or lacks something: skip; 1 failed.
set -euo pipefail

# Those that python-offsets knows, from 3.14 on.
registry=$(dirname "${BASH_SOURCE[0]}")/../../python-offsets/src/registry.rs
versions=$(sed -n 's/^ *v3_\([0-9]*\) = .*/\1/p' "$registry" | awk '$1 >= 14 { printf "%s3.%s", sep, $1; sep = " " }')
readonly versions
# Raise it when the contents change, so that older roots are made again.
readonly revision=4

say() { printf 'debian-python: %s\n' "$*" >&2; }
skip() { say "SKIPPED: $*"; exit 77; }
fail() { say "FAILED: $*"; exit 1; }

action=make
case "${1:-}" in
    --unmount) action=unmount; shift ;;
    --remove) action=remove; shift ;;
    -*) fail "unknown option $1" ;;
esac
root=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/pyspy-rs/sid-root}
case "$root" in /*) ;; *) root=$PWD/$root ;; esac

[ "$(id -u)" = 0 ] || skip "chroot needs root; CPython $versions are not tested"

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9

mounted() { awk -v dir="$1" '$5 == dir { found = 1 } END { exit !found }' /proc/self/mountinfo; }

unmount_below() {
    local dir
    awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r dir; do
        umount "$dir" 9>&- || umount --lazy "$dir" 9>&-
    done
}

delete() {
    [ -e "$1" ] || return 0
    unmount_below "$1"
    # Should a mount be left, its contents are the machine's: never delete across it.
    rm -rf --one-file-system "$1"
}

# The devices that Python opens. Nodes rather than a bind of /dev: deleting the directory
# by hand then deletes copies and not the machine's devices.
make_devices() {
    local dev=$1/dev name minor
    mkdir -p "$dev/shm"
    chmod 1777 "$dev/shm"
    while read -r name minor; do
        [ -e "$dev/$name" ] || mknod -m 666 "$dev/$name" c 1 "$minor" 2>/dev/null || true
        # A container or a nodev file system refuses nodes; one file bound to the real one serves as well.
        if ! { : <"$dev/$name"; } 2>/dev/null; then
            rm -f "$dev/$name"
            : >"$dev/$name"
            mount --bind "/dev/$name" "$dev/$name" 9>&- || say "no /dev/$name inside $1"
        fi
    done <<<$'null 3\nzero 5\nfull 7\nrandom 8\nurandom 9'
    ln -sfn /proc/self/fd "$dev/fd"
}

mount_inside() {
    make_devices "$1"
    mounted "$1/proc" && return
    mount -t proc proc "$1/proc" 9>&- 2>/dev/null \
        || mount --bind /proc "$1/proc" 9>&- \
        || say "no /proc inside $1: programs that read it will fail"
}

case "$action" in
    unmount) unmount_below "$root"; exit ;;
    remove) delete "$root"; exit ;;
esac

stamp=".packages"
# The versions that were fetched, or that the mirror lacks.
wanted_stamp=".versions"
if [ -e "$root/$stamp" ] && [ "$(head -n 1 "$root/$stamp")" = "revision $revision" ] \
    && [ "$(cat "$root/$wanted_stamp" 2>/dev/null || echo "3.14 3.15")" = "$versions" ]; then
    mount_inside "$root"
    printf '%s\n' "$root"
    exit
fi

for tool in apt-get dpkg dpkg-deb chroot; do
    command -v "$tool" >/dev/null || skip "$tool is missing (not a Debian?); CPython $versions are not tested"
done
# Sixty tests that ask one after the other must not wait for a missing network sixty times.
if [ -n "$(find "$root.failed" -mmin -5 2>/dev/null)" ]; then
    read -r code reason <"$root.failed"
    say "FAILED: tried less than five minutes ago: $reason (delete $root.failed to try again)"
    exit "$code"
fi

work=$(mktemp -d "$root.tmp.XXXXXX")
trap 'delete "$work"' EXIT
give_up() { printf '1 %s\n' "$*" >"$root.failed"; fail "$*"; }
unreachable() { printf '75 %s\n' "$*" >"$root.failed"; say "SKIPPED: $*; CPython $versions are not tested"; exit 75; }

# The mirror: the first address among apt's sources that serves the main archive (its path ends
# with /debian; security and others do not).
mirror() {
    if [ -n "${PYSPY_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "$PYSPY_DEBIAN_MIRROR"
        return
    fi
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null \
        | sed -n '/^[[:space:]]*#/d; s/\[[^]]*\]//; /^\(deb\|URIs:\)[[:space:]]/p' \
        | tr -s '[:space:]' '\n' | grep -E '^[a-z+]+:.*/debian/?$' | head -n 1
}
site=$(mirror) || true
[ -n "$site" ] || skip "no Debian mirror among apt's sources (set PYSPY_DEBIAN_MIRROR); CPython $versions are not tested"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || skip "$keyring is missing; CPython $versions are not tested"

mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,empty} "$work/debs"
: >"$work/apt/status"
printf 'deb [signed-by=%s] %s sid main\n' "$keyring" "$site" >"$work/apt/sources.list"
apt() {
    local tool=$1
    shift
    "$tool" -q \
        -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts="$work/apt/empty" \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$work/apt/empty" \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::State::Status="$work/apt/status" \
        -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User=root -o APT::Get::AllowUnauthenticated=false \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 \
        "$@" 9>&-
}

say "fetching CPython $versions from Debian sid into $root"
apt apt-get update >&2 || unreachable "apt-get update of Debian sid failed"

# The shell for the targets that start one, the library for packages from PyPI that are written in C++.
wanted=(dash libstdc++6) extras=() found=()
for version in $versions; do
    if ! apt apt-cache show "python$version" >/dev/null 2>&1; then
        say "WARNING: Debian sid has no python$version: it WILL NOT be tested"
        continue
    fi
    found+=("$version")
    wanted+=("python$version" "libpython$version")
    # Unpacked without what they depend on: that would be a whole C development environment.
    extras+=("libpython$version-dev")
    [ -z "${PYSPY_DEBIAN_DEBUG:-}" ] || wanted+=("python$version-dbg")
done
[ "${#found[@]}" -gt 0 ] || unreachable "Debian sid has none of CPython $versions"

# Against an empty dpkg status apt works out the whole set, the C library included.
apt apt-get install --yes --download-only --no-install-recommends "${wanted[@]}" >&2 \
    || unreachable "the download of ${wanted[*]} failed"
mv "$work"/apt/cache/archives/*.deb "$work/debs/"
mkdir "$work/extras"
for package in "${extras[@]}"; do
    (cd "$work/extras" && apt apt-get download "$package" >&2) || say "WARNING: no $package"
done

new=$work/root
mkdir -p "$new"/{usr/bin,usr/sbin,usr/lib,usr/lib64,etc,tmp,proc,dev,fixtures,root}
chmod 1777 "$new/tmp"
for dir in bin sbin lib lib64; do
    ln -s "usr/$dir" "$new/$dir"
done
for deb in "$work"/debs/*.deb "$work"/extras/libpython*-dev_*.deb; do
    [ -e "$deb" ] || continue
    dpkg-deb --extract "$deb" "$new" || give_up "cannot unpack $(basename "$deb")"
done
# Static libraries and documentation make half of the size and are not needed here.
find "$new/usr/lib" -name '*.a' -delete
rm -rf "$new/usr/share/doc" "$new/usr/share/man" "$new/usr/share/lintian"

mount_inside "$new"
for version in "${found[@]}"; do
    chroot "$new" "/usr/bin/python$version" -c 'import asyncio, ctypes, ssl, sqlite3, sys; print(sys.version)' >&2 9>&- \
        || give_up "python$version does not run inside the new root"
done
unmount_below "$new"

{
    printf 'revision %s\n' "$revision"
    for deb in "$work"/debs/*.deb "$work"/extras/*.deb; do
        [ ! -e "$deb" ] || dpkg-deb --show --showformat '${Package} ${Version}\n' "$deb"
    done
} >"$new/$stamp"

printf '%s\n' "$versions" >"$new/$wanted_stamp"

delete "$root"
# mktemp made the parent private, and a target in there may run as another user.
chmod 755 "$new"
mv "$new" "$root"
rm -f "$root.failed"
mount_inside "$root"
say "ready: $(grep -E '^python[0-9.]+ ' "$root/$stamp" | tr '\n' ' ')"
printf '%s\n' "$root"
