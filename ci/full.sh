#!/usr/bin/env bash
# The long forms. First all of ci/test.sh as it is; then the tests with long counts; then the models without bounds,
# and the mutants; then every test again and again. Takes hours. Needs what ci/test.sh needs.
#   ci/full.sh            all steps
#   ci/full.sh STEP ...   some of: short tests models mutants driver sanitizers fuzz soak first_program repeat bench
# XSHM_REPEATS says how often to repeat, 100 times unless set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repeats="${XSHM_REPEATS:-100}"
log="${CARGO_TARGET_DIR:-target}/full.log"

short() { ci/test.sh; }

# XSHM_LONG makes tests and models use their long counts: natively and under Wine.
tests() { XSHM_LONG=1 ci/test.sh linux tests ping_pong send_file; }

models() { XSHM_LONG=1 ci/test.sh models; }

mutants() { ci/mutants.sh; }

# A driver in Wine, ten times from nothing; and its header against the library, for long.
driver() { ci/driver.sh 10 && XSHM_LONG=1 ci/c.sh driver_header; }

sanitizers() { XSHM_LONG=1 ci/sanitizers.sh; }

fuzz() { ci/fuzz.sh 1800; }

soak() {
    cargo run --locked --release --example soak -- 30
    ci/wine.sh run --locked --release --example soak -- 10
}

# All figures, from a machine that does nothing else.
bench() { ci/bench.sh; }

# The shortest program, which must do its work every time.
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

# Every test in its short form, over and over: what happens once in a hundred runs shows here.
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

steps=(short tests models mutants driver sanitizers fuzz soak first_program repeat bench)
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
