#!/usr/bin/env bash
# Makes release archives of the library for C and C++, target/dist/xshm-VERSION-TARGET.tar.gz, with lib/, include/, cmake/,
# docs/ and examples/.
#   ci/package.sh                     for all Windows targets and this machine
#   ci/package.sh TARGET ...          for these targets
#   ci/package.sh --prefix DIR [TARGET]   installs the library into DIR instead, with a pkg-config file
# Needs rustup. A static library needs no linker, so every machine can make all targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target_dir="${CARGO_TARGET_DIR:-target}"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')

# $1: target. Builds its library, and prints the path.
build() {
    local library
    case "$(rustup target list --installed)" in
    *"$1"*) ;;
    *) rustup target add "$1" >&2 ;;
    esac
    cargo c-library --target "$1" >&2
    for library in libxshm.a xshm.lib; do
        [ ! -e "$target_dir/$1/c-library/$library" ] || echo "$target_dir/$1/c-library/$library"
    done
}

# $1: target; $2: the file to write.
pc_file() {
    local system="-Wl,--exclude-libs,libxshm.a -lpthread -ldl -lm"
    case "$1" in *windows*) system="-lntdll" ;; esac
    sed "s/@VERSION@/$version/; s/@SYSTEM@/$system/" packaging/xshm.pc.in >"$2"
}

if [ "${1:-}" = --prefix ]; then
    prefix=$2
    target=${3:-$host}
    library=$(build "$target")
    mkdir -p "$prefix/lib/cmake/xshm" "$prefix/lib/pkgconfig" "$prefix/include"
    cp "$library" "$prefix/lib/"
    cp include/* "$prefix/include/"
    cp cmake/xshmConfig.cmake cmake/xshmConfigVersion.cmake "$prefix/lib/cmake/xshm/"
    pc_file "$target" "$prefix/lib/pkgconfig/xshm.pc"
    exit 0
fi

[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu x86_64-pc-windows-msvc i686-pc-windows-gnu i686-pc-windows-msvc \
    aarch64-pc-windows-msvc "$host"
for target in "$@"; do
    library=$(build "$target")
    name="xshm-$version-$target"
    folder="$target_dir/dist/$name"
    rm -rf "$folder"
    mkdir -p "$folder/lib/pkgconfig"
    cp -r include cmake docs README.md CHANGELOG.md CONTRIBUTING.md LICENSE "$folder/"
    mkdir -p "$folder/examples"
    cp -r examples/c examples/cpp examples/driver "$folder/examples/"
    cp "$library" "$folder/lib/"
    pc_file "$target" "$folder/lib/pkgconfig/xshm.pc"
    tar -C "$target_dir/dist" -czf "$target_dir/dist/$name.tar.gz" "$name"
    echo "$target_dir/dist/$name.tar.gz"
done
