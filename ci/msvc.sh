#!/usr/bin/env bash
# Builds programs of MSVC's ABI on Linux, without Microsoft's linker and libraries, and runs them under Wine:
#   ci/msvc.sh x86_64 test                               cargo's commands, for x86_64-pc-windows-msvc
#   ci/msvc.sh i686 run --release --example ping_pong
#   ci/msvc.sh x86_64 cl /MT /Iinclude server.c lib/xshm.lib ntdll.lib
# The linker is rustc's own. The import libraries are MinGW's, and so are the C headers. In place of the C runtime there is
# ucrtbase.dll, which Wine has, and msvc-crt.c for what no DLL can do. XSHM_RUNNER is what runs the programs, if not ci/wine.sh,
# which runs those for x86_64 alone: XSHM_RUNNER="ci/wine-of.sh trixie exec"
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/.." && pwd)"
[ $# -ge 2 ] || { sed -n '2,9s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
machine=$1 command=$2
shift 2
target=$machine-pc-windows-msvc
mingw=/usr/$machine-w64-mingw32
libs="${CARGO_TARGET_DIR:-$root/target}/msvc/$machine"
lld="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld"
case "$machine" in x86_64) x=x64 ;; i686) x=x86 ;; *) echo "ci/msvc.sh: there is nothing for $machine" >&2; exit 2 ;; esac

# Import libraries under the names that Microsoft's have, and libcmt.lib.
make_libraries() {
    local each helpers=(__chkstk)
    [ "$machine" = x86_64 ] || helpers=(_chkstk _aulldiv _aullrem)
    mkdir -p "$libs"
    for each in advapi32 dbghelp kernel32 ntdll userenv ws2_32; do
        cp "$mingw/lib/lib$each.a" "$libs/$each.lib"
    done
    # What compilers call for large frames and long divisions; libcmt.lib has it, and so has ntdll.dll.
    printf '%s\n' "LIBRARY ntdll.dll" EXPORTS "${helpers[@]}" >"$libs/helpers.def"
    # What MinGW has in a separate library, and ucrtbase.dll too.
    printf '%s\n' "LIBRARY ucrtbase.dll" EXPORTS ceil cos exp floor fmod log pow sin sqrt >"$libs/math.def"
    for each in helpers math; do
        library /def:"$libs/$each.def" /out:"$libs/$each.lib"
    done
    for each in "" -DPROGRAM -DDLL; do
        clang --target=$target -O2 -Wall -Wextra -Werror -ffreestanding $each -c "$here/msvc-crt.c" -o "$libs/crt$each.obj"
    done
    library /out:"$libs/libcmt.lib" "$libs/crt.obj" "$libs/crt-DPROGRAM.obj" "$libs/crt-DDLL.obj" "$libs/helpers.lib" "$libs/math.lib" "$mingw/lib/libucrtbase.a"
    # Doctests are built without the flags of .cargo/config.toml, for the runtime as a DLL.
    cp "$libs/libcmt.lib" "$libs/msvcrt.lib"
    cp "$libs/helpers.lib" "$libs/oldnames.lib"
    # The linker, as rustc and clang call it. On x86 both ask for safe exception handlers, and MinGW's libraries don't say that
    # they have no others.
    printf '%s\n' '#!/bin/sh' '[ "$1" = -flavor ] || set -- -flavor link "$@"' \
        "exec \"$lld\" \"\$@\" $([ "$machine" = x86_64 ] || echo /safeseh:no)" >"$libs/lld-link"
    chmod +x "$libs/lld-link"
    # A name that clang finds nowhere else.
    ln -sf lld-link "$libs/xshm-lld-link"
    touch "$libs/made"
}
library() { "$lld" -flavor link /lib /nologo /machine:$x "$@"; }

"$root/ci/install.sh" clang mingw-w64
"$root/ci/rust-target.sh" "$target"
[ "$libs/made" -nt "${BASH_SOURCE[0]}" ] && [ "$libs/made" -nt "$here/msvc-crt.c" ] || make_libraries
export LIB="$libs" # where the linker looks
case "$command" in
cl)
    # MinGW's headers want to see a GNU compiler too. Those for C++ suffice to check a program's syntax (/Zs), and there is no C++
    # library of MSVC's ABI to link it with.
    cxx=$("$machine-w64-mingw32-g++" -print-file-name=include/c++)
    flags=(-fgnuc-version=4.2.1 -D_UCRT -imsvc "$cxx" -imsvc "$cxx/$machine-w64-mingw32" -imsvc "$mingw/include")
    [ "$machine" = x86_64 ] || flags+=(-D_X86_)
    # cl takes a path that begins with a slash for an option.
    words=()
    for each in "$@"; do
        if [ -e "$each" ]; then words+=("$(realpath --relative-to=. "$each")"); else words+=("$each"); fi
    done
    PATH="$libs:$PATH" exec clang --driver-mode=cl --target=$target -fuse-ld=xshm-lld-link "${flags[@]}" "${words[@]}"
    ;;
*)
    name=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")
    export "${name}_LINKER=$libs/lld-link" "${name}_RUNNER=${XSHM_RUNNER:-$root/ci/wine.sh exec}"
    cd "$root"
    exec cargo "$command" --target "$target" "$@"
    ;;
esac
