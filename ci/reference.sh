#!/usr/bin/env bash
# Renders the reference of the C and C++ interface, from the headers, as HTML. A warning is an error. On Debian and Ubuntu it installs
# doxygen if that is missing.
#   ci/reference.sh         writes target/reference/html/index.html
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C
ci/install.sh doxygen
out="${CARGO_TARGET_DIR:-target}/reference"
rm -rf "$out"
mkdir -p "$out"
XSHM_VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
export XSHM_VERSION XSHM_REFERENCE="$out"
doxygen docs/reference/Doxyfile

# Prints each function in these groups, and whether its comment says which threads may call it.
grouped() {
    cat "$@" | awk '
        /<memberdef kind="function"/ { name = ""; threads = "without" }
        /^ *<name>/ && name == "" { name = $0; gsub(/ *<\/?name>/, "", name) }
        /<title>Threads<\/title>/ { threads = "with" }
        /<\/memberdef>/ && name != "" { print name, threads; name = "" }' | sort -u
}

# The functions of the library, and those that the headers for C define.
functions() {
    { cat tests/c/symbols.txt; sed -n 's/^static inline [a-z_]* \([a-z_]*\)(.*/\1/p' include/xshm_{server,client}.h; } | sort -u
}

fail() {
    echo "ci/reference.sh: $*" >&2
    exit 1
}

missing=$(comm -23 <(functions) <(grouped "$out"/xml/group__*.xml | cut -d ' ' -f 1))
[ -z "$missing" ] || fail "in no group:" $missing
missing=$(grouped "$out"/xml/group__*.xml | sed -n 's/ without$//p')
[ -z "$missing" ] || fail "without a paragraph \\par Threads:" $missing
# An object of C++ has one rule for all its functions. An iterator is a value, and belongs to a batch.
classes=$(grep -L '<compounddef .*prot="private"' "$out"/xml/{class,struct}xshm_1_1*.xml | grep -v iterator)
missing=$(grep -L '<title>Threads</title>' $classes || true)
[ -z "$missing" ] || fail "without a paragraph \\par Threads:" $missing
echo "$(functions | wc -l) functions of C and $(wc -l <<<"$classes") classes of C++ in $(ls "$out"/xml/group__*.xml | wc -l) groups:" \
    "$out/html/index.html"
