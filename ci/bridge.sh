#!/usr/bin/env bash
# Builds and tests the bridge to other machines (bridge/), on Linux:
#   ci/bridge.sh               formatting, clippy, unit tests, tests on one machine and between network namespaces
#   XSHM_LONG=1 ci/bridge.sh   the same with a file of 200 MB, a soak of 10 minutes, and longer measurements of the throughput
# The tests between namespaces need root. With XSHM_REQUIRE_ALL=1 they fail where they cannot run; this is the default for root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ci/install.sh iproute2 openssl
if [ "$(id -u)" = 0 ]; then
    export XSHM_REQUIRE_ALL="${XSHM_REQUIRE_ALL:-1}"
fi

cd bridge
cargo fmt --check
cargo clippy --locked --release --all-targets -- -D warnings

# One build for the program, the peers at its ends and the tests.
cargo test --locked --release --no-run
started=$SECONDS
cargo test --locked --release --lib --bins
cargo test --locked --release --test local -- --test-threads=2
# One after the other: the tests share the processors, and one measures the throughput.
cargo test --locked --release --test namespaces -- --test-threads=1 --nocapture
"${CARGO_TARGET_DIR:-target}/release/xshm-bridge" run --check packaging/xshm-bridge.toml
echo "ci/bridge.sh: the tests took $((SECONDS - started)) s"
