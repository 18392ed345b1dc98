#!/usr/bin/env bash
# Compares the Rust interface with that of the last tagged version: a change that breaks programs needs a new version.
#   ci/semver.sh        against the last tag; without a tag there is nothing to compare
#   ci/semver.sh REV    against another revision
# The first call builds cargo-semver-checks in target/tools, which takes a few minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
baseline=${1:-$(git describe --tags --abbrev=0 2>/dev/null || true)}
[ -n "$baseline" ] || { echo "ci/semver.sh: there is no tagged version yet"; exit 0; }
ci/tool.sh cargo-semver-checks 0.51.0
PATH="$PWD/${CARGO_TARGET_DIR:-target}/tools/bin:$PATH" cargo semver-checks --package xshm --baseline-rev "$baseline"
