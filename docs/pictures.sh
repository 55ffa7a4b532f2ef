#!/usr/bin/env bash
# Makes the pictures of this folder anew, with the programs of fixtures/: docs/pictures.sh [PYTHON].
#
# It takes two minutes. PYSPY_RS is the binary to use, instead of a release build of this clone. Look at the
# pictures before you commit them, also in a narrow window and with a dark colour scheme.
set -euo pipefail
cd "$(dirname "$0")/.."

python=$(command -v "${1:-python3}") || {
    echo "docs/pictures.sh: no such Python: ${1:-python3}" >&2
    exit 1
}
if [ -n "${PYSPY_RS:-}" ]; then
    pyspy_rs=$(realpath "$PYSPY_RS")
else
    cargo build --release --locked
    pyspy_rs=$PWD/target/release/pyspy-rs
fi
docs=$PWD/docs
cd fixtures

# Below 3 pixels are imports at the program's start.
"$pyspy_rs" record --min-width 3 -o "$docs/split.svg" -- "$python" split.py 5

# With arguments: the service runs longer than both recordings. It prints a line when it is ready.
exec 3< <(exec "$python" thumbnails.py 400)
service=$!
trap 'kill "$service" 2>/dev/null || true' EXIT
read -r ready <&3
[ "$ready" = ready ]
"$pyspy_rs" record -o "$docs/leak.timeline.svg" -d 60 --pid "$service"
"$pyspy_rs" record --memory -F -o "$docs/leak.svg" -d 30 --pid "$service"

# A picture names the machine that recorded it, which no reader of the documentation needs.
sed -i "s/ · host [^ <]*//" "$docs/split.svg" "$docs/leak.svg" "$docs/leak.timeline.svg"
