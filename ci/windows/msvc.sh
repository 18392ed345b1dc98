#!/usr/bin/env bash
# Runs the commands of the standard input, one in each line, in cmd.exe with MSVC's environment. Stops at the first one that
# fails. In Git's bash.
#   ci/windows/msvc.sh x64|x86|arm64 <COMMANDS
set -euo pipefail
vswhere="/c/Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe"
installed=$("$vswhere" -latest -products '*' -property installationPath | tr -d '\r')
batch=$(mktemp --suffix=.bat)
trap 'rm -f "$batch"' EXIT
{
    printf '@call "%s\\VC\\Auxiliary\\Build\\vcvarsall.bat" %s >nul || exit /b 1\r\n' "$installed" "$1"
    while IFS= read -r command; do
        printf '%s || exit /b 1\r\n' "$command"
    done
} >"$batch"
# MSYS makes /c of //c.
cmd //c "$(cygpath -w "$batch")"
