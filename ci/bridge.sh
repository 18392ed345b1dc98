#!/usr/bin/env bash
# Builds and tests the bridge to other machines (bridge/), on Linux and on Windows:
#   ci/bridge.sh               the steps lints and native
#   ci/bridge.sh STEP ...      only these steps:
#     lints     formatting and clippy
#     native    unit tests, tests on one machine, and, on Linux, tests between network namespaces
#     wine      on Linux, clippy for Windows, and the tests on one machine as Windows programs under Wine
#   XSHM_LONG=1 ci/bridge.sh   the same with a file of 200 MB, a soak of 10 minutes, and longer measurements of the throughput
# The tests between namespaces need root. With XSHM_REQUIRE_ALL=1 they fail where they cannot run; this is the default for root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
manifest=bridge/Cargo.toml

case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*) system=windows host=(${XSHM_TARGET:+--target "$XSHM_TARGET"}) ;;
*) system=linux host=() ;;
esac

lints() {
    cargo fmt --check --manifest-path "$manifest"
    cargo clippy --locked --release --all-targets --manifest-path "$manifest" "${host[@]}" -- -D warnings
}

native() {
    local cargo_test=(cargo test --locked --release --manifest-path "$manifest" "${host[@]}")
    if [ "$system" = linux ]; then
        ci/install.sh iproute2
        [ "$(id -u)" != 0 ] || export XSHM_REQUIRE_ALL="${XSHM_REQUIRE_ALL:-1}"
    fi
    # One build for the program, the peers at its ends and the tests.
    "${cargo_test[@]}" --no-run
    local started=$SECONDS
    "${cargo_test[@]}" --lib --bins
    "${cargo_test[@]}" --test library --test local -- --test-threads=2
    # One after the other: the tests share the processors, and one measures the throughput.
    "${cargo_test[@]}" --test namespaces -- --test-threads=1 --nocapture
    cargo run --quiet --locked --release --manifest-path "$manifest" "${host[@]}" -- \
        run --check bridge/packaging/xshm-bridge.toml
    echo "ci/bridge.sh: the tests took $((SECONDS - started)) s"
}

wine() {
    [ "$system" = linux ] || return 0
    ci/wine.sh setup
    cargo clippy --locked --release --all-targets --manifest-path "$manifest" --target x86_64-pc-windows-gnu -- -D warnings
    local wine_test=(ci/wine.sh test --locked --release --manifest-path "$manifest")
    "${wine_test[@]}" --no-run
    "${wine_test[@]}" --lib --bins
    "${wine_test[@]}" --test library --test local -- --test-threads=2
    # Between the two systems, in both directions.
    cargo build --locked --release --manifest-path "$manifest" --bins --example peers
    local built="${CARGO_TARGET_DIR:-bridge/target}"
    local windows="ci/wine.sh exec $built/x86_64-pc-windows-gnu/release"
    between "$built/release" "" "$windows" .exe
    between "$windows" .exe "$built/release" ""
    ci/wine.sh stop
}

# A server and its bridge, and a client and its bridge, for two systems. The arguments: for each, how a command of it begins, up to the
# folder of the programs, and how the program's name ends.
between() {
    local server=$1 server_end=$2 client=$3 client_end=$4
    local name="ci-between-$$" port=$((20000 + RANDOM % 10000)) started=() result=0
    $server/examples/peers$server_end echo-server "$name-here" sync &
    started+=($!)
    $server/xshm-bridge$server_end export "$name-here" --key "$name" --listen "tcp/127.0.0.1:$port" --no-multicast &
    started+=($!)
    $client/xshm-bridge$client_end import "$name-there" --key "$name" --connect "tcp/127.0.0.1:$port" --no-multicast &
    started+=($!)
    $client/examples/peers$client_end echo-client "$name-there" 500 1000 || result=$?
    kill "${started[@]}" || true
    wait "${started[@]}" || true
    return "$result"
}

steps=(lints native wine)
for each in "$@"; do
    case " ${steps[*]} " in
    *" $each "*) ;;
    *) echo "ci/bridge.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
if [ $# -gt 0 ]; then steps=("$@"); else steps=(lints native); fi
for each in "${steps[@]}"; do
    echo "== bridge: $each"
    started=$SECONDS
    "$each"
    echo "-- bridge: $each: $((SECONDS - started)) s"
done
