#!/usr/bin/env bash
# Installs the port with vcpkg, from the sources of this folder, and builds a program with it. For GitHub's machines, which have
# vcpkg in VCPKG_INSTALLATION_ROOT.
#   ci/vcpkg.sh TRIPLET
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
triplet=$1
root="${VCPKG_INSTALLATION_ROOT:?ci/vcpkg.sh: vcpkg is not installed}"
absolute() { if command -v cygpath >/dev/null; then cygpath -m "$1"; else echo "$1"; fi; }
mkdir -p target/vcpkg
ports="$PWD/target/vcpkg/ports"
rm -rf "$ports"
cp -r packaging/vcpkg "$ports"
# The sources are this folder's, in place of a release's.
git archive --prefix=xshm/ HEAD | tar -C target/vcpkg -x
sources=$(absolute "$PWD/target/vcpkg/xshm")
awk -v sources="$sources" '
    /^vcpkg_from_github\(/ { print "set(SOURCE_PATH \"" sources "\")"; inside = 1 }
    !inside { print }
    inside && /\)$/ { inside = 0 }' packaging/vcpkg/xshm/portfile.cmake >"$ports/xshm/portfile.cmake"
"$root/vcpkg" format-manifest "$ports/xshm/vcpkg.json"
diff --strip-trailing-cr packaging/vcpkg/xshm/vcpkg.json "$ports/xshm/vcpkg.json"
# It runs its own checks of the installed files, and fails with --enforce-port-checks if one finds a fault.
"$root/vcpkg" install "xshm:$triplet" --overlay-ports="$(absolute "$ports")" --enforce-port-checks
cmake -S tests/c/find_package -B target/vcpkg/build -DVCPKG_TARGET_TRIPLET="$triplet" \
    -DCMAKE_TOOLCHAIN_FILE="$(absolute "$root/scripts/buildsystems/vcpkg.cmake")"
cmake --build target/vcpkg/build --config Release --target echo_c
program=$(find target/vcpkg/build -name 'echo_c*' -type f | grep -E '/echo_c(\.exe)?$' | head -1)
timeout 60 "$program" serve "ci.vcpkg.$$" 100 &
timeout 60 "$program" answer "ci.vcpkg.$$" 100
wait $!
