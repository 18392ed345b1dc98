#!/usr/bin/env bash
# Runs Windows programs, of 64 and of 32 bits, under the Wine of another Debian, which it makes in target/wine-of. For root on
# Debian and Ubuntu:
#   ci/wine-of.sh trixie setup              3.3 GB on disk, 370 MB of them fetched, in 3 minutes
#   ci/wine-of.sh trixie exec PROGRAM ...   of this folder, its target folder, or /tmp, where doctests are
#   ci/wine-of.sh trixie stop               ends what goes on running for a while after a program
# XSHM_WINEPREFIX is another Wine prefix, which is made if there is none.
# As a runner: CARGO_TARGET_I686_PC_WINDOWS_GNU_RUNNER="ci/wine-of.sh trixie exec" cargo test --target i686-pc-windows-gnu
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
cd "$OLDPWD"
suite=$1 command=$2
shift 2
mkdir -p "${CARGO_TARGET_DIR:-$root/target}/wine-of"
target_dir="$(cd "${CARGO_TARGET_DIR:-$root/target}" && pwd)"
debian=$target_dir/wine-of/$suite
prefix="${XSHM_WINEPREFIX:-/root/prefix}"

# Runs a command in the other Debian, in a mount namespace of its own, so that nothing stays mounted.
enter() { (become "$@"); }

# The same, in place of this script, so that a signal to this one comes to the command.
become() {
    export debian prefix shared="/tmp $root $target_dir"
    exec unshare --mount bash -ec '
        mount --bind /proc "$debian/proc"
        mount --rbind /dev "$debian/dev"
        for each in $shared; do
            mkdir -p "$debian$each"
            mount --bind "$each" "$debian$each"
        done
        export HOME=/root WINEPREFIX="$prefix" WINEDEBUG="${WINEDEBUG:--all}" WINEDLLOVERRIDES="mscoree,mshtml=" DISPLAY=
        exec chroot "$debian" /usr/bin/env PATH=/usr/bin:/bin bash -ec "cd \"\$0\" 2>/dev/null; exec \"\$@\"" "$PWD" "$@"
    ' bash "$@"
}

# ProcessPrng, which std imports, is in no Wine before 9; see ci/wine.sh.
random_numbers() {
    local windows="$1/drive_c/windows"
    [ ! -e "$windows/system32/bcryptprimitives.dll" ] || return 0
    x86_64-w64-mingw32-gcc -O2 -shared -nostartfiles -Wl,--entry,DllMain -o "$windows/system32/bcryptprimitives.dll" \
        "$root/ci/bcryptprimitives.c" -ladvapi32
    i686-w64-mingw32-gcc -O2 -shared -nostartfiles -Wl,--entry,_DllMain@12,--kill-at -o "$windows/syswow64/bcryptprimitives.dll" \
        "$root/ci/bcryptprimitives.c" -ladvapi32
}

setup() {
    local mirror
    "$root/ci/install.sh" mmdebstrap mingw-w64
    # Where apt has its packages from. Without a mirror, mmdebstrap wants the security updates too, which change meanwhile.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -m1 '/debian/$')
    rm -rf "$debian"
    mmdebstrap --quiet --variant=minbase --architectures=amd64,i386 --aptopt='APT::Install-Recommends "false"' \
        --include=wine,wine64,wine32:i386 "$suite" "$debian" "$mirror"
    rm -rf "$debian"/var/cache/apt/* "$debian"/var/lib/apt/lists/*
    touch "$debian/ready"
}

# The prefix's path, which is another one out here unless a folder is shared.
prefix_here() { if [ -n "${XSHM_WINEPREFIX:-}" ]; then echo "$prefix"; else echo "$debian$prefix"; fi; }

make_prefix() {
    mkdir -p "$(prefix_here)"
    enter wineboot -i </dev/null >/dev/null 2>&1
    enter wineserver -w
    random_numbers "$(prefix_here)"
    touch "$(prefix_here)/ready"
}

if [ "$command" = stop ]; then
    [ ! -e "$debian/ready" ] || enter wineserver -k || true
    exit 0
fi
(
    flock 9
    [ -e "$debian/ready" ] || setup
    [ -e "$(prefix_here)/ready" ] || make_prefix
) 9>"$target_dir/wine-of.$suite.lock"
[ "$command" != setup ] || exit 0
# As in ci/wine.sh: started by the first program, these would hold that one's output open.
enter wineserver -p900 </dev/null >/dev/null 2>&1 || true
enter wine cmd /c exit </dev/null >/dev/null 2>&1 || true
[ "$command" = exec ] || { echo "usage: ci/wine-of.sh SUITE setup | exec PROGRAM ... | stop" >&2; exit 2; }
become wine "$@"
