#!/usr/bin/env bash
# Copies the generated xshm.h into include/, after a change of the C interface.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# cargo reports the folder into which the build wrote it.
out=$(cargo build --locked --package xshm-c --message-format json |
    sed -n 's/.*"package_id":"[^"]*xshm-c[^"]*".*"out_dir":"\([^"]*\)".*/\1/p' | tail -1)
cp "$out/xshm.h" include/xshm.h
