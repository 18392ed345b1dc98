#!/usr/bin/env bash
# Counts the system calls of waits, signals and messages, with strace: tests/calls.rs says how many there may be. Linux;
# on Debian and Ubuntu it installs strace where it is missing. XSHM_LONG=1 counts for longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v strace >/dev/null || ci/install.sh strace
strace -o /dev/null true || { echo "ci/calls.sh: strace can't trace here" >&2; exit 1; }

# One after the other: the processors are for the two processes of one test.
timeout 600 cargo test --locked --release --test calls -- --ignored --nocapture --test-threads=1
