#!/usr/bin/env bash
# Counts the instructions that sending and receiving a message take. Fails if a count is more than 10 % above
# benches/instructions.txt. Counts, unlike times, are the same on a busy machine. Only for Linux on x86-64; on Debian and
# Ubuntu the script installs valgrind if it is missing.
#   ci/instructions.sh         checks
#   ci/instructions.sh bless   rewrites benches/instructions.txt, after an intended change
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
list=benches/instructions.txt
# The difference, in per cent, that another version of the compiler may make.
slack=10

[ "$(uname -sm)" = "Linux x86_64" ] || { echo "ci/instructions.sh: skipped, the counts are for Linux on x86-64"; exit 0; }
command -v valgrind >/dev/null || ci/install.sh valgrind
cargo build --locked --release --manifest-path benches/Cargo.toml --bin instructions
program="${CARGO_TARGET_DIR:-benches/target}/release/instructions"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# $1: operation; $2: bytes. Prints the count for one message: the difference of two runs, without the work that is done once.
count() {
    local messages found=()
    for messages in 300 3300; do
        found+=("$(timeout 300 valgrind --tool=callgrind --callgrind-out-file="$folder/out" --collect-atstart=no \
            --toggle-collect=xshm_counted "$program" "$1" "$2" "$messages" 2>&1 |
            tee "$folder/log" | sed -n 's/.*Collected : \([0-9]*\).*/\1/p')")
        # No count: the program failed, and valgrind's output says why.
        [ "${found[-1]:-0}" -gt 0 ] || { cat "$folder/log" >&2; return 1; }
    done
    echo $(((found[1] - found[0]) / 3000))
}

failed=0
new="$folder/new.txt"
{
    echo "# Instructions for each message: operation, bytes, count. Checked by ci/instructions.sh, which also writes this."
    echo "# $(rustc --version)"
} >"$new"
for each in send/8 send/64 send/1024 send/65535 send_batch/64 receive/8 receive/64 receive/1024 receive/65535 \
    receive_batch/64 find_nothing/64; do
    operation=${each%/*} bytes=${each#*/}
    now=$(count "$operation" "$bytes") || { echo "ci/instructions.sh: $operation $bytes cannot be counted" >&2; exit 1; }
    echo "$operation $bytes $now" >>"$new"
    [ "${1:-}" != bless ] || { echo "$operation $bytes: $now"; continue; }
    allowed=$(sed -n "s/^$operation $bytes \([0-9]*\)$/\1/p" "$list")
    echo "$operation $bytes: $now, listed $allowed"
    [ -n "$allowed" ] && [ "$now" -le $((allowed + allowed * slack / 100 + 2)) ] || failed=$((failed + 1))
done
[ "${1:-}" != bless ] || { cp "$new" "$list"; exit 0; }
[ "$failed" = 0 ] || { echo "ci/instructions.sh: $failed counts are more than $slack % above $list" >&2; exit 1; }
