#!/usr/bin/env bash
# Runs the long forms: first all of ci/test.sh, then the tests with long counts, the models with wider bounds, the mutants
# and others, and then every test again and again. Takes hours. Needs what ci/test.sh needs.
#   ci/full.sh            all steps
#   ci/full.sh STEP ...   only these steps: short tests models mutants driver new_wine sanitizers fuzz soak bridge
#                         first_program deadlines repeat registry bench
# XSHM_REPEATS is the number of repetitions, by default 100.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repeats="${XSHM_REPEATS:-100}"
log="${CARGO_TARGET_DIR:-target}/full.log"

short() { ci/test.sh; }

# XSHM_LONG makes tests and models use their long counts: natively and under Wine.
tests() { XSHM_LONG=1 ci/test.sh linux tests ping_pong send_file; }

models() { XSHM_LONG=1 ci/test.sh models; }

mutants() { ci/mutants.sh; }

# The driver in Wine, ten times in a fresh prefix; and its header against the library, with long counts.
driver() { ci/driver.sh 10 && XSHM_LONG=1 ci/c.sh driver_header; }

# A newer Wine, which also runs 32-bit programs: all tests in each of the four shapes of Windows programs, each pair of them over
# one channel, the C programs, and the driver. For root on Debian, since it makes a Debian of its own in target/wine-of.
new_wine() {
    local wine="ci/wine-of.sh trixie" each
    local gnu=(x86_64-pc-windows-gnu i686-pc-windows-gnu) msvc=(x86_64-pc-windows-msvc i686-pc-windows-msvc)
    $wine setup
    ci/rust-target.sh "${gnu[@]}"
    for each in "${gnu[@]}"; do
        env "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$each")_RUNNER=$wine exec" \
            cargo test --locked --target "$each" --lib --bins --tests --examples
    done
    export XSHM_RUNNER="$wine exec" XSHM_RUNNER_32="$wine exec"
    for each in x86_64 i686; do
        ci/msvc.sh "$each" test --locked --lib --bins --tests --examples
        ci/msvc-c.sh "$each"
    done
    XSHM_MESSAGES=2000 ci/pairs.sh "${gnu[@]}" "${msvc[@]}"
    ci/c.sh plain windows_x86
    XSHM_WINE=$wine ci/driver.sh
    $wine stop
    unset XSHM_RUNNER XSHM_RUNNER_32
}

sanitizers() { XSHM_LONG=1 ci/sanitizers.sh; }

fuzz() { ci/fuzz.sh 1800; }

soak() {
    cargo run --locked --release --example soak -- 30
    ci/wine.sh run --locked --release --example soak -- 10
}

# All figures, on a machine that does nothing else.
bench() { ci/bench.sh; }

# The shortest program, which must work every time.
first_program() {
    local round
    ci/wine.sh build --locked --release --example hello
    cargo build --locked --release --example hello
    for ((round = 1; round <= repeats; round++)); do
        { ci/wine.sh run --quiet --locked --release --example hello &&
            cargo run --quiet --locked --release --example hello; } >"$log" 2>&1 || {
            cat "$log" >&2
            echo "ci/full.sh: run $round of $repeats failed" >&2
            return 1
        }
    done
    echo "$repeats runs of $repeats"
}

# The bridge with long forms, and as Windows programs.
bridge() {
    XSHM_LONG=1 ci/bridge.sh lints native
    ci/bridge.sh wine
}

# Calls with a deadline of 5 ms beside busy loops: at least 99 % keep it.
deadlines() {
    local round
    for ((round = 1; round <= 5; round++)); do
        cargo run --quiet --locked --release --example deadlines
    done
}

# The dependencies by deny.toml, without the list of known faults, which is not in a package registry; and the Rust interface
# against the last tag.
registry() {
    ci/deny.sh bans licenses sources
    ci/semver.sh
    ci/release.sh check sbom
}

# Every test in its short form, many times: finds faults that happen once in a hundred runs.
repeat() {
    local round
    for ((round = 1; round <= repeats; round++)); do
        ci/test.sh linux tests >"$log" 2>&1 || {
            cat "$log" >&2
            echo "ci/full.sh: round $round of $repeats failed" >&2
            return 1
        }
        echo "round $round of $repeats passed"
    done
}

steps=(short tests models mutants driver new_wine sanitizers fuzz soak bridge first_program deadlines repeat registry bench)
for each in "$@"; do
    case " ${steps[*]} " in
    *" $each "*) ;;
    *) echo "ci/full.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
[ $# -eq 0 ] || steps=("$@")

passed=0
current=
summary() {
    local status=$?
    if [ "$status" = 0 ]; then
        echo "$passed passed, 0 failed"
    else
        echo "== $current FAILED" >&2
        echo "$passed passed, 1 failed"
    fi
}
trap summary EXIT
mkdir -p "$(dirname "$log")"
for current in "${steps[@]}"; do
    echo "==== $current"
    started=$SECONDS
    "$current"
    passed=$((passed + 1))
    echo "---- $current: $((SECONDS - started)) s"
done
