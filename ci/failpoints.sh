#!/usr/bin/env bash
# Kills, holds and freezes processes at each named place of the library, natively and under Wine: tests/failpoints.rs and
# tests/freezes.rs, in a build that has these places.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}/failpoints"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/failpoints"
export XSHM_WINEPREFIX="${XSHM_WINEPREFIX:-$PWD/target/wine}"
# RUSTFLAGS replaces the flags of .cargo/config.toml, so those for Windows are repeated.
RUSTFLAGS="--cfg xshm_failpoints" cargo test --locked --test failpoints --test freezes
RUSTFLAGS="--cfg xshm_failpoints -C target-feature=+crt-static" ci/wine.sh test --locked --test failpoints --test freezes
