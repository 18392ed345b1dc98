#!/usr/bin/env bash
# The C interface with MSVC's ABI, on Linux: the C programs, compiled by clang as cl would be called (ci/msvc.sh), and run.
#   ci/msvc-c.sh x86_64                                            under ci/wine.sh
#   XSHM_RUNNER="ci/wine-of.sh trixie exec" ci/msvc-c.sh i686      under another Wine
# With /MT a program gets the static C runtime, and with /MD the DLL. ci/msvc.sh has the same stand-in for both, so that /MD shows
# here only that the library asks for no other runtime by itself. The job for Windows runs both with Microsoft's.
set -euo pipefail
[ $# = 1 ] || { sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
machine=$1
target=$machine-pc-windows-msvc
mkdir -p "${CARGO_TARGET_DIR:-target}/msvc"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
export CARGO_TARGET_DIR="$target_dir"
runner="${XSHM_RUNNER:-ci/wine.sh exec}"
run() { timeout 120 $runner "$@" | tr -d '\r'; }
msvc="$PWD/ci/msvc.sh"

ci/rust-target.sh "$target"
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
ci/programs.sh "$archive" README.md
cp tests/c/*.[ch] examples/c/*.c "$archive/"
examples=(sync auto multi call in_place batch event_loop)
(
    cd "$archive"
    for each in server client api driver echo lives parity loops "${examples[@]}"; do
        "$msvc" "$machine" cl /nologo /MT /Iinclude $each.c lib/xshm.lib ntdll.lib
    done
)
# The shared library. ci/package.sh makes it on Windows alone, with Microsoft's C runtime.
ci/msvc.sh "$machine" rustc --locked --package xshm --lib --profile c-library --crate-type cdylib
mkdir -p "$archive/shared"
cp "$target_dir/$target/c-library/xshm.dll.lib" "$archive/lib/"
cp "$target_dir/$target/c-library/xshm.dll" "$archive/shared/"
line=$(grep -oE '`cl [^`]* server\.c [^`]*xshm\.dll\.lib`' docs/packages.md | tr -d '`')
echo "docs/packages.md: $line"
for each in server client; do
    words=(${line//server/$each})
    (cd "$archive" && "$msvc" "$machine" "${words[@]//\\//}" "/Feshared/$each.exe")
done
# Two libraries that Rust made.
ci/msvc.sh "$machine" build --locked --release --manifest-path tests/c/other/Cargo.toml --target-dir "$target_dir/other"
cp "$target_dir/other/$target/release/other.lib" "$archive/lib/"
(cd "$archive" && "$msvc" "$machine" cl /nologo /MT /Iinclude two.c lib/xshm.lib lib/other.lib ntdll.lib userenv.lib ws2_32.lib dbghelp.lib)
# xshm.hpp, as far as the headers of MinGW's C++ library show it. They may lack std::mutex, which the other examples use.
for each in examples/cpp/{echo,sync,in_place,batch,event_loop}.cpp tests/c/{bulk,exceptions,modern,plugin}.cpp; do
    "$msvc" "$machine" cl /nologo /Zs /W4 /WX '-Wno-#warnings' /std:c++17 /EHsc /Iinclude "$each"
done
for folder in "$archive" "$archive/shared"; do
    run "$folder/server.exe" >"$archive/server.log" &
    [ "$(run "$folder/client.exe")" = ping ]
    wait $!
    [ "$(cat "$archive/server.log")" = pong ]
done
[ "$(run "$archive/two.exe")" = "two libraries" ]
run "$archive/api.exe"
run "$archive/lives.exe" briefly
run "$archive/parity.exe"
run "$archive/loops.exe"
run "$archive/driver.exe" golden | diff tests/c/golden.txt -
run "$archive/driver.exe" exchange 300000
run "$archive/driver.exe" mutated 3000
run "$archive/driver.exe" control 3000
run "$archive/echo.exe" serve "ci.msvc.$$" 2000 &
run "$archive/echo.exe" answer "ci.msvc.$$" 2000
wait $!
for each in "${examples[@]}"; do
    run "$archive/$each.exe" serve "ci.msvc.$each.$$" &
    run "$archive/$each.exe" connect "ci.msvc.$each.$$"
    wait $!
done
# ntdll, kernel32 and the C runtime, and nothing else.
imports=$("$machine-w64-mingw32-objdump" -p "$archive/api.exe" | sed -n 's/.*DLL Name: //p' | tr '[:upper:]' '[:lower:]' | sort -u | xargs)
echo "$machine: api.exe imports $imports"
