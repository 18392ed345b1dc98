#!/usr/bin/env bash
# Builds the example driver, loads it into a fresh Wine prefix, and runs user programs in C and in Rust with it.
#   ci/driver.sh            once
#   ci/driver.sh ROUNDS     ROUNDS times, each time in a fresh prefix
# XSHM_LONG=1 exchanges more messages. XSHM_WINE is the Wine, if not ci/wine.sh: XSHM_WINE="ci/wine-of.sh trixie"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds="${1:-1}"
mkdir -p "${CARGO_TARGET_DIR:-target}/driver"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
out="$target_dir/driver"
wine="${XSHM_WINE:-ci/wine.sh}"
gnu=x86_64-pc-windows-gnu
count=100000
[ -z "${XSHM_LONG:-}" ] || count=1000000

# A separate prefix, because services and a driver are installed in it.
export XSHM_WINEPREFIX="$out/wine"

# $1: the output; $2: a further option. Compiles as a kernel driver requires: no C runtime, no floating point, no stack probes.
driver() {
    x86_64-w64-mingw32-gcc -std=gnu11 -O2 -Wall -Wextra -Werror $2 -ffreestanding -fno-stack-protector -mno-stack-arg-probe -mno-red-zone \
        -isystem "$(ddk_folder)" -Iinclude -Iexamples/driver -nostdlib -nostartfiles -Wl,--subsystem,native -Wl,--entry,DriverEntry \
        -Wl,--dynamicbase -Wl,--image-base,0x140000000 -o "$1" examples/driver/xshm_echo.c -lntoskrnl
}

# Prints the folder of the headers for drivers, which is beside the compiler's other headers for Windows.
ddk_folder() { echo '#include <windows.h>' | x86_64-w64-mingw32-gcc -E - | sed -n '0,/windows\.h"/s/^# 1 "\(.*\)\/windows\.h".*/\1\/ddk/p'; }

$wine setup
cargo c-library --target "$gnu"
driver "$out/xshm_echo.sys" -DXSHM_ECHO_UNDER_WINE
# The code for Windows itself cannot run here. It must compile, and import only from the kernel.
driver "$out/xshm_echo_windows.sys" ""
for each in xshm_echo xshm_echo_windows; do
    imports=$(x86_64-w64-mingw32-objdump -p "$out/$each.sys" | sed -n 's/.*DLL Name: //p' | sort -u | xargs)
    [ "$imports" = ntoskrnl.exe ] || { echo "$each.sys imports $imports" >&2; exit 1; }
done
x86_64-w64-mingw32-gcc -Wall -Wextra -Werror -Iinclude examples/driver/user.c "$target_dir/$gnu/c-library/libxshm.a" -lntdll \
    -o "$out/user.exe"
ci/wine.sh build --locked --release --example driver

user() { timeout 300 $wine exec "$out/user.exe" "$@"; }
rust() { timeout 300 $wine exec "$target_dir/$gnu/release/examples/driver.exe" "$@"; }

# Starts a program that exchanges messages with the driver, and kills it meanwhile.
killed() {
    local log="$out/killed.log" pid waited=0
    : >"$log"
    $wine exec "$out/user.exe" forever >"$log" 2>&1 &
    pid=$!
    until grep -q talking "$log"; do
        waited=$((waited + 1))
        [ $waited -lt 3000 ] && kill -0 $pid || { cat "$log" >&2; return 1; }
        sleep 0.01
    done
    sleep "0.0$((RANDOM % 10))"
    kill -9 $pid
    wait $pid 2>/dev/null || true
}

for ((round = 1; round <= rounds; round++)); do
    started=$SECONDS
    $wine stop
    rm -rf "$XSHM_WINEPREFIX"
    $wine setup
    user install "$out/xshm_echo.sys"
    user talk "$count"
    user talk 1000 "ci.driver.$$"
    rust "$count"
    user wrong
    user scribble 50
    for again in 1 2 3; do
        killed
        user talk 1000
    done
    # The driver is unloaded and loaded again.
    user remove
    if user talk 1 2>/dev/null; then echo "ci/driver.sh: the driver that was removed still answers" >&2; exit 1; fi
    user install "$out/xshm_echo.sys"
    user talk 1000
    user remove
    $wine stop
    echo "round $round of $rounds: $((SECONDS - started)) s"
done
