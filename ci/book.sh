#!/usr/bin/env bash
# Builds the book of docs/ with mdBook in target/book, and checks the links of the README and of the book.
# The first call builds mdBook in target/tools, which takes a few minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=0.5.4
target_dir="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target_dir/tools"
target_dir="$(cd "$target_dir" && pwd)"
mdbook="$target_dir/tools/bin/mdbook"
command -v python3 >/dev/null || ci/install.sh python3
ci/links.py

ci/tool.sh mdbook "$version" --no-default-features
rm -rf "$target_dir/book"
"$mdbook" build --dest-dir "$target_dir/book" 2>&1 | tee "$target_dir/book.log"
# mdBook reports broken syntax as a warning, and succeeds.
! grep -E 'WARN|ERROR' "$target_dir/book.log" || { echo "ci/book.sh: mdBook warned" >&2; exit 1; }
ci/links.py --book "$target_dir/book"
echo "the book is $target_dir/book/index.html"
