#!/usr/bin/env bash
# Makes a library for C ready for release: a program can link it beside another Rust library, and two plug-ins that contain it do
# not share a copy.
#   ci/private.sh LIBRARY [ARCHIVE ...]    changes the file: a libxshm.a or xshm.lib that `cargo c-library` has made
# - It takes what the library needs out of the archives.
# - It drops the members that no function of the C interface needs: most of Rust's standard library.
# - It renames every symbol but those of the C interface, and the imports: a name such as rust_eh_personality is in each library
#   that Rust makes.
# - On Linux it hides all symbols, so that a shared object that contains the library exports none of them.
# - It drops the information for debuggers.
# Needs rustup, for the component llvm-tools.
set -euo pipefail
library=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

host=$(rustc -vV | sed -n 's/^host: //p')
tools="$(rustc --print sysroot)/lib/rustlib/$host/bin"
[ -x "$tools/llvm-objcopy" ] || [ -x "$tools/llvm-objcopy.exe" ] || rustup component add llvm-tools >&2
llvm() { "$tools/llvm-$1" "${@:2}" | tr -d '\r'; }

format=gnu
case "$library" in *.lib) format=coff ;; esac
cp "$library" "$folder/library"
[ $# = 1 ] || llvm ar qL "$folder/library" "${@:2}"

# What imports from a DLL stays as it is. Its members have the DLL's name, several of them the same.
llvm ar t "$folder/library" | { grep -v '\.dll' || true; } >"$folder/objects"
# Each line: the member, D (defines) or U (needs), the symbol.
llvm nm --extern-only "$folder/library" 2>/dev/null |
    awk '/:$/ { member = substr($0, 1, length($0) - 1); next }
        NF == 2 && ($1 == "U" || $1 == "w") { print member "\tU\t" $2; next }
        NF == 3 { print member "\tD\t" $3 }' >"$folder/symbols"
# The members that the C interface needs, and those that these need.
awk -F '\t' '
    FILENAME ~ /objects$/ { objects[$0]; next }
    !($1 in objects) { next }
    $2 == "D" && !($3 in definer) { definer[$3] = $1 }
    $2 == "D" && $3 ~ /^_?x?shm_/ && !($1 in needed) { needed[$1]; queue[++last] = $1 }
    $2 == "U" { needs[$1] = needs[$1] $3 "\t" }
    END {
        for (at = 1; at <= last; at++) {
            count = split(needs[queue[at]], symbols, "\t")
            for (i = 1; i <= count; i++) {
                if (!(symbols[i] in definer)) continue
                member = definer[symbols[i]]
                if (!(member in needed)) { needed[member]; queue[++last] = member }
            }
        }
        for (member in needed) print member
    }' "$folder/objects" "$folder/symbols" | sort >"$folder/needed"
[ -s "$folder/needed" ] || { echo "ci/private.sh: $library has no function of the C interface" >&2; exit 1; }

awk -F '\t' 'FILENAME ~ /needed$/ { needed[$0]; next } ($1 in needed) && $2 == "D" { print $3 }' \
    "$folder/needed" "$folder/symbols" | sort -u >"$folder/defined"
{ grep -vE '^_?x?shm_' "$folder/defined" || true; } | sed 's/.*/& xshm_private.&/' >"$folder/renamed"
change=(--strip-debug "--redefine-syms=$folder/renamed")
if [[ $(llvm readobj --file-headers "$folder/library" 2>/dev/null) == *'Format: elf'* ]]; then
    # By the names before and after.
    { tr ' ' '\n' <"$folder/renamed"; grep -E '^x?shm_' "$folder/defined"; } >"$folder/hidden"
    change+=("--set-symbols-visibility=$folder/hidden=hidden")
fi

mkdir "$folder/members"
mapfile -t needed <"$folder/needed"
mapfile -t objects <"$folder/objects"
(cd "$folder/members" && llvm ar x ../library "${needed[@]}")
for member in "${needed[@]}"; do
    llvm objcopy "${change[@]}" "$folder/members/$member"
done
llvm ar d "$folder/library" "${objects[@]}"
(cd "$folder/members" && llvm ar --format=$format rcs ../library "${needed[@]}")
mv "$folder/library" "$library"
