#!/usr/bin/env bash
# Copies the header that the build generated into include/, after a change to the C interface.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The build says where it put it.
out=$(cargo build --locked --lib --message-format json | sed -n 's/.*"package_id":"[^"]*xshm[^"]*".*"out_dir":"\([^"]*\)".*/\1/p' | tail -1)
cp "$out/xshm.h" include/xshm.h
