#!/usr/bin/env bash
# Checks the program xshm of cli/: lints for both systems, tests natively and under Wine, and an installation. On Windows the first two
# are for the target in XSHM_TARGET, by default the toolchain's own, and there is no Wine.
#   ci/cli.sh                      all steps
#   ci/cli.sh lints native wine install    only these steps
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
manifest=cli/Cargo.toml

case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*) system=windows program=xshm.exe host=(${XSHM_TARGET:+--target "$XSHM_TARGET"}) ;;
*) system=linux program=xshm host=() ;;
esac

lints() {
    cargo clippy --locked --all-targets --manifest-path "$manifest" "${host[@]}" -- -D warnings
    [ "$system" = linux ] || return 0
    ci/rust-target.sh x86_64-pc-windows-gnu
    cargo clippy --locked --all-targets --manifest-path "$manifest" --target x86_64-pc-windows-gnu -- -D warnings
}

native() { cargo test --locked --manifest-path "$manifest" "${host[@]}"; }

wine() { [ "$system" = windows ] || ci/wine.sh test --locked --manifest-path "$manifest"; }

# What a user types, except that the build is not optimised, so that it is the one of the tests.
install() {
    local root=cli/target/installed
    rm -rf "$root"
    cargo install --quiet --locked --debug --path cli --root "$root" "${host[@]}"
    local installed="$root/bin/$program"
    "$installed" --version
    "$installed" list --json | grep -q '"channels"'
    "$installed" man list | grep -q 'xshm\\-list'
    "$installed" completions bash | grep -q 'complete .*xshm'
    # For packagers.
    XSHM_ASSETS="$PWD/$root/share" cargo build --quiet --locked --manifest-path "$manifest"
    local file
    for file in xshm.1 xshm-watch.1 xshm.bash _xshm xshm.fish; do
        [ -s "$root/share/$file" ] || { echo "ci/cli.sh: the build has not made $file" >&2; return 1; }
    done
}

steps=(lints native wine install)
for each in "$@"; do
    case " ${steps[*]} " in
    *" $each "*) ;;
    *) echo "ci/cli.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
[ $# -eq 0 ] || steps=("$@")
for each in "${steps[@]}"; do
    echo "== cli: $each"
    started=$SECONDS
    "$each"
    echo "-- cli: $each: $((SECONDS - started)) s"
done
