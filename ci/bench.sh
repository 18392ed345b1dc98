#!/usr/bin/env bash
# How fast xshm is, natively and under Wine, as ratios to what the machine can do and to other libraries:
#   ci/bench.sh                 everything; tables, figures and pictures go to docs/bench/
#   ci/bench.sh --only P1,P3    only these rows of the table; writes nothing
#   ci/bench.sh --quick         a few blocks, which show that it runs; writes nothing
# The machine should have nothing else to do meanwhile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
manifest=benches/Cargo.toml
folder=docs/bench

# One of the peers is C++, and headers alone; without them the table says that it is missing.
if [ ! -d /usr/include/boost/interprocess ] && command -v apt-get >/dev/null; then
    ci/install.sh libboost-dev g++
fi

# Only whole runs replace the figures.
natively=("$@")
wine=("$@")
whole=0
if [ $# = 0 ]; then
    whole=1
    natively=(--json "$root/$folder/linux.json" --svg "$root/$folder")
    wine=(--json "$root/$folder/wine.json" --svg "$root/$folder")
fi

# $1: the name of the figures; the rest: a command.
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

# Sections of Windows lie in memory. Those of Wine lie in files of its server's folder in /tmp, and where that is on a
# disk, their pages are handed between processors more slowly: 20 ns more for each message. So memory is mounted there,
# for these programs alone, where the system lets us.
in_memory() {
    ci/wine.sh setup
    ci/wine.sh stop
    local unshare
    for unshare in "unshare --mount" "unshare --mount --map-root-user"; do
        if $unshare mount -t tmpfs tmpfs /tmp 2>/dev/null; then
            $unshare bash -euc '
                folder=/tmp/.wine-$(id -u)
                # Debian gives each prefix its own folder, and notes its name there.
                noted=${XSHM_WINEPREFIX:-target/wine}/wineserver
                [ ! -e "$noted" ] || folder=/tmp/$(cat "$noted")
                mkdir -p -m 700 "$folder"
                mount -t tmpfs -o mode=700 tmpfs "$folder"
                trap "ci/wine.sh stop" EXIT
                "$@"' bash "$@"
            return
        fi
    done
    echo "ci/bench.sh: no memory to be mounted for Wine: its sections lie wherever /tmp is" >&2
    "$@"
}
run wine in_memory ci/wine.sh bench --locked --manifest-path "$manifest" -- "${wine[@]}"
