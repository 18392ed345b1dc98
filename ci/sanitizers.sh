#!/usr/bin/env bash
# The native tests under ThreadSanitizer and AddressSanitizer. Linux; needs rustup, and fetches the rest.
# All tests that have threads; with XSHM_LONG=1 the units too, which take minutes so. Not `idle`, which counts how often the process
# wakes up: a sanitizer's own thread does.
#   ci/sanitizers.sh           both
#   ci/sanitizers.sh thread    one of: thread address
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir="${CARGO_TARGET_DIR:-target}"
host="$(rustc -vV | sed -n 's/^host: //p')"
if ! rustup +nightly component list --installed 2>/dev/null | grep -q rust-src; then
    rustup toolchain install nightly --profile minimal --no-self-update --component miri,rust-src
fi
[ $# -gt 0 ] || set -- thread address
tests="--test auto --test multi --test messages --test readiness --test sessions --test waiting --test hostile --test linux"
[ -z "${XSHM_LONG:-}" ] || tests="$tests --lib --test crowd --test descriptors --test kills --test leaks --test ordering --test storm --test stress"
# Handlers that panic are part of the tests; to name the lines of such a program takes longer than tests wait.
export RUST_BACKTRACE=0
# Tests make handlers that hold what holds them. What the library itself leaves behind is counted by tests/leaks.rs and kills.rs.
export ASAN_OPTIONS=detect_leaks=0
for sanitizer in "$@"; do
    echo "== sanitizer: $sanitizer"
    # The standard library too: what it locks and joins has to be seen. Copies by words: sanitizers don't see into assembly.
    RUSTFLAGS="-Zsanitizer=$sanitizer --cfg xshm_words" RUSTDOCFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="$target_dir/$sanitizer-sanitizer" \
        cargo +nightly test --locked -Zbuild-std --target "$host" $tests
done
