#!/bin/sh
# Makes a virtual environment with pip, on a bare Debian or Ubuntu too, where python3-venv is a package of its own.
set -eu
venv=$1

if [ -n "${PYTHON:-}" ] && ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    echo "error: PYTHON=$PYTHON is not a Python 3.11 or newer" >&2
    exit 1
fi

find_python() {
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14; do
        [ -n "$name" ] || continue
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
}

python=$(find_python)
if [ -z "$python" ]; then
    echo "error: no Python 3.11 or newer found" >&2
    echo "  -> install one (Debian, Ubuntu: apt-get install python3), or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root=none; fi
    if ! command -v apt-get >/dev/null 2>&1 || [ "$as_root" = none ]; then
        echo "error: $python has no venv module" >&2
        echo "  -> install the package $package (as root: apt-get install $package), then run make again" >&2
        exit 1
    fi
    echo "$python has no venv module; installing $package"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq
    $as_root apt-get install -y -qq --no-install-recommends "$package" >/dev/null
fi

if [ -e "$venv" ] && [ ! -e "$venv/.long1k" ] && [ ! -e "$venv/.made" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
    echo "error: $venv is there already and was not made by this script" >&2
    echo "  -> remove it yourself, or name another: make VENV=/path/to/new" >&2
    exit 1
fi
rm -rf "$venv"
"$python" -m venv "$venv"
touch "$venv/.long1k"
echo "made $venv with $("$venv/bin/python" --version)"
