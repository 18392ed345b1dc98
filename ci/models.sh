#!/usr/bin/env bash
# Runs the model checker (loom) and the interpreter (Miri) on the ring, the wake words and the handshake. Needs rustup;
# fetches Miri if it is missing.
#   ci/models.sh              all four steps
#   ci/models.sh loom         the models with frames of one word (the worst case)
#   ci/models.sh full_frames  the models of the ring with the real frames of 64 bytes
#   ci/models.sh long_frames  the models of the ring with long frames for all but the shortest messages
#   ci/models.sh miri         the unit tests under Miri
# XSHM_LONG=1 runs longer: more preemptions in the models, more schedules under Miri.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_dir="${CARGO_TARGET_DIR:-target}"
if [ -n "${XSHM_LONG:-}" ]; then
    # Each model ends after this number of seconds, even if it is not complete.
    export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-4}" LOOM_MAX_DURATION="${LOOM_MAX_DURATION:-900}"
    miri_flags="-Zmiri-many-seeds=0..16"
else
    miri_flags=""
fi

# $1: the build folder below target; $2: compiler flags; the rest: the models.
run_models() {
    local directory=$1 configuration=$2
    shift 2
    # To optimise each crate alone takes a third of the time, and the models are as fast.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 RUSTFLAGS="$configuration" CARGO_TARGET_DIR="$target_dir/$directory" \
        cargo test --locked --release --package xshm --lib -- --nocapture "$@"
}

loom() { run_models loom "--cfg loom" models::; }

ring_models=(models::push models::a_pad models::eviction models::a_full_ring models::a_peek models::a_reported_size
    models::a_place)

full_frames() { run_models loom_full_frames "--cfg loom --cfg xshm_full_frames" "${ring_models[@]}"; }

long_frames() {
    run_models loom_long_frames "--cfg loom --cfg xshm_long_frames" "${ring_models[@]}" models::a_message_written models::a_batch
}

miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        rustup toolchain install nightly --profile minimal --no-self-update --component miri,rust-src
    fi
    # The in-process platform represents sections by numbers, as a real platform does.
    local -x MIRIFLAGS="-Zmiri-permissive-provenance $miri_flags ${MIRIFLAGS:-}"
    local run=(cargo +nightly miri test --locked --lib --target-dir "$target_dir/miri" --)
    # Miri runs one test after the other. So each processor, up to eight, has a process with a part of the tests.
    local names each count lane lanes=() status=0
    # With several seeds, Miri prints the list once for each.
    names=$("${run[@]}" --list | sed -n 's/: test$//p' | sort -u)
    [ -n "$names" ] || { echo "ci/models.sh: Miri lists no test" >&2; return 1; }
    count=$(nproc)
    count=$((count < 8 ? count : 8))
    for ((lane = 0; lane < count; lane++)); do
        # shellcheck disable=SC2046 # One word for each name.
        "${run[@]}" --exact $(awk -v lane="$lane" -v count="$count" 'NR % count == lane' <<<"$names") &
        lanes+=($!)
    done
    for each in "${lanes[@]}"; do
        wait "$each" || status=1
    done
    return "$status"
}

steps=(loom full_frames long_frames miri)
for each in "$@"; do
    case " ${steps[*]} " in
    *" $each "*) ;;
    *) echo "ci/models.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
[ $# -eq 0 ] || steps=("$@")

for each in "${steps[@]}"; do
    echo "== models: $each"
    started=$SECONDS
    "$each"
    echo "-- models: $each: $((SECONDS - started)) s"
done
