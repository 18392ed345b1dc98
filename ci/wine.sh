#!/usr/bin/env bash
# Runs cargo for x86_64-pc-windows-gnu, with tests and programs under Wine:
#   ci/wine.sh test
#   ci/wine.sh run --release --example ping_pong
# First sets up what is missing: Wine, MinGW, the Rust target, a private Wine prefix (target/wine), and the one DLL that
# Rust's standard library needs and Wine 8 lacks.
# `ci/wine.sh setup` does only that. `ci/wine.sh stop` ends Wine's processes, which run on for a while after a program.
# `ci/wine.sh exec PROGRAM ...` runs a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
target=x86_64-pc-windows-gnu

export WINEPREFIX="${XSHM_WINEPREFIX:-$root/target/wine}"
if [ "${1:-}" = stop ]; then
    ! command -v wineserver >/dev/null || wineserver -k || true
    exit 0
fi

# Debian has the preloader in a separate package. It reserves the addresses that Windows programs need. Without it, one start
# in some thousands fails, because the kernel has mapped something else at 0x7ffe0000: the program ends with status 1 before
# it begins, and CreateProcess fails with 1359, ERROR_INTERNAL_ERROR.
if ! command -v wine >/dev/null || ! command -v x86_64-w64-mingw32-gcc >/dev/null ||
    { [ -e /usr/lib/wine/wine64 ] && [ ! -e /usr/lib/wine/wine64-preloader ]; }; then
    ci/install.sh wine wine64 wine64-preloader mingw-w64
fi
ci/rust-target.sh "$target"

export WINEDEBUG="${WINEDEBUG:--all}"
# No installer of Mono or Gecko, and no display: no program here has a window.
export WINEDLLOVERRIDES="mscoree,mshtml="
export DISPLAY=

make_prefix() {
    rm -rf "$WINEPREFIX"
    mkdir -p "$WINEPREFIX"
    echo "ci/wine.sh: making a Wine prefix in $WINEPREFIX" >&2
    wineboot -i </dev/null >/dev/null 2>&1
    # If the first start of a prefix is interrupted, its service manager never works.
    wineserver -w
    # ProcessPrng, which std imports, lives in bcryptprimitives.dll; Wine has it from version 9 on.
    local system32="$WINEPREFIX/drive_c/windows/system32"
    if [ ! -e "$system32/bcryptprimitives.dll" ]; then
        x86_64-w64-mingw32-gcc -O2 -shared -nostartfiles -Wl,--entry,DllMain \
            -o "$system32/bcryptprimitives.dll" ci/bcryptprimitives.c -ladvapi32
    fi
    touch "$WINEPREFIX/ready"
}
# Several callers may run at the same time; one makes the prefix.
mkdir -p "$root/target"
(
    flock 9
    [ -e "$WINEPREFIX/ready" ] || make_prefix
) 9>"$root/target/wine.lock"
[ "${1:-}" != setup ] || exit 0

# Starts Wine's server and services here, detached from any program. If the first program started them, they would keep its
# output open for as long as they run.
wineserver -p900 </dev/null >/dev/null 2>&1 || true
wine cmd /c exit </dev/null >/dev/null 2>&1 || true

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="wine"
[ $# -gt 0 ] || { echo "usage: ci/wine.sh <cargo command> [arguments]" >&2; exit 2; }
command=$1
shift
[ "$command" != exec ] || exec wine "$@"
exec cargo "$command" --target "$target" "$@"
