#!/usr/bin/env bash
# The C interface with MSVC's ABI, on Linux: the C programs, compiled by clang as cl would be called (ci/msvc.sh), and run.
#   ci/msvc-c.sh x86_64                                            under ci/wine.sh
#   XSHM_RUNNER="ci/wine-of.sh trixie exec" ci/msvc-c.sh i686      under another Wine
# With /MT a program gets the static C runtime, and with /MD the DLL. ci/msvc.sh has the same stand-in for both, so that /MD shows
# here only that the library asks for no other runtime by itself. The job for Windows runs both with Microsoft's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
machine=$1
target=$machine-pc-windows-msvc
mkdir -p "${CARGO_TARGET_DIR:-target}/msvc"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
export CARGO_TARGET_DIR="$target_dir"
runner="${XSHM_RUNNER:-ci/wine.sh exec}"
run() { timeout 120 $runner "$@" | tr -d '\r'; }
msvc="$PWD/ci/msvc.sh"

# The plain build, and the line of the first programs.
cargo build --locked --release --target "$target"
for runtime in /MT /MD; do
    folder="$target_dir/msvc/plain-$machine$runtime"
    ci/plain.sh "$target_dir/$target/release/xshm.lib" "$folder" "$runner" \
        "$msvc" "$machine" cl /nologo $runtime /Iinclude SOURCE LIBRARY ntdll.lib "/Fo$folder/" /FePROGRAM
done

# The README's line, in an unpacked archive, for its own programs and the tests.
ci/package.sh "$target"
archive="$target_dir/msvc/archive-$machine"
rm -rf "$archive"
mkdir -p "$archive"
tar -C "$archive" --strip-components 1 -xzf "$target_dir"/dist/xshm-*-"$target".tar.gz
awk -v out="$archive/" '
    /^```c$/ { file = out (n++ ? "client.c" : "server.c"); next }
    /^```/ { file = "" }
    file { print > file }' README.md
cp tests/c/*.[ch] examples/c/echo.c "$archive/"
(
    cd "$archive"
    for each in server client api driver echo lives; do
        "$msvc" "$machine" cl /nologo /MT /Iinclude $each.c lib/xshm.lib ntdll.lib
    done
)
# xshm.hpp, as far as the headers of MinGW's C++ library show it.
for each in examples/cpp/echo.cpp tests/c/bulk.cpp tests/c/exceptions.cpp tests/c/plugin.cpp; do
    "$msvc" "$machine" cl /nologo /Zs /W4 /WX '-Wno-#warnings' /std:c++17 /EHsc /Iinclude "$each"
done
run "$archive/server.exe" >"$archive/server.log" &
[ "$(run "$archive/client.exe")" = ping ]
wait $!
[ "$(cat "$archive/server.log")" = pong ]
run "$archive/api.exe"
run "$archive/lives.exe" briefly
run "$archive/driver.exe" golden | diff tests/c/golden.txt -
run "$archive/driver.exe" exchange 300000
run "$archive/driver.exe" mutated 3000
run "$archive/driver.exe" control 3000
run "$archive/echo.exe" serve "ci.msvc.$$" 2000 &
run "$archive/echo.exe" answer "ci.msvc.$$" 2000
wait $!
# ntdll, kernel32 and the C runtime, and nothing else.
imports=$("$machine-w64-mingw32-objdump" -p "$archive/api.exe" | sed -n 's/.*DLL Name: //p' | tr '[:upper:]' '[:lower:]' | sort -u | xargs)
echo "$machine: api.exe imports $imports"
