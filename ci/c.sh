#!/usr/bin/env bash
# Tests the C interface with C and C++ compilers: natively, for Windows under Wine, and the libraries for MSVC by inspection.
# On Debian and Ubuntu it installs missing packages. On Windows, in Git's bash, it builds with MSVC for XSHM_TARGET, and runs
# the programs.
#   ci/c.sh             all steps
#   ci/c.sh STEP ...    only these steps: headers native plain windows windows_x86 driver_header msvc packages
#   ci/c.sh bless       rewrites tests/c/symbols.txt, layout-*.txt and golden.txt, after an intended change
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C
mkdir -p "${CARGO_TARGET_DIR:-target}/c"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
out="$target_dir/c"
host="$(rustc -vV | sed -n 's/^host: //p')"
gnu=x86_64-pc-windows-gnu
warnings=(-Wall -Wextra -Wpedantic -Werror -Iinclude)
linux_libraries=(-lpthread -ldl -lm)

case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*)
    steps=(msvc_native)
    ;;
*)
    steps=(headers native plain windows windows_x86 driver_header msvc packages)
    ci/install.sh gcc g++ clang cmake make valgrind pkg-config
    ci/wine.sh setup
    ;;
esac

llvm() {
    local tool
    tool="$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-$1"
    [ -x "$tool" ] || [ -x "$tool.exe" ] || rustup component add llvm-tools >&2
    "$tool" "${@:2}"
}

library() { # $1: target
    [ ! -e "$target_dir/$1/c-library/xshm.lib" ] || { echo "$target_dir/$1/c-library/xshm.lib"; return; }
    echo "$target_dir/$1/c-library/libxshm.a"
}

build() { # $1: target
    case "$(rustup target list --installed)" in
    *"$1"*) ;;
    *) rustup target add "$1" >&2 ;;
    esac
    cargo c-library --target "$1"
}

# Starts "$1 serve" and "$2 answer" (commands, which are split into words) for $3 messages, and waits for both.
pair() {
    local name="ci.c.$$.$RANDOM" server
    timeout 120 $1 serve "$name" "$3" >"$out/pair.log" 2>&1 &
    server=$!
    timeout 120 $2 answer "$name" "$3" || { cat "$out/pair.log" >&2; return 1; }
    wait "$server" || { cat "$out/pair.log" >&2; return 1; }
    grep -q "$3 messages came back" "$out/pair.log"
}

pairs() { # $1, $2, $3: the commands of the C, C++ and Rust programs; $4: the number of messages
    local server client
    for server in "${@:1:3}"; do
        for client in "${@:1:3}"; do
            pair "$server" "$client" "$4" || { echo "$server and $client failed" >&2; return 1; }
        done
    done
    echo "9 pairs of C, C++ and Rust"
}

# Prints the C functions that a library exports.
symbols() { # $1: library
    llvm nm --defined-only --extern-only "$1" 2>/dev/null | awk '$2 == "T" { print $3 }' | sed 's/^_//' |
        grep -E '^(shm|xshm)_' | sort -u
}

# Fails if a Windows program imports another DLL than the expected ones, which every machine has.
imports() { # $1: prefix of the tools; the rest: programs
    local program found
    for program in "${@:2}"; do
        found=$("$1-objdump" -p "$program" | sed -n 's/.*DLL Name: //p' | tr 'A-Z' 'a-z' | sort | tr '\n' ' ')
        # std's locks wait by the first one; msvcrt is MinGW's C runtime.
        [ "$found" = "api-ms-win-core-synch-l1-2-0.dll kernel32.dll msvcrt.dll ntdll.dll " ] || {
            echo "$program imports $found" >&2
            return 1
        }
        echo "$program imports $found"
    done
}

# Prints the layout of the structures by a compiler; see tests/c/layout.c.
layout() { # $1: compiler
    "$1" "${warnings[@]}" -S -o - tests/c/layout.c | sed -n 's/^[[:space:]]*@@ //p'
}

# ------------------------------------------------------------------------------------------------------- the steps

headers() {
    local header standard compiler target
    for header in xshm.h xshm_server.h xshm_client.h xshm_driver.h; do
        printf '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' "$header" "$header" >"$out/twice.c"
        for compiler in gcc clang x86_64-w64-mingw32-gcc i686-w64-mingw32-gcc; do
            for standard in c99 c11 c17; do
                "$compiler" -std=$standard "${warnings[@]}" -fsyntax-only "$out/twice.c"
            done
        done
        for compiler in g++ clang++ x86_64-w64-mingw32-g++ i686-w64-mingw32-g++; do
            for standard in c++17 c++20; do
                "$compiler" -std=$standard "${warnings[@]}" -fsyntax-only -x c++ "$out/twice.c"
            done
        done
    done
    # As close to MSVC as possible without its SDK. The last command compiles the driver header's code for MSVC.
    for header in xshm.h xshm_driver.h; do
        printf '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' "$header" "$header" >"$out/twice.c"
        for target in x86_64 i686 aarch64; do
            clang --target=$target-pc-windows-msvc -std=c11 -ffreestanding "${warnings[@]}" -fsyntax-only "$out/twice.c"
            clang --target=$target-pc-windows-msvc -std=c11 -ffreestanding -fms-extensions -fms-compatibility -U__clang__ \
                -Wall -Wextra -Werror -Iinclude -fsyntax-only "$out/twice.c"
        done
    done
    msvc_barriers
    printf '#include "xshm.hpp"\n#include "xshm.hpp"\nint main() { return 0; }\n' >"$out/twice.cpp"
    for compiler in g++ clang++ x86_64-w64-mingw32-g++ i686-w64-mingw32-g++; do
        for standard in c++17 c++20; do
            "$compiler" -std=$standard "${warnings[@]}" -fsyntax-only "$out/twice.cpp"
            "$compiler" -std=$standard "${warnings[@]}" -fno-exceptions -fno-rtti -fsyntax-only "$out/twice.cpp"
        done
    done
    layout gcc | diff tests/c/layout-64.txt - &&
        layout x86_64-w64-mingw32-gcc | diff tests/c/layout-64.txt - &&
        layout i686-w64-mingw32-gcc | diff tests/c/layout-32.txt - || { echo "structures changed; if that is intended: ci/c.sh bless" >&2; return 1; }
    cargo test --locked --test headers
}

# Checks that the driver header's code for MSVC has the barriers of arm64. For ARM64EC, MSVC defines the macros of x64 and
# _M_ARM64EC, and not _M_ARM64.
msvc_barriers() {
    local macros barriers
    printf '%s\n' '#include "xshm_driver.h"' 'void fence(void) { xshm_driver_fence(); }' \
        'xshm_driver_u32 load32(void *at) { return xshm_driver_load32(at); }' \
        'xshm_driver_u64 load64(void *at) { return xshm_driver_load64(at); }' \
        'void store64(void *at) { xshm_driver_store64(at, 1); }' >"$out/barriers.c"
    for macros in "" "-U_M_ARM64 -D_M_ARM64EC=1 -D_M_X64=100 -D_M_AMD64=100"; do
        barriers=$(clang --target=aarch64-pc-windows-msvc -std=c11 -O2 -ffreestanding -fms-extensions -fms-compatibility -U__clang__ \
            $macros -Wall -Wextra -Werror -Iinclude -S -o - "$out/barriers.c" | grep -c 'dmb[[:space:]]*ish$' || true)
        [ "$barriers" = 4 ] || { echo "the code for MSVC has $barriers barriers instead of 4 with: $macros" >&2; return 1; }
    done
}

native() {
    local lib
    build "$host"
    lib=$(library "$host")
    symbols "$lib" | diff tests/c/symbols.txt - || { echo "the functions changed; if that is intended: ci/c.sh bless" >&2; return 1; }
    local test
    for test in api lives; do
        gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g tests/c/$test.c "$lib" "${linux_libraries[@]}" -o "$out/$test"
        timeout 120 "$out/$test"
        # Memory leaks count as errors, also those of the library.
        gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g -fsanitize=address,undefined -fno-sanitize-recover=all \
            tests/c/$test.c "$lib" "${linux_libraries[@]}" -o "$out/${test}_sanitized"
        timeout 120 "$out/${test}_sanitized"
    done
    forks "$lib"
    g++ -std=c++17 "${warnings[@]}" -g -shared -fPIC -fvisibility=hidden tests/c/plugin.cpp "$lib" "${linux_libraries[@]}" \
        -Wl,--exclude-libs,libxshm.a -o "$out/plugin.so"
    cp "$out/plugin.so" "$out/plugin.so.other"
    gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g tests/c/plugin_host.c "${linux_libraries[@]}" -o "$out/plugin_host"
    plugins "$out/plugin_host" "$out/plugin.so"
    # valgrind before about 3.22 does not know pidfd_open, without which no client can connect.
    local grind=(valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect) how=briefly
    if [[ $(valgrind "$out/api" 2>&1) == *"syscall: 434"* ]]; then
        echo "SKIPPED under valgrind: checks that need a peer; this valgrind does not know pidfd_open"
        how=alone
    fi
    timeout 300 "${grind[@]}" "$out/api" "$how"

    gcc -std=c99 "${warnings[@]}" examples/c/echo.c "$lib" "${linux_libraries[@]}" -o "$out/echo_c"
    g++ -std=c++17 "${warnings[@]}" examples/cpp/echo.cpp "$lib" "${linux_libraries[@]}" -o "$out/echo_cpp"
    g++ -std=c++17 "${warnings[@]}" tests/c/bulk.cpp "$lib" "${linux_libraries[@]}" -o "$out/bulk"
    timeout 60 "$out/bulk"
    g++ -std=c++17 "${warnings[@]}" tests/c/exceptions.cpp "$lib" "${linux_libraries[@]}" -o "$out/exceptions"
    timeout 60 "$out/exceptions"
    g++ -std=c++17 "${warnings[@]}" -fno-exceptions -fno-rtti tests/c/exceptions.cpp "$lib" "${linux_libraries[@]}" \
        -o "$out/no_exceptions"
    timeout 60 "$out/no_exceptions"
    cargo build --locked --release --example echo
    pairs "$out/echo_c" "$out/echo_cpp" "$target_dir/release/examples/echo" 2000
    readme_programs cc c++ "$lib" "" "${linux_libraries[@]}"
}

# Runs each case of a program that loads a plug-in. Nothing may print an error or a panic.
plugins() { # $1: command that runs the host; $2: the plug-in
    local each
    for each in $($1 2>&1 | sed -n 's/^  //p' | tr -d '\r'); do
        if ! timeout 60 $1 "$2" "$each" >"$out/plugin.log" 2>&1 || [ "$(tr -d '\r' <"$out/plugin.log")" != "$each" ]; then
            echo "plug-in: $each failed" >&2
            cat "$out/plugin.log" >&2
            return 1
        fi
    done
    echo "a plug-in can be unloaded, and the process can end, in each case"
}

# Runs the programs that fork while threads run. Sanitizers do not support that.
forks() { # $1: library
    local named
    gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g tests/c/forks.c "$1" "${linux_libraries[@]}" -o "$out/forks"
    named=$(gcc -std=c11 -D_DEFAULT_SOURCE -Iinclude -E tests/c/forks.c | sed -n '\|tests/c/forks.c|,$p' | sed -n '/in_child/,$p' |
        grep -oE '\b(shm|xshm)_[a-z_]+' | sort -u)
    # These take no handle: other programs use them.
    named+=" shm_error_string xshm_version shm_client_attach $(grep -E '_default$|_with_options$' tests/c/symbols.txt)"
    diff tests/c/symbols.txt <(tr ' ' '\n' <<<"$named" | sort -u | grep -xFf tests/c/symbols.txt) ||
        { echo "tests/c/forks.c does not call each function in a fork" >&2; return 1; }
    timeout 300 "$out/forks"
    g++ -std=c++17 "${warnings[@]}" -g tests/c/forkexit.cpp "$1" "${linux_libraries[@]}" -o "$out/forkexit"
    timeout 300 "$out/forkexit"
}

# Builds the README's programs: a server in C, and clients in C and in C++ that connect to it.
readme_programs() { # $1, $2: compilers for C and C++; $3: library; $4: command that runs programs; the rest: compiler arguments
    local c=$1 cpp=$2 lib=$3 run=$4 server client
    shift 4
    rm -f "$out"/readme_*
    awk -v out="$out/readme_" '
        /^```(c|cpp)$/ { n++; file = out n "." substr($0, 4); next }
        /^```/ { file = "" }
        file { print > file }' README.md
    "$c" -Iinclude "$out/readme_1.c" "$lib" "$@" -o "$out/readme_1.exe"
    "$c" -Iinclude "$out/readme_2.c" "$lib" "$@" -o "$out/readme_2.exe"
    "$cpp" -std=c++17 -Iinclude "$out/readme_3.cpp" "$lib" "$@" -o "$out/readme_3.exe"
    for client in 2 3; do
        timeout 60 $run "$out/readme_1.exe" >"$out/readme_server.log" 2>&1 &
        server=$!
        timeout 60 $run "$out/readme_$client.exe" >"$out/readme_client.log" 2>&1 || { cat "$out"/readme_*.log >&2; return 1; }
        wait "$server" || { cat "$out"/readme_*.log >&2; return 1; }
        [ "$(tr -d '\r' <"$out/readme_server.log") $(tr -d '\r' <"$out/readme_client.log")" = "pong ping" ]
    done
    echo "the README's programs exchange messages"
}

# The library of a plain `cargo build --release`, and the first programs that a reader tries: the one additional library on Windows
# is ntdll.
plain() {
    local small=i686-pc-windows-gnu
    cargo build --locked --release
    ci/plain.sh "$target_dir/release/libxshm.a" "$out/plain" "" cc -Iinclude SOURCE LIBRARY "${linux_libraries[@]}" -o PROGRAM
    cargo build --locked --release --target "$gnu"
    ci/plain.sh "$target_dir/$gnu/release/libxshm.a" "$out/plain-$gnu" "ci/wine.sh exec" \
        x86_64-w64-mingw32-gcc -Iinclude SOURCE LIBRARY -lntdll -o PROGRAM
    # ci/full.sh names a Wine that runs these.
    cargo build --locked --release --target "$small"
    ci/plain.sh "$target_dir/$small/release/libxshm.a" "$out/plain-$small" "${XSHM_RUNNER_32:-none}" \
        i686-w64-mingw32-gcc -Iinclude SOURCE LIBRARY -lntdll -o PROGRAM
}

windows() {
    local lib
    build "$gnu"
    lib=$(library "$gnu")
    # ntdll is the only additional library.
    local test
    for test in api lives; do
        x86_64-w64-mingw32-gcc "${warnings[@]}" tests/c/$test.c "$lib" -lntdll -o "$out/$test.exe"
    done
    timeout 120 ci/wine.sh exec "$out/api.exe"
    timeout 120 ci/wine.sh exec "$out/lives.exe" briefly
    x86_64-w64-mingw32-gcc "${warnings[@]}" examples/c/echo.c "$lib" -lntdll -o "$out/echo_c.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static examples/cpp/echo.cpp "$lib" -lntdll -o "$out/echo_cpp.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static tests/c/bulk.cpp "$lib" -lntdll -o "$out/bulk.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static tests/c/exceptions.cpp "$lib" -lntdll -o "$out/exceptions.exe"
    imports x86_64-w64-mingw32 "$out/api.exe" "$out/echo_c.exe" "$out/echo_cpp.exe" "$out/bulk.exe" "$out/exceptions.exe"
    timeout 120 ci/wine.sh exec "$out/bulk.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static -shared tests/c/plugin.cpp "$lib" -lntdll -o "$out/plugin.dll"
    cp "$out/plugin.dll" "$out/plugin.dll.other"
    x86_64-w64-mingw32-gcc "${warnings[@]}" tests/c/plugin_host.c -o "$out/plugin_host.exe"
    plugins "ci/wine.sh exec $out/plugin_host.exe" "$out/plugin.dll"
    timeout 120 ci/wine.sh exec "$out/exceptions.exe"
    ci/wine.sh build --locked --release --example echo
    local exec="ci/wine.sh exec"
    pairs "$exec $out/echo_c.exe" "$exec $out/echo_cpp.exe" "$exec $target_dir/$gnu/release/examples/echo.exe" 200
    readme_programs x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++ "$lib" "$exec" -static -lntdll
}

# 32-bit programs: builds them, and runs them if this Wine can. XSHM_RUNNER_32 is another Wine, see ci/full.sh.
windows_x86() {
    local lib runner="${XSHM_RUNNER_32:-ci/wine.sh exec}"
    build i686-pc-windows-gnu
    lib=$(library i686-pc-windows-gnu)
    i686-w64-mingw32-gcc "${warnings[@]}" tests/c/api.c "$lib" -lntdll -o "$out/api_x86.exe"
    i686-w64-mingw32-gcc "${warnings[@]}" examples/c/echo.c "$lib" -lntdll -o "$out/echo_x86.exe"
    i686-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static examples/cpp/echo.cpp "$lib" -lntdll -o "$out/echo_cpp_x86.exe"
    imports i686-w64-mingw32 "$out/api_x86.exe" "$out/echo_x86.exe" "$out/echo_cpp_x86.exe"
    symbols "$lib" | diff tests/c/symbols.txt -
    # The program returns 2 if it is called without arguments.
    if [ "$(timeout 60 $runner "$out/echo_x86.exe" >/dev/null 2>&1 || echo $?)" = 2 ]; then
        timeout 120 $runner "$out/api_x86.exe"
        pair "$runner $out/echo_x86.exe" "$runner $out/echo_c.exe" 200
    else
        echo "SKIPPED: this Wine cannot run 32-bit programs; they were built and linked"
    fi
}

# Tests the second implementation of the protocol, xshm_driver.h, against the library. XSHM_LONG=1 exchanges more messages.
driver_header() {
    local lib program
    local exchange=300000 mutants=3000
    [ -z "${XSHM_LONG:-}" ] || { exchange=5000000; mutants=200000; }
    build "$host"
    build "$gnu"
    lib=$(library "$host")
    gcc -std=c11 -O2 "${warnings[@]}" tests/c/driver.c "$lib" "${linux_libraries[@]}" -o "$out/driver"
    gcc -std=c11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all "${warnings[@]}" tests/c/driver.c "$lib" \
        "${linux_libraries[@]}" -o "$out/driver_sanitized"
    x86_64-w64-mingw32-gcc -O2 "${warnings[@]}" tests/c/driver.c "$(library "$gnu")" -lntdll -o "$out/driver.exe"
    # 32-bit Windows: linking shows that the header needs no helper function of the compiler.
    build i686-pc-windows-gnu
    i686-w64-mingw32-gcc -O2 "${warnings[@]}" tests/c/driver.c "$(library i686-pc-windows-gnu)" -lntdll -o "$out/driver_x86.exe"
    for program in "$out/driver" "$out/driver_sanitized" "ci/wine.sh exec $out/driver.exe"; do
        timeout 60 $program golden | tr -d '\r' >"$out/golden.txt"
        diff tests/c/golden.txt "$out/golden.txt" || { echo "the bytes changed; if that is intended: ci/c.sh bless" >&2; return 1; }
        timeout 1800 $program exchange $exchange
        timeout 1800 $program mutated $mutants
        timeout 1800 $program control $mutants
    done
}

# Checks that ntdll.lib, kernel32.lib and the C runtime define everything that the libraries for MSVC import.
msvc() {
    local target lib machine undefined known
    for target in x86_64 i686 aarch64; do
        build "$target-pc-windows-msvc"
        lib=$(library "$target-pc-windows-msvc")
        case "$target" in
        x86_64) machine=IMAGE_FILE_MACHINE_AMD64 ;;
        i686) machine=IMAGE_FILE_MACHINE_I386 ;;
        aarch64) machine=IMAGE_FILE_MACHINE_ARM64 ;;
        esac
        # Import stubs have their machine in another field.
        llvm readobj --file-headers "$lib" 2>/dev/null | sed -n 's/^ *Machine: \([A-Z0-9_]*\).*/\1/p' | sort -u >"$out/machines"
        [ "$(cat "$out/machines")" = "$machine" ] || { echo "$lib is for $(cat "$out/machines")" >&2; return 1; }
        symbols "$lib" | diff tests/c/symbols.txt -
        # On x86 a C name has an underscore before it; a system function also has @ and a number of bytes after it.
        plain() { sed 's/^__imp_//' | if [ "$target" = i686 ]; then sed -E 's/@[0-9]+$//; s/^_//'; else cat; fi; }
        llvm nm --undefined-only "$lib" 2>/dev/null | awk 'NF == 2 { print $2 }' | plain | sort -u >"$out/undefined"
        llvm nm --defined-only "$lib" 2>/dev/null | awk 'NF == 3 { print $3 }' | plain | sort -u >"$out/defined"
        undefined=$(comm -23 "$out/undefined" "$out/defined")
        for import in ntdll kernel32; do
            x86_64-w64-mingw32-nm --defined-only "/usr/x86_64-w64-mingw32/lib/lib$import.a" 2>/dev/null | awk 'NF == 3 { print $3 }'
        done | sed 's/^__imp_//' | cat - tests/c/msvc-runtime.txt | sort -u >"$out/known"
        known=$(comm -23 <(sort -u <<<"$undefined") "$out/known")
        [ -z "${known//[[:space:]]/}" ] || { echo "$lib: no library defines $known" >&2; return 1; }
        echo "$lib: $machine, $(symbols "$lib" | wc -l) functions, every import is from ntdll, kernel32 or the C runtime"
    done
}

# Checks that the package that cargo would publish builds, also for C, and that a build writes only into its target folder.
published() (
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
    cargo package --locked --no-verify --allow-dirty --package xshm
    # Not below this folder, where cargo would find files that the package may lack: .cargo/config.toml.
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    tar -C "$folder" -xzf "$target_dir/package/xshm-$version.crate" --strip-components 1
    export CARGO_TARGET_DIR="$out/published"
    # Removes what was built of xshm last time: all files in a package have the same time, so cargo would not notice that they
    # changed. Built dependencies may stay.
    mkdir -p "$CARGO_TARGET_DIR"
    find "$CARGO_TARGET_DIR" -name '*xshm*' -prune -exec rm -rf {} +
    cd "$folder"
    contents() { find . -type f -exec sha256sum {} + | sort -k 2; }
    before=$(contents)
    cargo build --locked
    cargo c-library --target "$gnu"
    diff <(echo "$before") <(contents) || { echo "a build of the published package changes it" >&2; exit 1; }
    symbols "$(target_dir=$CARGO_TARGET_DIR library "$gnu")" | diff tests/c/symbols.txt -
    echo "the package that cargo would publish builds, for Rust and C, and its builds do not change it"
)

packages() {
    local prefix="$out/prefix" builds="$out/cmake" version
    published
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
    rm -rf "$prefix" "$builds"
    ci/package.sh --prefix "$prefix" "$host"
    # From an installed tree, and from this repository.
    for from in "$prefix/lib/cmake/xshm" "$PWD/cmake"; do
        rm -rf "$builds"
        cmake -S tests/c/find_package -B "$builds" -Dxshm_DIR="$from" >/dev/null
        cmake --build "$builds" >/dev/null
        pair "$builds/echo_c" "$builds/echo_cpp" 100
    done
    ! cmake -S tests/c/find_package -B "$builds/none" -DCMAKE_PREFIX_PATH=/nonexistent >/dev/null 2>&1
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
    [ "$(pkg-config --modversion xshm)" = "$version" ]
    gcc examples/c/echo.c $(pkg-config --cflags --libs xshm) -o "$out/echo_pc"
    pair "$out/echo_pc" "$out/echo_pc" 100
    # From an archive, for Windows.
    ci/package.sh "$gnu"
    rm -rf "$out/archive"
    mkdir -p "$out/archive"
    tar -C "$out/archive" -xzf "$target_dir/dist/xshm-$version-$gnu.tar.gz" --strip-components 1
    rm -rf "$builds"
    cmake -S tests/c/find_package -B "$builds" -Dxshm_DIR="$out/archive/cmake" -DCMAKE_SYSTEM_NAME=Windows \
        -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++ \
        -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_SYSTEM_PROCESSOR=x86_64 >/dev/null
    cmake --build "$builds" >/dev/null
    pair "ci/wine.sh exec $builds/echo_c.exe" "ci/wine.sh exec $builds/echo_cpp.exe" 100
    echo "CMake from an installed tree, a build tree and an archive; pkg-config"
}

# Builds with MSVC on Windows, and runs the programs.
msvc_native() {
    local target="${XSHM_TARGET:-$host}" architecture builds="$out/cmake"
    case "$target" in
    x86_64-pc-windows-msvc) architecture=x64 ;;
    i686-pc-windows-msvc) architecture=Win32 ;;
    aarch64-pc-windows-msvc) architecture=ARM64 ;;
    *) echo "ci/c.sh: $target is not supported on Windows" >&2; return 1 ;;
    esac
    build "$target"
    symbols "$(library "$target")" | diff --strip-trailing-cr tests/c/symbols.txt -
    rm -rf "$builds"
    cmake -S tests/c/find_package -B "$builds" -A "$architecture" -Dxshm_DIR="$(cygpath -m "$PWD/cmake")" \
        -DXSHM_LIBRARY="$(cygpath -m "$(library "$target")")"
    cmake --build "$builds" --config Release
    timeout 120 "$builds/Release/api.exe"
    cargo build --locked --release --example echo --target "$target"
    pairs "$builds/Release/echo_c.exe" "$builds/Release/echo_cpp.exe" "$target_dir/$target/release/examples/echo.exe" 2000
}

bless() {
    build "$host"
    symbols "$(library "$host")" >tests/c/symbols.txt
    gcc -std=c11 "${warnings[@]}" tests/c/driver.c "$(library "$host")" "${linux_libraries[@]}" -o "$out/driver"
    "$out/driver" golden >tests/c/golden.txt
    layout gcc >tests/c/layout-64.txt
    layout i686-w64-mingw32-gcc >tests/c/layout-32.txt
}

for each in "$@"; do
    case " ${steps[*]} bless " in
    *" $each "*) ;;
    *) echo "ci/c.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
[ $# -eq 0 ] || steps=("$@")
for each in "${steps[@]}"; do
    echo "== c: $each"
    started=$SECONDS
    "$each"
    echo "-- c: $each: $((SECONDS - started)) s"
done
