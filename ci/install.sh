#!/usr/bin/env bash
# Installs missing packages of Debian or Ubuntu, for the other scripts:
#   ci/install.sh PACKAGE ...
set -euo pipefail
command -v dpkg-query >/dev/null || {
    echo "ci/install.sh: not Debian or Ubuntu; these must be installed already: $*" >&2
    exit 0
}
missing=()
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "ci/install.sh: installing ${missing[*]}" >&2
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
