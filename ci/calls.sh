#!/usr/bin/env bash
# Counts the system calls of waits, signals and messages, with strace: tests/calls.rs has the limits. Only for Linux; on
# Debian and Ubuntu the script installs strace if it is missing. XSHM_LONG=1 counts for longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v strace >/dev/null || ci/install.sh strace
strace -o /dev/null true || { echo "ci/calls.sh: strace can't trace here" >&2; exit 1; }

# One test at a time, so that its two processes have the processors.
timeout 600 cargo test --locked --release --test calls -- --ignored --nocapture --test-threads=1
