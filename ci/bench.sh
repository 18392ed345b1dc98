#!/usr/bin/env bash
# Measures how fast xshm is, natively and under Wine, as ratios to the machine's limits and to other libraries:
#   ci/bench.sh                 everything; tables, figures and pictures go to docs/bench/
#   ci/bench.sh --only P1,P3    only these rows of the table; writes no files
#   ci/bench.sh --quick         a few blocks, which show that it runs; writes no files
# The machine should run nothing else meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
manifest=benches/Cargo.toml
folder=docs/bench

# Two of the peers are C++ libraries. Without them the table reports that they are missing.
if [ ! -d /usr/include/boost/interprocess ] || [ ! -e /usr/include/zmq.h ] && command -v apt-get >/dev/null; then
    ci/install.sh libboost-dev libzmq3-dev g++
fi

# Only full runs replace the recorded figures.
natively=("$@")
wine=("$@")
whole=0
if [ $# = 0 ]; then
    whole=1
    natively=(--json "$root/$folder/linux.json" --svg "$root/$folder")
    wine=(--json "$root/$folder/wine.json" --svg "$root/$folder")
fi

# $1: the name of the file for the output; the rest: a command.
run() {
    local name=$1
    shift
    if [ "$whole" = 1 ]; then
        mkdir -p "$folder"
        "$@" | tee "$folder/$name.txt"
    else
        "$@"
    fi
}
run linux cargo bench --locked --manifest-path "$manifest" -- "${natively[@]}"
echo

# Sections of Windows are in memory. Those of Wine are files in its server's folder in /tmp. If /tmp is on a disk, their
# cache lines move between processors more slowly: 20 ns more for each message. So the script mounts memory there, for
# these programs only, if the system permits it.
in_memory() {
    ci/wine.sh setup
    ci/wine.sh stop
    local unshare
    for unshare in "unshare --mount" "unshare --mount --map-root-user"; do
        if $unshare mount -t tmpfs tmpfs /tmp 2>/dev/null; then
            $unshare bash -euc '
                folder=/tmp/.wine-$(id -u)
                # Debian gives each prefix its own folder, and writes its name into a file of the prefix.
                noted=${XSHM_WINEPREFIX:-target/wine}/wineserver
                [ ! -e "$noted" ] || folder=/tmp/$(cat "$noted")
                mkdir -p -m 700 "$folder"
                mount -t tmpfs -o mode=700 tmpfs "$folder"
                trap "ci/wine.sh stop" EXIT
                "$@"' bash "$@"
            return
        fi
    done
    echo "ci/bench.sh: no memory can be mounted for Wine: its sections stay in /tmp" >&2
    "$@"
}
run wine in_memory ci/wine.sh bench --locked --manifest-path "$manifest" -- "${wine[@]}"
