#!/bin/sh
# Makes build/app.wasm; `ambrosia-host up` runs it (see ambrosia.toml).
set -eu
cd "$(dirname "$0")"

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

for tool in node npm; do
    command -v "$tool" >/dev/null 2>&1 ||
        fail "there is no \`$tool\`, which builds the module: install Node.js 20 or newer, with npm, from your system's packages or https://nodejs.org"
done
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
    fail "this Node.js is $(node --version), and 20 or newer builds the module"

# npm writes that file when all is there that package.json asks for.
if ! [ node_modules/.package-lock.json -nt package.json ]; then
    npm install --no-audit --no-fund ||
        fail "npm could not install what package.json asks for, as is said above; it takes a network, once"
fi

# Each build makes other bytes of the same sources, which would be another module: so there is one when a source has changed.
sources() {
    find . \( -path './.*' -o -path ./build -o -path ./node_modules -o -path ./test -o -name '*.md' \) -prune \
        -o -type f -exec cksum {} + | sort
}
mkdir -p build
sources >build/.now
if [ -f build/app.wasm ] && cmp -s build/.now build/.sources; then
    exit 0
fi
npm run --silent build
mv build/.now build/.sources
