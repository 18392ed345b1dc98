#!/usr/bin/env bash
# Makes what a release attaches, in target/dist: the archives, a list of everything in the library (SBOM), and their checksums.
#   ci/release.sh check           checks that the versions agree, with each other and with the tag of this revision
#   ci/release.sh sbom            writes xshm-VERSION.cdx.json, by cargo-cyclonedx; the first call builds it, in a few minutes
#   ci/release.sh checksums       writes SHA256SUMS for all files in target/dist
# ci/package.sh makes the archives. RELEASING.md has the steps of a release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dist="${CARGO_TARGET_DIR:-target}/dist"
mkdir -p "$dist"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

check() {
    local wrong=0 tag
    grep -q "^## $version\b" CHANGELOG.md || { echo "CHANGELOG.md has no section ## $version" >&2; wrong=1; }
    grep -q "\"version\": \"$version\"" packaging/vcpkg/xshm/vcpkg.json || { echo "packaging/vcpkg/xshm/vcpkg.json has another version" >&2; wrong=1; }
    tag=$(git describe --tags --exact-match 2>/dev/null || true)
    [ -z "$tag" ] || [ "$tag" = "v$version" ] || { echo "the tag is $tag, and the version $version" >&2; wrong=1; }
    [ "$wrong" = 0 ]
    echo "version $version${tag:+, tag $tag}"
}

sbom() {
    ci/tool.sh cargo-cyclonedx 0.5.9
    PATH="$PWD/${CARGO_TARGET_DIR:-target}/tools/bin:$PATH" cargo cyclonedx --manifest-path Cargo.toml --format json \
        --target all --no-build-deps --override-filename "xshm-$version.cdx"
    mv "xshm-$version.cdx.json" "$dist/"
    rm -f "c/xshm-$version.cdx.json"
    echo "$dist/xshm-$version.cdx.json"
}

checksums() {
    (cd "$dist" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
    cat "$dist/SHA256SUMS"
}

[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
for each in "$@"; do
    case "$each" in
    check | sbom | checksums) "$each" ;;
    *) echo "ci/release.sh: there is no step $each" >&2; exit 2 ;;
    esac
done
