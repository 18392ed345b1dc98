#!/usr/bin/env bash
# The native tests under ThreadSanitizer and AddressSanitizer. Linux; needs rustup, and fetches the rest.
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
for sanitizer in "$@"; do
    echo "== sanitizer: $sanitizer"
    # The standard library too: what it locks and joins has to be seen.
    RUSTFLAGS="-Zsanitizer=$sanitizer" RUSTDOCFLAGS="-Zsanitizer=$sanitizer" CARGO_TARGET_DIR="$target_dir/$sanitizer-sanitizer" \
        cargo +nightly test --locked -Zbuild-std --target "$host" --lib --tests
done
