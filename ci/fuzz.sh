#!/usr/bin/env bash
# Fuzzes with libFuzzer and AddressSanitizer: a server and a client against a hostile peer that writes anything anywhere
# between any two steps, a multi-client server against hostile visitors, the order of clients that wait, and the C functions.
# Only for Linux; needs rustup and a C++ compiler, and fetches the rest.
#   ci/fuzz.sh                    each target for 20 seconds
#   ci/fuzz.sh SECONDS TARGET ... these targets, each for SECONDS: server client lobby pending c_abi
# Inputs that fail are in fuzz/artifacts, inputs that were tried in fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
seconds="${1:-20}"
shift || true
[ $# -gt 0 ] || set -- server client lobby pending c_abi

if ! cargo +nightly --version >/dev/null 2>&1; then
    rustup toolchain install nightly --profile minimal --no-self-update
fi
command -v c++ >/dev/null || { echo "ci/fuzz.sh: needs a C++ compiler (c++)" >&2; exit 1; }
export PATH="$target_dir/tools/bin:$PATH"
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz --version "^0.13" --root "$target_dir/tools"

for target in "$@"; do
    echo "== fuzz: $target"
    # Longer inputs find little more than short ones.
    CARGO_TARGET_DIR="$target_dir/fuzz" cargo +nightly fuzz run "$target" -- \
        -max_total_time="$seconds" -max_len=2000 -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 2>"$target_dir/fuzz-$target.log" || {
        tail -60 "$target_dir/fuzz-$target.log" >&2
        exit 1
    }
    grep -E "^stat::(number_of_executed_units|average_exec_per_sec)|^Done" "$target_dir/fuzz-$target.log"
done
