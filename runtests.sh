#!/usr/bin/env bash
# Run the tests and the style check, in the active Python environment if it has everything in requirements.txt,
# otherwise in a new one in .venv (the first time, this downloads PyTorch: several GB on Linux).
cd "$(dirname "$0")" || exit 1

for python in python python3 .venv/bin/python .venv/Scripts/python; do
    "$python" tests/scoring/environment.py 2>/dev/null && break
    python=
done

if [ -z "$python" ]; then
    for base in python3 python; do
        "$base" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null && break
        base=
    done
    [ -n "$base" ] || { echo "runtests.sh: Python 3.8 or later was not found" >&2; exit 1; }
    echo "creating an environment in .venv"
    "$base" -m venv .venv || { echo "runtests.sh: 'python3 -m venv' failed; on Debian: apt install python3-venv" >&2; exit 1; }
    python=.venv/bin/python
    [ -x "$python" ] || python=.venv/Scripts/python
    "$python" -m pip install -qq -r requirements.txt || { echo "runtests.sh: pip install failed" >&2; exit 1; }
fi

status=0
"$python" -m pytest "$@" || status=1
"$python" tests/scoring/style.py --max-line-length 120 . && echo "code style: no problems" || status=1
exit $status
