#!/usr/bin/env bash
# Tests the C interface with C and C++ compilers: natively, for Windows under Wine, and the libraries for MSVC by inspection.
# On Debian and Ubuntu it installs missing packages. On Windows, in Git's bash, it builds with MSVC for XSHM_TARGET, and runs
# the programs.
#   ci/c.sh             all steps
#   ci/c.sh STEP ...    only these steps: headers native plain windows windows_x86 driver_header msvc archives packages
#   ci/c.sh bless       rewrites tests/c/symbols.txt, layout-*.txt and golden.txt, after an intended change
set -euo pipefail
shopt -s extglob
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
    steps=(headers native plain windows windows_x86 driver_header msvc archives packages)
    ci/install.sh gcc g++ clang cmake make valgrind pkg-config qtbase5-dev qt6-base-dev libx11-dev \
        musl-tools ninja-build python3-venv
    ci/wine.sh setup
    ;;
esac

# Fails if the command succeeds: `! command` alone ends no script.
refused() {
    if "$@"; then
        echo "this was to fail: $*" >&2
        return 1
    fi
}

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
    ci/rust-target.sh "$1"
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

# Warnings that many projects switch on, in C and in C++.
strict_c=(-Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes)
strict=(-Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wzero-as-null-pointer-constant -Wnon-virtual-dtor)
# clang's -Weverything, less the warnings that no header can avoid, or that are about an older C++ or a language of one's own.
everything=(-Weverything -Wno-unknown-warning-option -Wno-padded -Wno-unsafe-buffer-usage -Wno-c++98-compat
    -Wno-c++98-compat-pedantic -Wno-weak-vtables -Wno-exit-time-destructors)

headers() {
    local header standard compiler target
    for header in xshm.h xshm_server.h xshm_client.h xshm_driver.h; do
        printf '#include "%s"\n#include "%s"\nint main(void) { return 0; }\n' "$header" "$header" >"$out/twice.c"
        for compiler in gcc clang x86_64-w64-mingw32-gcc i686-w64-mingw32-gcc; do
            for standard in c99 c11 c17; do
                "$compiler" -std=$standard "${warnings[@]}" "${strict_c[@]}" -fsyntax-only "$out/twice.c"
            done
        done
        for compiler in g++ clang++ x86_64-w64-mingw32-g++ i686-w64-mingw32-g++; do
            for standard in c++11 c++17 c++20; do
                "$compiler" -std=$standard "${warnings[@]}" "${strict[@]}" -fsyntax-only -x c++ "$out/twice.c"
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
        for standard in c++17 c++20 c++2b; do
            "$compiler" -std=$standard "${warnings[@]}" "${strict[@]}" -fsyntax-only "$out/twice.cpp"
            "$compiler" -std=$standard "${warnings[@]}" -fno-exceptions -fno-rtti -fsyntax-only "$out/twice.cpp"
        done
        refused "$compiler" -std=c++14 -Iinclude -fsyntax-only "$out/twice.cpp" 2>"$out/old.log"
        grep -q 'needs C++17' "$out/old.log"
        [ "$(grep -c 'error' "$out/old.log")" -le 4 ] || { echo "$compiler reports more than that C++17 is needed" >&2; return 1; }
    done
    surroundings
    for standard in c++17 c++20 c++2b; do
        g++ -std=$standard "${warnings[@]}" -Wshadow -Wconversion -Wsign-conversion -Weffc++ -fsyntax-only tests/c/modern.cpp
    done
    layout gcc | diff tests/c/layout-64.txt - &&
        layout x86_64-w64-mingw32-gcc | diff tests/c/layout-64.txt - &&
        layout i686-w64-mingw32-gcc | diff tests/c/layout-32.txt - || { echo "structures changed; if that is intended: ci/c.sh bless" >&2; return 1; }
    cargo test --locked --test headers
}

# The headers among the headers and macros of other projects.
surroundings() {
    local header compiler qt
    for header in xshm.h xshm_driver.h xshm.hpp; do
        # The macros of Microsoft's <windows.h> and of Qt.
        printf '%s\n' '#include <string>' '#define max(a, b) (((a) > (b)) ? (a) : (b))' '#define min(a, b) (((a) < (b)) ? (a) : (b))' \
            '#define slots' '#define signals public' '#define emit' '#define foreach(a, b) for (auto a : b)' '#define forever for (;;)' \
            '#define interface struct' '#define small char' '#define near' '#define far' '#define IN' '#define OUT' '#define OPTIONAL' \
            '#define ERROR 0' '#define DELETE 0x00010000L' '#define CALLBACK' '#define SendMessage SendMessageW' \
            "#include \"$header\"" 'int main() { forever { return max(0, min(1, 0)); } }' >"$out/macros.cpp"
        printf '#include <QtCore/QObject>\n#include "%s"\n#include <QtCore/QThread>\n%s\n' "$header" \
            'struct Thing : QObject { signals: void come(); public slots: void go() { forever { emit come(); } } }; int main() { return 0; }' \
            >"$out/qt.cpp"
        printf '#include <X11/Xlib.h>\n#include "%s"\nint main() { return None; }\n' "$header" >"$out/x11.cpp"
        printf '#include <windows.h>\n#include "%s"\nint main() { return 0; }\n' "$header" >"$out/windows.cpp"
        # A packing that another header left in force stays as it was.
        printf '#include <string>\n#pragma pack(1)\n#include "%s"\nstruct after { char one; int other; };\n%s\n#pragma pack()\n' "$header" \
            'static_assert(sizeof(after) == 1 + sizeof(int), ""); int main() { return 0; }' >"$out/packed.cpp"
        for compiler in g++ clang++; do
            for qt in qt5 qt6; do
                "$compiler" -std=c++17 -fPIC "${warnings[@]}" -isystem "/usr/include/$(gcc -print-multiarch)/$qt" -isystem \
                    "/usr/include/$(gcc -print-multiarch)/$qt/QtCore" -fsyntax-only "$out/qt.cpp"
            done
            "$compiler" -std=c++17 "${warnings[@]}" -fsyntax-only "$out/x11.cpp"
        done
        for compiler in g++ clang++ x86_64-w64-mingw32-g++ i686-w64-mingw32-g++; do
            "$compiler" -std=c++17 "${warnings[@]}" -fsyntax-only "$out/macros.cpp"
            "$compiler" -std=c++17 "${warnings[@]}" -fsyntax-only "$out/packed.cpp"
            case "$compiler" in *mingw32*) "$compiler" -std=c++17 "${warnings[@]}" -fsyntax-only "$out/windows.cpp" ;; esac
        done
        printf '#include "%s"\nint main() { return 0; }\n' "$header" >"$out/everything.cpp"
        clang++ -std=c++17 "${everything[@]}" -Werror -Iinclude -fsyntax-only "$out/everything.cpp"
        case "$header" in *.h)
            printf '#include "%s"\nint main(void) { return 0; }\n' "$header" >"$out/everything.c"
            clang -std=c99 "${everything[@]}" -Werror -Iinclude -fsyntax-only "$out/everything.c"
            ;;
        esac
    done
    # An option that changes the layout is an error, and no stray read later.
    refused gcc -std=c99 -fshort-enums -Iinclude -fsyntax-only -x c include/xshm.h 2>"$out/enums.log"
    grep -q xshm_needs_enumerations_of_4_bytes "$out/enums.log"
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
    for test in api lives parity loops; do
        gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g tests/c/$test.c "$lib" "${linux_libraries[@]}" -o "$out/$test"
        timeout 120 "$out/$test"
        # Memory leaks count as errors, also those of the library.
        gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g -fsanitize=address,undefined -fno-sanitize-recover=all \
            tests/c/$test.c "$lib" "${linux_libraries[@]}" -o "$out/${test}_sanitized"
        timeout 120 "$out/${test}_sanitized"
    done
    forks "$lib"
    # The same with a packing of structures that another header left in force.
    printf '#include <stdint.h>\n#include <stdbool.h>\n#pragma pack(1)\n#include "xshm.h"\n#pragma pack()\n' >"$out/packed.h"
    gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -include "$out/packed.h" tests/c/api.c "$lib" "${linux_libraries[@]}" -o "$out/api_packed"
    timeout 120 "$out/api_packed"
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
    g++ -std=c++17 "${warnings[@]}" -g -fsanitize=address,undefined -fno-sanitize-recover=all tests/c/modern.cpp "$lib" \
        "${linux_libraries[@]}" -o "$out/modern_sanitized"
    timeout 120 "$out/modern_sanitized"
    g++ -std=c++20 "${warnings[@]}" -fno-exceptions -fno-rtti tests/c/modern.cpp "$lib" "${linux_libraries[@]}" -o "$out/modern"
    timeout 120 "$out/modern"
    cargo build --locked --release --example echo
    pairs "$out/echo_c" "$out/echo_cpp" "$target_dir/release/examples/echo" 2000
    page_programs cc c++ "$lib" "" "${linux_libraries[@]}"
    examples gcc g++ "$lib" "" "${linux_libraries[@]}"
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
    named+=" shm_error_string xshm_version shm_client_attach shm_caller_connect shm_caller_last_answer shm_wait_handles_close"
    named+=" $(grep -E '^shm_interrupter_' tests/c/symbols.txt) $(grep -E '_default$|_with_options$' tests/c/symbols.txt)"
    diff tests/c/symbols.txt <(tr ' ' '\n' <<<"$named" | sort -u | grep -xFf tests/c/symbols.txt) ||
        { echo "tests/c/forks.c does not call each function in a fork" >&2; return 1; }
    timeout 300 "$out/forks"
    g++ -std=c++17 "${warnings[@]}" -g tests/c/forkexit.cpp "$1" "${linux_libraries[@]}" -o "$out/forkexit"
    timeout 300 "$out/forkexit"
}

# Builds and runs the programs of the README and of the book; see ci/programs.sh. Each client connects to each server with the same
# beginning of its name, in C and in C++.
page_programs() { # $1, $2: compilers for C and C++; $3: library; $4: command that runs programs; the rest: compiler arguments
    local c=$1 cpp=$2 lib=$3 run=$4 folder="$out/pages" names each name stem server client process count=0
    shift 4
    rm -rf "$folder"
    names=$(ci/programs.sh "$folder" README.md docs/*.md)
    for each in $names; do
        name="$folder/${each%.*}"
        case "$each" in
        *.c) "$c" -std=c99 "${warnings[@]}" "$folder/$each" "$lib" "$@" -o "$name.exe" ;;
        *.cpp) "$cpp" -std=c++17 "${warnings[@]}" "$folder/$each" "$lib" "$@" -o "$name.exe" ;;
        esac
    done
    for each in $names; do
        name=${each%.*}
        case "$name" in
        *client | *client_cpp) continue ;;
        *server | *server_cpp)
            server=$name
            stem=${name%_cpp}
            stem=${stem%server}
            for client in "${stem}client" "${stem}client_cpp"; do
                [ -e "$folder/$client.exe" ] || continue
                timeout 60 $run "$folder/$server.exe" >"$folder/server.log" 2>&1 &
                process=$!
                timeout 60 $run "$folder/$client.exe" >"$folder/client.log" 2>&1 ||
                    { echo "$client failed" >&2; cat "$folder"/*.log >&2; return 1; }
                wait "$process" || { echo "$server failed, with $client" >&2; cat "$folder"/*.log >&2; return 1; }
                count=$((count + 1))
                # The README's programs print what they receive.
                [ -n "$stem" ] || [ "$(tr -d '\r' <"$folder/server.log") $(tr -d '\r' <"$folder/client.log")" = "pong ping" ]
            done
            ;;
        *)
            timeout 60 $run "$folder/$name.exe" >"$folder/alone.log" 2>&1 ||
                { echo "$name failed" >&2; cat "$folder/alone.log" >&2; return 1; }
            count=$((count + 1))
            ;;
        esac
    done
    echo "the programs of the README and of the book run: $(wc -w <<<"$names") programs, $count runs"
}

# Runs an example as two processes, and compares their output with tests/c/examples.txt.
example() { # $1: its name; $2, $3: the commands of the server and of the client, which are split into words
    local name="ci.c.$$.$RANDOM" server role failed=
    timeout 60 $2 serve "$name" >"$out/example_serve.log" 2>&1 &
    server=$!
    timeout 60 $3 connect "$name" >"$out/example_connect.log" 2>&1 || failed+=" connect"
    wait "$server" || failed+=" serve"
    for role in serve connect; do sed "s/^/$1 $role: /" "$out/example_$role.log"; done | tr -d '\r' | sort |
        diff <(grep "^$1 " tests/c/examples.txt) - || failed+=" output"
    [ -z "$failed" ] || { echo "example $1, $2 and $3 failed:$failed" >&2; return 1; }
}

# Builds the examples for each mode in C and C++, and runs each with each.
examples() { # $1, $2: compilers for C and C++; $3: library; $4: command that runs programs; the rest: compiler arguments
    local c=$1 cpp=$2 lib=$3 run=$4 each server client
    shift 4
    for each in $(cut -d ' ' -f 1 tests/c/examples.txt | sort -u); do
        "$c" -std=c99 "${warnings[@]}" "examples/c/$each.c" "$lib" "$@" -o "$out/${each}_c.exe"
        "$cpp" -std=c++17 "${warnings[@]}" -Wshadow -Wconversion "examples/cpp/$each.cpp" "$lib" "$@" -o "$out/${each}_cpp.exe"
        for server in c cpp; do
            for client in c cpp; do
                example "$each" "$run $out/${each}_$server.exe" "$run $out/${each}_$client.exe"
            done
        done
    done
    echo "the examples in C and C++ exchange messages, each with each"
}

# The library of a plain `cargo build --release`, and the first programs that a reader tries: the one additional library on Windows
# is ntdll.
plain() {
    local small=i686-pc-windows-gnu
    ci/rust-target.sh "$gnu" "$small"
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
    for test in api lives parity loops; do
        x86_64-w64-mingw32-gcc "${warnings[@]}" tests/c/$test.c "$lib" -lntdll -o "$out/$test.exe"
    done
    timeout 120 ci/wine.sh exec "$out/api.exe"
    timeout 120 ci/wine.sh exec "$out/lives.exe" briefly
    timeout 120 ci/wine.sh exec "$out/parity.exe"
    timeout 120 ci/wine.sh exec "$out/loops.exe"
    x86_64-w64-mingw32-gcc "${warnings[@]}" examples/c/echo.c "$lib" -lntdll -o "$out/echo_c.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static examples/cpp/echo.cpp "$lib" -lntdll -o "$out/echo_cpp.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static tests/c/bulk.cpp "$lib" -lntdll -o "$out/bulk.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static tests/c/exceptions.cpp "$lib" -lntdll -o "$out/exceptions.exe"
    imports x86_64-w64-mingw32 "$out/api.exe" "$out/echo_c.exe" "$out/echo_cpp.exe" "$out/bulk.exe" "$out/exceptions.exe"
    timeout 120 ci/wine.sh exec "$out/bulk.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static tests/c/modern.cpp "$lib" -lntdll -o "$out/modern.exe"
    timeout 120 ci/wine.sh exec "$out/modern.exe"
    x86_64-w64-mingw32-g++ -std=c++17 "${warnings[@]}" -static -shared tests/c/plugin.cpp "$lib" -lntdll -o "$out/plugin.dll"
    cp "$out/plugin.dll" "$out/plugin.dll.other"
    x86_64-w64-mingw32-gcc "${warnings[@]}" tests/c/plugin_host.c -o "$out/plugin_host.exe"
    plugins "ci/wine.sh exec $out/plugin_host.exe" "$out/plugin.dll"
    timeout 120 ci/wine.sh exec "$out/exceptions.exe"
    ci/wine.sh build --locked --release --example echo
    local exec="ci/wine.sh exec"
    pairs "$exec $out/echo_c.exe" "$exec $out/echo_cpp.exe" "$exec $target_dir/$gnu/release/examples/echo.exe" 200
    page_programs x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++ "$lib" "$exec" -static -lntdll
    # The other C++ compiler may lack std::mutex.
    examples x86_64-w64-mingw32-gcc x86_64-w64-mingw32-g++-posix "$lib" "$exec" -static -lntdll
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
    # A 64-bit program for the other end.
    build "$gnu"
    x86_64-w64-mingw32-gcc "${warnings[@]}" examples/c/echo.c "$(library "$gnu")" -lntdll -o "$out/echo_c.exe"
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

# Unpacks the archive for a target, and prints the folder.
unpacked() { # $1: target
    local folder="$out/archive-$1"
    rm -rf "$folder"
    mkdir -p "$folder"
    tar -C "$folder" -xzf "$target_dir"/dist/xshm-*-"$1".tar.gz --strip-components 1
    echo "$folder"
}

# The libraries of the release archives: what they define, what links with them, and the commands in docs/packages.md.
archives() {
    local small=i686-pc-windows-gnu musl=x86_64-unknown-linux-musl exec="ci/wine.sh exec" target folder library
    ci/package.sh "$host" "$gnu" "$small" "$musl" x86_64-pc-windows-msvc
    for target in "$host" "$gnu" "$small" "$musl" x86_64-pc-windows-msvc; do
        folder=$(unpacked "$target")
        library=$(echo "$folder"/lib/*xshm.[al]*)
        [ "$target" != x86_64-pc-windows-msvc ] || library="$folder/lib/xshm.lib"
        # The C interface, names that no other library has, and imports from DLLs.
        llvm nm --defined-only --extern-only "$library" 2>/dev/null | awk 'NF == 3 { print $3 }' | sed 's/^_\(x*shm_\)/\1/' |
            grep -vE '^xshm_private\.' | grep -vE '^(__imp_)?_?(Wait|Wake|ProcessPrng|Nt|Rtl|Ldr)|imports_lib|__IMPORT_DESCRIPTOR|NULL_' |
            sort -u | diff tests/c/symbols.txt - || { echo "$library defines other symbols" >&2; return 1; }
        [[ $(llvm readobj --sections "$library" 2>/dev/null) != *'Name: .debug_'* ]] || { echo "$library has debug data" >&2; return 1; }
        echo "$library: $(wc -c <"$library") bytes"
    done
    # Shared libraries export the C interface alone.
    nm -D --defined-only "$out/archive-$host/lib/libxshm.so" | awk '{ print $3 }' | sort | diff tests/c/symbols.txt -
    for target in "$gnu" "$small"; do
        llvm readobj --coff-exports "$out/archive-$target/bin/xshm.dll" | sed -n 's/^ *Name: //p' | sort | diff tests/c/symbols.txt -
        imports "${target%%-*}-w64-mingw32" "$out/archive-$target/bin/xshm.dll"
    done

    # A program with two libraries that Rust made.
    for target in "$host" "$gnu"; do
        cargo build --locked --release --manifest-path tests/c/other/Cargo.toml --target-dir "$target_dir/other" --target "$target"
    done
    gcc "${warnings[@]}" tests/c/two.c "$out/archive-$host/lib/libxshm.a" "$target_dir/other/$host/release/libother.a" \
        "${linux_libraries[@]}" -o "$out/two"
    "$out/two" 2>/dev/null
    gcc "${warnings[@]}" tests/c/two.c "$target_dir/other/$host/release/libother.a" "$out/archive-$host/lib/libxshm.a" \
        "${linux_libraries[@]}" -o "$out/two"
    "$out/two" 2>/dev/null
    x86_64-w64-mingw32-gcc "${warnings[@]}" tests/c/two.c "$out/archive-$gnu/lib/libxshm.a" \
        "$target_dir/other/$gnu/release/libother.a" -lkernel32 -luserenv -lws2_32 -lntdll -o "$out/two.exe"
    timeout 60 $exec "$out/two.exe"
    # 32 bits: ci/full.sh names a Wine that runs the programs.
    ci/plain.sh "$out/archive-$small/lib/libxshm.a" "$out/archive-$small/seed" "${XSHM_RUNNER_32:-none}" \
        i686-w64-mingw32-gcc -I"$out/archive-$small/include" SOURCE LIBRARY -lntdll -o PROGRAM
    # Plug-ins do not share the library, without an option of the linker.
    g++ -std=c++17 "${warnings[@]}" -shared -fPIC -fvisibility=hidden tests/c/plugin.cpp "$out/archive-$host/lib/libxshm.a" \
        "${linux_libraries[@]}" -o "$out/plugin.so"
    nm -D --defined-only "$out/plugin.so" | awk '{ print $3 }' >"$out/exported"
    refused grep -E '^x?shm_' "$out/exported"
    cp "$out/plugin.so" "$out/plugin.so.other"
    gcc -std=c11 -D_DEFAULT_SOURCE "${warnings[@]}" -g tests/c/plugin_host.c "${linux_libraries[@]}" -o "$out/plugin_host"
    plugins "$out/plugin_host" "$out/plugin.so"

    documented "$host" '`cc ' ""
    documented "$gnu" '`x86_64-w64-mingw32-gcc ' "$exec"
    documented "$musl" '`musl-gcc ' ""
}

# Runs the commands of docs/packages.md that begin like this, in an unpacked archive, and then the programs.
documented() { # $1: target; $2: how they begin; $3: what runs programs
    local folder="$out/archive-$1" line root="$PWD" count=0
    ci/programs.sh "$folder" README.md >/dev/null
    while read -r line; do
        count=$((count + 1))
        (
            cd "$folder"
            rm -f server server.exe client client.exe
            eval "$line"
            eval "${line//server/client}"
        )
        [ ! -e "$folder/bin/xshm.dll" ] || cp "$folder/bin/xshm.dll" "$folder/"
        timeout 60 ${3:+$root/$3} "$folder"/server?(.exe) >"$folder/server.log" &
        [ "$(timeout 60 ${3:+$root/$3} "$folder"/client?(.exe) | tr -d '\r')" = ping ] && wait $! && [ "$(tr -d '\r' <"$folder/server.log")" = pong ] ||
            { echo "docs/packages.md: the programs of this command failed: $line" >&2; return 1; }
        echo "docs/packages.md: $line"
    done < <(grep -oE "$2[^\`]*\`" docs/packages.md | tr -d '`')
    [ "$count" -gt 0 ] || { echo "docs/packages.md: no command begins with $2" >&2; return 1; }
}

packages() {
    local prefix="$out/prefix" builds="$out/cmake" sources="$out/sources" version each found
    published
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
    rm -rf "$prefix" "$builds" "$sources"
    ci/package.sh --prefix "$prefix" "$host"
    # From an installed tree, and from this repository.
    for from in "$prefix/lib/cmake/xshm" "$PWD/cmake"; do
        rm -rf "$builds"
        cmake -S tests/c/find_package -B "$builds" -Dxshm_DIR="$from" >/dev/null
        cmake --build "$builds" >/dev/null
        pair "$builds/echo_c" "$builds/echo_cpp" 100
    done
    refused cmake -S tests/c/find_package -B "$builds/none" -DCMAKE_PREFIX_PATH=/nonexistent >/dev/null 2>&1
    export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
    [ "$(pkg-config --modversion xshm)" = "$version" ]
    gcc examples/c/echo.c $(pkg-config --cflags --libs xshm) -o "$out/echo_pc"
    page_project pkg-config
    (cd "$out/project" && eval "$(grep -x 'cc server.c $(pkg-config .*' "$OLDPWD/docs/packages.md")" && cc client.c $(pkg-config --cflags --libs xshm) -o client)
    page_pair "$out/project"
    gcc examples/c/echo.c $(pkg-config --cflags --libs xshm-shared) -Wl,-rpath,"$prefix/lib" -o "$out/echo_shared"
    readelf -d "$out/echo_shared" | grep -q "NEEDED.*libxshm.so.${version%.*}\]"
    pair "$out/echo_pc" "$out/echo_shared" 100
    # Another version, range or target is refused.
    for each in "0.2 no" "0.4 no" "0.3 yes" "0.3.0...<0.4 yes" "0.1...1.0 yes" "0.1...<0.3 no" "0.4...1.0 no"; do
        found=yes
        cmake -S tests/c/find_version -B "$builds/version" -Dxshm_DIR="$prefix/lib/cmake/xshm" -DWANTED="${each% *}" >"$out/version.log" 2>&1 ||
            found=no
        rm -rf "$builds/version"
        [ "$found" = "${each#* }" ] || { cat "$out/version.log" >&2; echo "find_package(xshm ${each% *}): found: $found" >&2; return 1; }
    done
    refused cmake -S tests/c/find_version -B "$builds/target" -Dxshm_DIR="$prefix/lib/cmake/xshm" -DWANTED=0.3 -DCMAKE_SYSTEM_NAME=Windows \
        -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc -DCMAKE_SYSTEM_PROCESSOR=x86_64 >"$out/target.log" 2>&1
    grep -q "for $host, not $gnu" "$out/target.log"
    refused env CARGO_TARGET_DIR="$out/empty" cmake -S tests/c/find_version -B "$builds/target" -Dxshm_DIR="$PWD/cmake" -DWANTED=0.3 \
        >"$out/target.log" 2>&1
    mkdir -p "$out/only-host/release"
    cp "$prefix/lib/libxshm.a" "$out/only-host/release/"
    CARGO_TARGET_DIR="$out/only-host" cmake -S tests/c/find_version -B "$builds/target-host" -Dxshm_DIR="$PWD/cmake" -DWANTED=0.3 >/dev/null
    refused env CARGO_TARGET_DIR="$out/only-host" cmake -S tests/c/find_version -B "$builds/target-windows" -Dxshm_DIR="$PWD/cmake" \
        -DWANTED=0.3 -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc -DCMAKE_SYSTEM_PROCESSOR=x86_64 >"$out/target.log" 2>&1
    grep -q "there is no libxshm.a for $gnu" "$out/target.log"
    # From an archive, for Windows.
    [ -e "$target_dir/dist/xshm-$version-$gnu.tar.gz" ] || ci/package.sh "$gnu"
    rm -rf "$builds"
    cmake -S tests/c/find_package -B "$builds" -Dxshm_DIR="$(unpacked "$gnu")/cmake" -DCMAKE_SYSTEM_NAME=Windows \
        -DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++ \
        -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_SYSTEM_PROCESSOR=x86_64 >/dev/null
    cmake --build "$builds" >/dev/null
    pair "ci/wine.sh exec $builds/echo_c.exe" "ci/wine.sh exec $builds/echo_cpp.exe" 100
    echo "CMake from an installed tree, a build tree and an archive; pkg-config"

    # Users who start with the sources, each in a separate folder.
    mkdir -p "$sources"
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -czf "$sources/xshm.tar.gz" --transform 's,^,xshm/,'
    # What is tried is that cargo is called and its library taken; the other steps try the library. So it is not optimised here.
    export CARGO_PROFILE_C_LIBRARY_LTO=off CARGO_PROFILE_C_LIBRARY_OPT_LEVEL=0 CARGO_PROFILE_C_LIBRARY_CODEGEN_UNITS=16
    fetch_content
    meson_project
    conan_recipe
    vcpkg_port
    unset CARGO_PROFILE_C_LIBRARY_LTO CARGO_PROFILE_C_LIBRARY_OPT_LEVEL CARGO_PROFILE_C_LIBRARY_CODEGEN_UNITS
}

# Makes the project of docs/packages.md for a build system in an empty folder, with the README's programs.
page_project() { # $1: the folder that stands before the file names in docs/packages.md
    rm -rf "$out/project"
    ci/programs.sh "$out/project" README.md >/dev/null
    awk -v which="$1" -v folder="$out/project/" '
        /^```(cmake|meson|ini)$/ { first = 1; next }
        /^```/ { file = "" }
        first { first = 0; sub(/^# /, ""); if (index($0, which "/") == 1) file = folder substr($0, length(which) + 2); next }
        file { print > file }' docs/packages.md
}

# Runs the README's server and client.
page_pair() { # $1: the folder
    local server
    timeout 60 "$1/server" >"$out/server.log" &
    server=$!
    [ "$(timeout 60 "$1/client")" = ping ] && wait "$server" && [ "$(cat "$out/server.log")" = pong ] ||
        { echo "the programs in $1 failed" >&2; return 1; }
}

# Makes a user's project in an empty folder, with the examples echo.c and echo.cpp.
project() { # $1: a folder in tests/c with the build files
    rm -rf "$out/project"
    mkdir -p "$out/project"
    cp -r "$1"/. examples/c/echo.c examples/cpp/echo.cpp "$out/project/"
}

fetch_content() {
    page_project find_package
    cmake -S "$out/project" -B "$out/project/build" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
    cmake --build "$out/project/build" >/dev/null
    page_pair "$out/project/build"
    page_project fetch_content
    sed -i "s,/path/to/xshm-$version.tar.gz,$sources/xshm.tar.gz," "$out/project/CMakeLists.txt"
    cmake -S "$out/project" -B "$out/project/build" -DXSHM_LIBRARY="$prefix/lib/libxshm.a" >/dev/null
    cmake --build "$out/project/build" >/dev/null
    page_pair "$out/project/build"
    project tests/c/fetch_content
    cmake -G Ninja -S "$out/project" -B "$out/project/build" -DXSHM_URL="$sources/xshm.tar.gz" -DXSHM_SHARED=ON >/dev/null
    cmake --build "$out/project/build" >/dev/null
    pair "$out/project/build/echo_c" "$out/project/build/echo_cpp" 100
    tar -C "$sources" -xzf "$sources/xshm.tar.gz"
    # A library that exists already: no Rust is needed.
    cmake -S "$out/project" -B "$out/project/copy" -DXSHM_SOURCES="$sources/xshm" -DXSHM_LIBRARY="$prefix/lib/libxshm.a" >/dev/null
    cmake --build "$out/project/copy" >/dev/null
    pair "$out/project/copy/echo_c" "$out/project/copy/echo_cpp" 100
    # What was built for FetchContent, installed.
    cmake -S "$sources/xshm" -B "$out/project/install" -DXSHM_LIBRARY="$prefix/lib/libxshm.a" >/dev/null
    cmake --install "$out/project/install" --prefix "$out/project/prefix" >/dev/null
    rm -rf "$builds"
    cmake -S tests/c/find_package -B "$builds" -DCMAKE_PREFIX_PATH="$out/project/prefix" >/dev/null
    cmake --build "$builds" --target echo_c >/dev/null
    pair "$builds/echo_c" "$out/project/copy/echo_cpp" 100
    echo "CMake: FetchContent, add_subdirectory, cmake --install"
}

# Tools from the Python package index, of fixed versions, in a folder of this project.
python_tools() {
    [ -x "$target_dir/tools/python/bin/pip" ] || python3 -m venv "$target_dir/tools/python"
    "$target_dir/tools/python/bin/pip" install --quiet --disable-pip-version-check "$@"
    export PATH="$target_dir/tools/python/bin:$PATH"
}

meson_project() {
    python_tools meson==1.12.1
    page_project meson
    meson setup "$out/project/build" "$out/project" >/dev/null
    meson compile -C "$out/project/build" >/dev/null
    page_pair "$out/project/build"
    echo "Meson, by pkg-config"
}

# The port's own steps; see the file.
vcpkg_port() {
    rm -rf "$out/vcpkg" "$out/vcpkg-build"
    tar -C "$sources" -xzf "$sources/xshm.tar.gz"
    cmake -DSOURCES="$sources/xshm" -DPACKAGES="$out/vcpkg" -DOPTIONS="-DXSHM_LIBRARY=$prefix/lib/libxshm.a" \
        -P "$sources/xshm/packaging/vcpkg/check.cmake" >"$out/vcpkg.log" 2>&1 || { cat "$out/vcpkg.log" >&2; return 1; }
    rm -rf "$builds"
    page_project find_package
    cmake -S "$out/project" -B "$builds" -DCMAKE_PREFIX_PATH="$out/vcpkg" >/dev/null
    cmake --build "$builds" >/dev/null
    page_pair "$builds"
    echo "vcpkg: the port's steps, with stand-ins for vcpkg's functions"
}

conan_recipe() {
    python_tools conan==2.34.0
    export CONAN_HOME="$out/conan"
    conan profile detect --force >/dev/null 2>&1
    tar -C "$sources" -xzf "$sources/xshm.tar.gz"
    (cd "$sources/xshm" && conan create packaging/conan >"$out/conan.log" 2>&1) || { cat "$out/conan.log" >&2; return 1; }
    grep -q '100 messages came back' "$out/conan.log"
    page_project conan
    cp "$out/project/conanfile.txt" "$out/conanfile.txt"
    page_project find_package
    cp "$out/conanfile.txt" "$out/project/"
    (
        cd "$out/project"
        conan install . --output-folder=build >"$out/conan.log" 2>&1 || { cat "$out/conan.log" >&2; return 1; }
        cmake -S . -B build -DCMAKE_TOOLCHAIN_FILE=build/conan_toolchain.cmake -DCMAKE_BUILD_TYPE=Release >/dev/null
        cmake --build build >/dev/null
    )
    page_pair "$out/project/build"
    echo "Conan: conan create, and a project that requires the package"
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
    timeout 120 "$builds/Release/parity.exe"
    timeout 120 "$builds/Release/loops.exe"
    timeout 120 "$builds/Release/modern.exe"
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
run() {
    local started=$SECONDS
    echo "== c: $1"
    "$1"
    echo "-- c: $1: $((SECONDS - started)) s"
}
# The compilers that check the headers take minutes on one processor, and write nothing that another step uses. So they run beside
# the other steps, and report through a pipe that they passed. `wait` cannot report it: Linux gives the id of an ended process to
# a later one, and when this shell starts that one, bash forgets how the first one ended.
beside=
if [ "${steps[0]}" = headers ] && [ ${#steps[@]} -gt 1 ]; then
    exec {beside}< <(set -e; run headers >"$out/headers.log" 2>&1; echo passed)
    steps=("${steps[@]:1}")
fi
for each in "${steps[@]}"; do
    run "$each"
done
if [ -n "$beside" ]; then
    read -r _ <&"$beside" || { cat "$out/headers.log" >&2; exit 1; }
    cat "$out/headers.log"
fi
