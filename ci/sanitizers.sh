#!/usr/bin/env bash
# Runs native tests under ThreadSanitizer and AddressSanitizer. Only for Linux; needs rustup, and fetches the rest.
# XSHM_LONG=1 adds the unit tests and further tests, which take minutes. `idle` is left out: it counts how often the process
# wakes up, and a sanitizer has its own thread, which wakes up too.
#   ci/sanitizers.sh           both
#   ci/sanitizers.sh thread    only one: thread or address
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
# Some tests have handlers that panic. With a sanitizer, printing a backtrace takes longer than the tests wait.
export RUST_BACKTRACE=0
# Some tests make handlers that own their endpoint, which is a leak. tests/leaks.rs and kills.rs check the library for leaks.
export ASAN_OPTIONS=detect_leaks=0
for sanitizer in "$@"; do
    echo "== sanitizer: $sanitizer"
    # The standard library is built with the sanitizer too, which must see its locks and joins. `xshm_words` copies payloads
    # without assembly, which sanitizers cannot check.
    RUSTFLAGS="-Zsanitizer=$sanitizer --cfg xshm_words" RUSTDOCFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="$target_dir/$sanitizer-sanitizer" \
        cargo +nightly test --locked -Zbuild-std --target "$host" $tests
done
