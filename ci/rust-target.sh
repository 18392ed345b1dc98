#!/usr/bin/env bash
# Adds targets to the Rust toolchain that lack there, for the other scripts:
#   ci/rust-target.sh TARGET ...
# Each script calls this before it builds for a target, since a new machine has only its own.
set -euo pipefail
installed=$(rustup target list --installed)
for target in "$@"; do
    grep -qxF "$target" <<<"$installed" || rustup target add "$target" >&2
done
