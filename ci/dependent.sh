#!/usr/bin/env bash
# Checks what a Rust program gets that depends on xshm, as the README says: by the path of a copy.
#   ci/dependent.sh           all steps
#   ci/dependent.sh STEP ...  only these: lock_file minimum_rust minimal_versions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$PWD"
mkdir -p "${CARGO_TARGET_DIR:-target}"
target_dir="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# Not below this folder, where cargo would find .cargo/config.toml.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Makes a new program in $folder.
program() {
    rm -rf "$folder"/{Cargo.*,src}
    cargo init --quiet --vcs none --edition 2021 --name dependent "$folder"
    # The lines of the README.
    awk '/^```toml$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$root/README.md" | sed "s|\"../xshm\"|\"$root\"|" >"$folder/lines"
    sed '/^\[dependencies\]$/d' "$folder/lines" >>"$folder/Cargo.toml"
    grep -q "path = \"$root\"" "$folder/Cargo.toml" || { echo "ci/dependent.sh: the README has no line for Cargo.toml" >&2; return 1; }
    printf '%s\n' 'fn main() -> xshm::Result<()> {' '    let server = xshm::SharedServer::start("ci-dependent")?;' \
        '    println!("{}", server.is_anonymous());' '    Ok(())' '}' >"$folder/src/main.rs"
}

# The program's lock file has what xshm needs on each system, and nothing of its tests, its benchmark or its library for C.
lock_file() {
    local expected="bitflags dependent errno libc linux-raw-sys proc-macro2 quote rustix syn thiserror thiserror-impl unicode-ident
        windows-link windows-sys xshm" found
    program
    (cd "$folder" && cargo generate-lockfile --quiet)
    found=$(sed -n 's/^name = "\(.*\)"/\1/p' "$folder/Cargo.lock" | sort -u | xargs)
    [ "$found" = "$(xargs <<<"$expected")" ] || { printf 'ci/dependent.sh: expected %s\nfound %s\n' "$(xargs <<<"$expected")" "$found" >&2; return 1; }
    # No step of the build makes a library for C, and none runs a program of xshm.
    (cd "$folder" && CARGO_TARGET_DIR="$target_dir/dependent" cargo build --quiet && "$target_dir/dependent/debug/dependent")
    [ -z "$(find "$target_dir/dependent" -name '*xshm*.a' -o -name 'xshm*.lib' -o -path '*build/xshm-*')" ]
    echo "the lock file of a program that depends on xshm: $found"
}

# The oldest Rust, with the versions that its own cargo chooses.
minimum_rust() {
    rustup toolchain install "$minimum.0" --profile minimal --no-self-update >/dev/null 2>&1
    program
    (cd "$folder" && RUSTUP_TOOLCHAIN="$minimum.0" CARGO_TARGET_DIR="$target_dir/dependent-$minimum" cargo run --quiet)
    echo "Rust $minimum builds the program without a lock file"
}

# The oldest versions that Cargo.toml permits. Choosing them is an unstable function of cargo.
minimal_versions() {
    rm -rf "$folder"/{*,.c*}
    git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -C "$folder" -x
    cd "$folder"
    rm Cargo.lock
    RUSTC_BOOTSTRAP=1 cargo -Zdirect-minimal-versions generate-lockfile --quiet
    CARGO_TARGET_DIR="$target_dir/minimal" cargo check --quiet --locked --workspace --all-targets
    cd "$root"
    echo "the oldest versions that Cargo.toml permits build"
}

[ $# -gt 0 ] || set -- lock_file minimum_rust minimal_versions
for each in "$@"; do "$each"; done
