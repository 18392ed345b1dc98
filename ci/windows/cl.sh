#!/usr/bin/env bash
# Unpacks the release archive, builds the README's programs in its folder with the README's own command for MSVC, and runs
# them. Then does the same with the other C runtime (/MD), and with the programs in C++. In Git's bash.
#   ci/windows/cl.sh x64|x86|arm64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
architecture=$1
case "$architecture" in
x64) target=x86_64-pc-windows-msvc ;;
x86) target=i686-pc-windows-msvc ;;
arm64) target=aarch64-pc-windows-msvc ;;
*) echo "usage: ci/windows/cl.sh x64|x86|arm64" >&2; exit 2 ;;
esac
target_dir="${CARGO_TARGET_DIR:-target}"

line=$(grep -oE '`cl /MT [^`]* server\.c [^`]*`' README.md | head -1 | tr -d '`')
echo "the README's command: $line"

archive=$(ci/package.sh "$target" | tail -1)
folder="$target_dir/cl/$architecture"
rm -rf "$folder"
mkdir -p "$folder"
tar -C "$folder" -xzf "$archive" --strip-components 1
ci/programs.sh "$folder" README.md
cp examples/cpp/echo.cpp tests/c/bulk.cpp tests/c/exceptions.cpp tests/c/check.hpp tests/c/platform.h "$folder/"
cd "$folder"

exchange() { # $1, $2: commands of the server and the client, which are split into words
    timeout 60 $1 &
    timeout 60 $2
    wait $!
}

for runtime in /MT /MD; do
    command=${line/\/MT/$runtime}
    rm -f ./*.exe ./*.obj
    {
        echo "$command"
        echo "${command/server.c/client.c}"
        for program in client_cpp echo bulk exceptions; do
            cpp=${command/cl /cl \/std:c++17 \/EHsc }
            echo "${cpp/server.c/$program.cpp}"
        done
    } | "$OLDPWD/ci/windows/msvc.sh" "$architecture"
    exchange ./server.exe ./client.exe
    exchange ./server.exe ./client_cpp.exe
    exchange "./echo.exe serve ci.cl.$$ 2000" "./echo.exe answer ci.cl.$$ 2000"
    timeout 60 ./bulk.exe
    timeout 60 ./exceptions.exe
    echo "$architecture with $runtime: the programs in C and C++ run"
done

# The shared library, and a program with two libraries that Rust made.
command=$(grep -oE '`cl /MT [^`]* server\.c [^`]*xshm\.dll\.lib`' "$OLDPWD/docs/packages.md" | tr -d '`')
echo "docs/packages.md: $command"
rm -f ./*.exe ./*.obj
cp bin/xshm.dll "$OLDPWD/tests/c/two.c" .
cargo build --locked --release --manifest-path "$OLDPWD/tests/c/other/Cargo.toml" --target-dir other --target "$target"
cp "other/$target/release/other.lib" lib/
{
    echo "$command"
    echo "${command//server/client}"
    echo "${line/server.c/two.c} lib\\other.lib userenv.lib ws2_32.lib dbghelp.lib"
} | "$OLDPWD/ci/windows/msvc.sh" "$architecture"
exchange ./server.exe ./client.exe
timeout 60 ./two.exe
echo "$architecture: the shared library, and two libraries of Rust in one program"
