#!/usr/bin/env bash
# Builds the example driver with Microsoft's compiler and driver kit, and checks that it imports only from the kernel. In Git's
# bash. The driver is not loaded: see the job in .github/workflows/ci.yml.
#   ci/windows/driver.sh x64|arm64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case "$1" in
x64) defines="/D_WIN64 /D_AMD64_ /DAMD64" ;;
arm64) defines="/D_WIN64 /D_ARM64_ /DARM64" ;;
*) echo "usage: ci/windows/driver.sh x64|arm64" >&2; exit 2 ;;
esac
kits="/c/Program Files (x86)/Windows Kits/10"
newest=$(ls -d "$kits"/Include/*/km/ntifs.h 2>/dev/null | sort -V | tail -1)
[ -n "$newest" ] || { echo "ci/windows/driver.sh: this machine lacks the Windows Driver Kit" >&2; exit 1; }
version=$(basename "$(dirname "$(dirname "$newest")")")
echo "Windows Driver Kit $version"
include="$(cygpath -w "$kits")\\Include\\$version"
libraries="$(cygpath -w "$kits")\\Lib\\$version\\km\\$1"
out="${CARGO_TARGET_DIR:-target}/driver"
mkdir -p "$out"

# /kernel: no exceptions, no run-time types. /analyze checks the annotations of the kit's headers; its warnings are for a reader.
ci/windows/msvc.sh "$1" <<END
cl /nologo /c /kernel /analyze /O2 /GS /W4 /wd4201 /wd4324 $defines /D_WIN32_WINNT=0x0A00 /I"$include\\km\\crt" /I"$include\\km" /I"$include\\shared" /Iinclude /Iexamples\\driver /Fo$out/xshm_echo.obj examples\\driver\\xshm_echo.c
link /nologo /driver /kernel /subsystem:native /entry:GsDriverEntry /nodefaultlib /libpath:"$libraries" /out:$out/xshm_echo.sys $out/xshm_echo.obj ntoskrnl.lib BufferOverflowFastFailK.lib
dumpbin /nologo /imports /out:$out/imports.txt $out/xshm_echo.sys
END
imports=$(tr -d '\r' <"$out/imports.txt" | sed -nE 's/^ {4}([A-Za-z0-9_-]+\.(exe|dll|sys))$/\1/p' | sort -u | xargs)
echo "xshm_echo.sys imports from: $imports"
[ "$imports" = ntoskrnl.exe ]
