#!/usr/bin/env bash
# Makes release archives of the library for C and C++, target/dist/xshm-VERSION-TARGET.tar.gz, with lib/, include/, cmake/,
# docs/ and examples/. An archive for Linux or MinGW also has the shared library; one for MSVC has it if it is made on Windows.
#   ci/package.sh                     for all Windows targets, Linux with musl, and this machine
#   ci/package.sh TARGET ...          for these targets
#   ci/package.sh --prefix DIR [TARGET]   installs the same into DIR instead, with files for CMake and pkg-config
# Needs rustup, and for the shared libraries a C compiler for the target. A static library needs none, so every machine can
# make all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir="${CARGO_TARGET_DIR:-target}"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')
# Before 1.0, versions with different second numbers are not compatible.
soname="libxshm.so.${version%.*}"

# $1: target. Whether a shared library can be made for it here.
has_linker() {
    case "$1:$host" in
    "$host:$host") return 0 ;;
    *-msvc:*-msvc) return 0 ;;
    x86_64-pc-windows-gnu:*) command -v x86_64-w64-mingw32-gcc >/dev/null ;;
    i686-pc-windows-gnu:*) command -v i686-w64-mingw32-gcc >/dev/null ;;
    *) return 1 ;;
    esac
}

# $1: target; $2: a folder that becomes an installed tree.
install() {
    local built="$target_dir/$1/c-library" kinds=staticlib flags=() parts=() system="-lpthread -ldl -lm" file
    ci/rust-target.sh "$1"
    case "$1" in
    *windows*) system="-lntdll" ;;
    *linux*) flags+=(-C "link-arg=-Wl,-soname,$soname") ;;
    esac
    # With musl, Rust's library otherwise contains a C library of its own. It needs an unwinder, and Rust's works with any compiler.
    case "$1" in
    *musl)
        flags+=(-C target-feature=-crt-static)
        parts=("$(rustc --print sysroot)/lib/rustlib/$1/lib/self-contained/libunwind.a")
        ;;
    esac
    ! has_linker "$1" || kinds=staticlib,cdylib
    # As cargo c-library, of one kind or both.
    cargo rustc --locked --package xshm --lib --profile c-library --crate-type "$kinds" --target "$1" -- "${flags[@]}" >&2

    mkdir -p "$2/lib/pkgconfig" "$2/lib/cmake/xshm" "$2/include"
    for file in libxshm.a xshm.lib; do
        [ -e "$built/$file" ] || continue
        cp "$built/$file" "$2/lib/"
        ci/private.sh "$2/lib/$file" ${parts[@]+"${parts[@]}"}
    done
    if [ "$kinds" != staticlib ]; then
        for file in xshm.dll libxshm.dll.a xshm.dll.lib libxshm.so; do
            [ -e "$built/$file" ] || continue
            case "$file" in
            *.dll) mkdir -p "$2/bin" && cp "$built/$file" "$2/bin/" ;;
            *.so)
                cp "$built/$file" "$2/lib/libxshm.so.$version"
                ln -sf "libxshm.so.$version" "$2/lib/$soname"
                ln -sf "$soname" "$2/lib/libxshm.so"
                ;;
            *) cp "$built/$file" "$2/lib/" ;;
            esac
        done
    fi
    cp include/* "$2/include/"
    cp cmake/*.cmake "$2/lib/cmake/xshm/"
    printf '# The target that this library is for.\nset(xshm_BUILT_FOR "%s")\n' "$1" >"$2/lib/cmake/xshm/xshmBuiltFor.cmake"
    file=libxshm.a
    case "$1" in *-msvc) file=xshm.lib ;; esac
    sed "s/@VERSION@/$version/; s|@LIBS@|\${libdir}/$file $system|" packaging/xshm.pc.in >"$2/lib/pkgconfig/xshm.pc"
    if [ "$kinds" != staticlib ]; then
        sed "s/@VERSION@/$version/; s|@LIBS@|-L\${libdir} -lxshm|" packaging/xshm.pc.in >"$2/lib/pkgconfig/xshm-shared.pc"
    fi
}

if [ "${1:-}" = --prefix ]; then
    install "${3:-$host}" "$2"
    exit 0
fi

[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu x86_64-pc-windows-msvc i686-pc-windows-gnu i686-pc-windows-msvc \
    aarch64-pc-windows-msvc x86_64-unknown-linux-musl "$host"
for target in "$@"; do
    name="xshm-$version-$target"
    folder="$target_dir/dist/$name"
    rm -rf "$folder"
    mkdir -p "$folder/examples"
    install "$target" "$folder"
    cp -r docs README.md CHANGELOG.md CONTRIBUTING.md LICENSE "$folder/"
    cp -r "$folder/lib/cmake/xshm" "$folder/cmake"
    cp -r examples/c examples/cpp examples/driver "$folder/examples/"
    tar -C "$target_dir/dist" -czf "$target_dir/dist/$name.tar.gz" "$name"
    echo "$target_dir/dist/$name.tar.gz"
done
