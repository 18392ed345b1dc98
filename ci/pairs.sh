#!/usr/bin/env bash
# Builds examples/echo for each target, and exchanges messages over one channel for each pair of a server and a client. On
# Windows it runs in Git's bash. On Linux, XSHM_RUNNER is what runs programs for Windows.
#   ci/pairs.sh TARGET TARGET ...
# XSHM_MESSAGES: the number of messages, by default 20000.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir="${CARGO_TARGET_DIR:-target}"
messages="${XSHM_MESSAGES:-20000}"

program() { # $1: target
    local path="$target_dir/$1/release/examples/echo"
    case "$1" in *-windows-*) echo "$path.exe" ;; *) echo "$path" ;; esac
}

for target in "$@"; do
    ci/rust-target.sh "$target"
    case "$OSTYPE $target" in
    linux*-windows-msvc) ci/msvc.sh "${target%%-*}" build --locked --release --example echo ;;
    *) cargo build --locked --release --example echo --target "$target" ;;
    esac
done
for server in "$@"; do
    for client in "$@"; do
        name="ci.pairs.$$.$RANDOM"
        echo "server: $server, client: $client"
        timeout 120 ${XSHM_RUNNER:-} "$(program "$server")" serve "$name" "$messages" &
        timeout 120 ${XSHM_RUNNER:-} "$(program "$client")" answer "$name" "$messages"
        wait $!
    done
done
