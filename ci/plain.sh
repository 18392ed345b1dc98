#!/usr/bin/env bash
# Links the programs in tests/c/seed/ with a library for C, and runs them: a server and a client that exchange a message, and a
# multi-client server.
#   ci/plain.sh LIBRARY FOLDER RUNNER LINK ...
# FOLDER: where the programs go. RUNNER: what runs them, or nothing; "none" only links. LINK: the words of the command that links,
# with SOURCE and LIBRARY where they belong, and PROGRAM.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
library=$1 folder=$2 runner=$3
shift 3
mkdir -p "$folder"
for each in server client multi; do
    words=("$@")
    words=("${words[@]//SOURCE/tests/c/seed/$each.c}")
    words=("${words[@]//LIBRARY/$library}")
    "${words[@]//PROGRAM/$folder/$each.exe}"
done
[ "$runner" != none ] || { echo "linked: $folder"; exit 0; }
run() { timeout 60 $runner "$folder/$1.exe" | tr -d '\r\0'; }
run server >"$folder/server.log" &
[ "$(run client)" = "$(printf 'server says: Hello client')" ] || { echo "ci/plain.sh: the client failed" >&2; exit 1; }
wait $! || { echo "ci/plain.sh: the server failed" >&2; exit 1; }
same() { [ "$2" = "$3" ] || { printf 'ci/plain.sh: %s wrote "%s" in place of "%s"\n' "$@" >&2; exit 1; }; }
same "the server" "$(cat "$folder/server.log")" "received 13 bytes"
same "the multi-client server" "$(run multi)" "$(printf 'Broadcast sent to 0 clients\nConnected: 0 clients')"
echo "the first programs run: $folder"
