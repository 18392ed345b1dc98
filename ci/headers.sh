#!/usr/bin/env bash
# Copies the generated xshm.h into include/, after a change of the C interface.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# cargo reports the folder into which the build wrote it.
out=$(cargo build --locked --lib --message-format json | sed -n 's/.*"package_id":"[^"]*xshm[^"]*".*"out_dir":"\([^"]*\)".*/\1/p' | tail -1)
cp "$out/xshm.h" include/xshm.h
