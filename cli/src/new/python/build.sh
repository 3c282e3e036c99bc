#!/bin/sh
# Makes build/app.wasm; `ambrosia-host up` runs it (see ambrosia.toml).
set -eu
cd "$(dirname "$0")"

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

# The tools are in .venv, as requirements.txt says which.
if ! [ .venv/installed -nt requirements.txt ]; then
    command -v python3 >/dev/null 2>&1 ||
        fail "there is no \`python3\`, which builds the module: install Python 3.10 or newer, with venv and pip, from your system's packages or https://python.org"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "this python3 is $(python3 --version), and 3.10 or newer builds the module"
    python3 -m venv .venv ||
        fail "python3 could not make a virtual environment, as is said above: install its venv (Debian and Ubuntu: python3-venv)"
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt ||
        fail "pip could not install what requirements.txt asks for, as is said above; it takes a network, once"
    touch .venv/installed
fi

# Each build makes other bytes of the same sources, which would be another module: so there is one when a source has changed.
sources() {
    find . \( -path './.*' -o -path ./build -o -name __pycache__ -o -name 'test_*.py' -o -name '*.md' \) -prune \
        -o -type f -exec cksum {} + | sort
}
mkdir -p build
sources >build/.now
if [ -f build/app.wasm ] && cmp -s build/.now build/.sources; then
    exit 0
fi
.venv/bin/componentize-py --quiet --wit-path wit --world app componentize --python-path . ambrosia.component --output build/app.wasm
mv build/.now build/.sources
