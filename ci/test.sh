#!/usr/bin/env bash
# Runs everything that must pass before a change goes in. Needs rustup; on Debian and Ubuntu it installs the rest.
#   ci/test.sh              runs all steps
#   ci/test.sh bridge       runs a step that is not among them, since it builds an engine for minutes
#   ci/test.sh list         lists the steps by name
#   ci/test.sh clippy tests runs only these steps
# On Linux the Windows programs run under Wine (ci/wine.sh). On Windows the script runs in Git's bash, for the target in
# XSHM_TARGET, by default the toolchain's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minimum_rust=1.77.0
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# Lines suffice for backtraces. Whole debug data takes a quarter more time to build, and twice the disk.
export CARGO_PROFILE_DEV_DEBUG="${CARGO_PROFILE_DEV_DEBUG:-line-tables-only}"
target_dir="${CARGO_TARGET_DIR:-target}"

case "$(uname -s)" in
MINGW* | MSYS* | CYGWIN*) system=windows ;;
*) system=linux ;;
esac

if [ "$system" = windows ]; then
    target="${XSHM_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}"
    steps=(formatting clippy documentation minimum_rust dependencies tests doctests examples ping_pong send_file
        cli c_interface)
else
    target=x86_64-pc-windows-gnu
    steps=(formatting clippy_linux clippy documentation reference book minimum_rust dependencies linux calls models tests doctests
        examples ping_pong send_file cli c_interface msvc word_sizes driver failpoints sanitizers fuzz soak instructions bench)
fi

# Root on Linux has all permissions that tests need, for instance to start processes as another user. So tests must not skip.
if [ "$system" = linux ] && [ "$(id -u)" = 0 ]; then
    export XSHM_REQUIRE_ALL=1
fi

# ------------------------------------------------------------------------------------------------------- the steps

formatting() {
    cargo fmt --check --all
    cargo fmt --check --manifest-path fuzz/Cargo.toml
    cargo fmt --check --manifest-path benches/Cargo.toml
    cargo fmt --check --manifest-path bridge/Cargo.toml
    cargo fmt --check --manifest-path cli/Cargo.toml
}

clippy_linux() {
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --all-features -- -D warnings
    cargo clippy --locked --package xshm --lib --tests --no-default-features -- -D warnings
    cargo check --locked --lib --target aarch64-unknown-linux-gnu
}

clippy() { cargo clippy --locked --all-targets --all-features --target "$target" -- -D warnings; }

documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --document-private-items --target "$target"; }

# The book of docs/, and the links of the README and of the book.
book() { ci/book.sh; }

# The reference of the C and C++ interface.
reference() { ci/reference.sh; }

minimum_rust() {
    # With the target named, this also adds it to a toolchain that lacks it.
    rustup toolchain install "$minimum_rust" --profile minimal --no-self-update --target "$target" || {
        echo "ci/test.sh: rustup could not fetch Rust $minimum_rust for $target" >&2
        return 1
    }
    cargo "+$minimum_rust" check --locked --all-features --target "$target"
    [ "$system" = windows ] || { cargo "+$minimum_rust" check --locked; cargo "+$minimum_rust" check --locked --all-features; }
}

# Checks the dependencies: a Rust program is linked with xshm and thiserror, and the rest of the list runs only in the compiler.
# Nothing more is built.
dependencies() {
    local expected="proc-macro2 quote syn thiserror thiserror-impl unicode-ident xshm" found
    found=$(cargo tree --locked --package xshm -e normal,build --target x86_64-pc-windows-msvc --prefix none --format '{p}' |
        cut -d' ' -f1 | LC_ALL=C sort -u | xargs)
    echo "$found"
    [ "$found" = "$expected" ] || { echo "ci/test.sh: expected: $expected" >&2; return 1; }
    [ "$system" = windows ] || ci/dependent.sh
}

# The tests again, natively.
linux() {
    cargo test --locked --all-features
    cargo run --locked --release --example ping_pong -- --quick
}

calls() { ci/calls.sh; }

models() { ci/models.sh; }

tests() { windows_cargo test --all-features --lib --bins --tests --examples; }

doctests() { windows_cargo test --all-features --doc; }

# The examples that check themselves.
examples() {
    if [ "$system" = linux ]; then
        cargo run --locked --features async --example async_receive
        cargo run --locked --example chat -- check
        cargo run --locked --example frames -- --4k check 1s
    fi
    windows_cargo run --features async --example async_receive
    windows_cargo run --example chat -- check
    windows_cargo run --example frames -- --4k check 1s
}

ping_pong() {
    local how=(--quick)
    [ -z "${XSHM_LONG:-}" ] || how=()
    windows_cargo run --release --example ping_pong -- "${how[@]}"
}

send_file() {
    local sent="$target_dir/sent.bin" received="$target_dir/received.bin"
    rm -f "$received"
    # An odd length, so that the last message is short.
    local bytes=20000003
    [ -z "${XSHM_LONG:-}" ] || bytes=200000003
    head -c "$bytes" /dev/urandom >"$sent"
    windows_cargo run --release --example send_file -- "$sent" "$received"
    cmp "$sent" "$received"
    rm -f "$received"
    # The two sides, started one by one.
    local channel="ci-send-file-$$"
    windows_cargo run --release --example send_file -- --receive "$channel" "$received" &
    windows_cargo run --release --example send_file -- --send "$channel" "$sent"
    wait $!
    cmp "$sent" "$received"
    rm -f "$sent" "$received"
}

# The program xshm.
cli() { ci/cli.sh; }

# The bridge to other machines, in bridge/.
bridge() { ci/bridge.sh; }

c_interface() { ci/c.sh; }

# The same with MSVC's ABI, x64, under Wine: the tests, the examples and the C programs. ci/full.sh has x86.
msvc() {
    ci/msvc.sh x86_64 test --locked --all-features --lib --bins --tests --examples
    ci/msvc.sh x86_64 test --locked --all-features --doc
    ci/msvc.sh x86_64 run --locked --features async --example async_receive
    ci/msvc.sh x86_64 run --locked --example chat -- check
    ci/msvc.sh x86_64 run --locked --release --example ping_pong -- --quick
    ci/msvc-c.sh x86_64
}

# A 32-bit process and a 64-bit process exchange messages, in both roles. Natively, since some machines have no 32-bit Wine.
word_sizes() {
    local small=i686-unknown-linux-gnu
    if ! echo 'int main(void) { return 0; }' | cc -m32 -x c -o "$target_dir/small" - 2>/dev/null; then
        command -v apt-get >/dev/null || { echo "ci/test.sh: skipped, cc cannot make 32-bit programs here"; return 0; }
        ci/install.sh gcc-multilib
    fi
    rm -f "$target_dir/small"
    ci/pairs.sh "$(rustc -vV | sed -n 's/^host: //p')" "$small"
}

driver() { ci/driver.sh; }

failpoints() { ci/failpoints.sh; }

sanitizers() { ci/sanitizers.sh; }

fuzz() { ci/fuzz.sh 5; }

# Only shows that the benchmark runs. ci/bench.sh also runs it under Wine.
bench() {
    cargo clippy --locked --all-targets --manifest-path benches/Cargo.toml -- -D warnings
    cargo bench --locked --manifest-path benches/Cargo.toml -- --quick
}

instructions() { ci/instructions.sh; }

# Long enough for thousands of messages and some kills, but too short to show that nothing grows.
soak() {
    cargo run --locked --release --example soak -- 0.2
    windows_cargo run --release --example soak -- 0.2
}

# ---------------------------------------------------------------------------------------------------- what they share

# Runs cargo for the Windows target; on Linux the programs run under Wine.
windows_cargo() {
    local command=$1
    shift
    if [ "$system" = windows ]; then
        cargo "$command" --locked --target "$target" "$@"
    else
        ci/wine.sh "$command" --locked "$@"
    fi
}

# Installs what the steps need and a fresh machine lacks.
prepare() {
    command -v rustup >/dev/null || {
        echo "ci/test.sh: needs rustup, see https://rustup.rs" >&2
        return 1
    }
    if [ "$system" = linux ] && ! command -v cc >/dev/null; then
        ci/install.sh gcc libc6-dev
    fi
    local installed
    installed=$(rustup component list --installed)
    case "$installed" in *rustfmt*) ;; *) rustup component add rustfmt ;; esac
    case "$installed" in *clippy*) ;; *) rustup component add clippy ;; esac
    ci/rust-target.sh "$target"
    [ "$system" = windows ] || ci/rust-target.sh aarch64-unknown-linux-gnu
    mkdir -p "$target_dir"
}

passed=0
current=preparing
summary() {
    local status=$?
    [ "$system" = windows ] || ci/wine.sh stop
    if [ "$status" = 0 ]; then
        echo "$passed passed, 0 failed"
    else
        echo "== $current FAILED" >&2
        echo "$passed passed, 1 failed"
    fi
}

if [ "${1:-}" = list ]; then
    printf '%s\n' "${steps[@]}"
    exit 0
fi
for each in "$@"; do
    case " ${steps[*]} bridge " in
    *" $each "*) ;;
    *) echo "ci/test.sh: there is no step $each; the steps are: ${steps[*]}" >&2; exit 2 ;;
    esac
done
[ $# -eq 0 ] || steps=("$@")

trap summary EXIT
prepare
for current in "${steps[@]}"; do
    echo "== $current"
    started=$SECONDS
    "$current"
    passed=$((passed + 1))
    echo "-- $current: $((SECONDS - started)) s"
done
