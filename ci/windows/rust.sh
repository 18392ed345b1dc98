#!/usr/bin/env bash
# Installs Rust for the next steps of a GitHub job, if the image lacks it. In Git's bash.
set -euo pipefail
! command -v rustup || exit 0
# RUNNER_ARCH is the machine's: this bash may be an emulated program.
case "$RUNNER_ARCH" in ARM64) arch=aarch64 ;; *) arch=x86_64 ;; esac
curl -sSfLo "$RUNNER_TEMP/rustup-init.exe" "https://win.rustup.rs/$arch"
"$RUNNER_TEMP/rustup-init.exe" -y --profile default
cygpath -w "$USERPROFILE/.cargo/bin" >>"$GITHUB_PATH"
