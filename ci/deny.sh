#!/usr/bin/env bash
# Checks the licenses, sources, versions and known faults of the dependencies, by deny.toml.
#   ci/deny.sh            everything; fetches the list of known faults from github.com
#   ci/deny.sh CHECK ...  only these: advisories bans licenses sources
# The first call builds cargo-deny in target/tools, which takes a few minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ci/tool.sh cargo-deny 0.20.2
PATH="$PWD/${CARGO_TARGET_DIR:-target}/tools/bin:$PATH" cargo deny --workspace --locked check "$@"
