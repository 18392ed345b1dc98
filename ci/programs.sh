#!/usr/bin/env bash
# Writes the programs in C and C++ of documentation pages into a folder, and prints their names.
#   ci/programs.sh FOLDER FILE ...
# Each block of C or C++ is a whole program. Its first line is a comment with its file name: /* server.c */ or // server_cpp.cpp
# A program whose name ends in "client" or "client_cpp" connects to the server with the same beginning: sync_client.c to
# sync_server.c. Each other program runs alone. All return 0 if they succeed.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
folder=$1
shift
mkdir -p "$folder"
awk -v folder="$folder" '
    function fail(what) { print "ci/programs.sh: " FILENAME ":" FNR ": " what > "/dev/stderr"; failed = 1; exit 1 }
    { sub(/\r$/, "") }
    /^```(c|cpp)$/ { language = substr($0, 4); first = 1; next }
    /^```/ { if (file) close(file); file = ""; next }
    first {
        first = 0
        name = $0
        if (language == "c") { if (!gsub(/^\/\* | \*\/$/, "", name)) name = "" }
        else if (!sub(/^\/\/ /, "", name)) name = ""
        if (name !~ /^[a-z_]+\.(c|cpp)$/ || name !~ "\\." language "$") fail("a block of " language " does not begin with its file name")
        if (name in seen) fail("there is another " name)
        seen[name] = 1
        file = folder "/" name
        print name
    }
    file { print > file }
    END { if (failed) exit 1 }' "$@"
