#!/usr/bin/env bash
# Builds examples/echo for each target, and exchanges messages over one channel for each pair of a server and a client. On
# Windows it runs in Git's bash.
#   ci/pairs.sh TARGET TARGET ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir="${CARGO_TARGET_DIR:-target}"

for target in "$@"; do
    case "$(rustup target list --installed)" in *"$target"*) ;; *) rustup target add "$target" ;; esac
    cargo build --locked --release --example echo --target "$target"
done
for server in "$@"; do
    for client in "$@"; do
        name="ci.pairs.$$.$RANDOM"
        echo "server: $server, client: $client"
        timeout 60 "$target_dir/$server/release/examples/echo" serve "$name" 20000 &
        timeout 60 "$target_dir/$client/release/examples/echo" answer "$name" 20000
        wait $!
    done
done
