#!/usr/bin/env bash
# Builds a tool from crates.io in target/tools, unless it is there.
#   ci/tool.sh CRATE VERSION [OPTION ...]    options of cargo install
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}/tools"
tools="$(cd "${CARGO_TARGET_DIR:-target}/tools" && pwd)"
crate=$1 version=$2
shift 2
if ! grep -q "\"$crate $version " "$tools/.crates2.json" 2>/dev/null; then
    cargo install "$crate" --version "$version" --locked --root "$tools" --target-dir "$tools/build" "$@"
    rm -rf "$tools/build"
fi
