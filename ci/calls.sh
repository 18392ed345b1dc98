#!/usr/bin/env bash
# Counts the system calls of waits, signals and messages, with strace: tests/calls.rs says how many there may be. Linux;
# on Debian and Ubuntu it installs strace where it is missing. XSHM_LONG=1 counts for longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

if ! command -v strace >/dev/null; then
    command -v apt-get >/dev/null || { echo "ci/calls.sh: needs strace" >&2; exit 1; }
    echo "ci/calls.sh: installing strace" >&2
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends strace >&2
fi
strace -o /dev/null true || { echo "ci/calls.sh: strace can't trace here" >&2; exit 1; }

# One after the other: the processors are for the two processes of one test.
timeout 600 cargo test --locked --release --test calls -- --ignored --nocapture --test-threads=1
