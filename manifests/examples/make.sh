#!/bin/sh -e
# Makes the example manifests anew, on Debian 12 with python3-scipy and python3-pandas. As root: the host's name is one
# for examples. Hooks (.pth) that were added to the distribution's Python, by whomever, are empty meanwhile, in a mount
# name space of its own: what they import at every start is nobody else's.
#   BUILD=build manifests/examples/make.sh [DIRECTORY]
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${BUILD:-$here/../../build}" && pwd)
out=$(cd "${1:-$here}" && pwd)

hooks=
for file in /usr/lib/python3/dist-packages/*.pth /usr/local/lib/python3*/dist-packages/*.pth; do
    [ ! -e "$file" ] || dpkg -S "$file" >/dev/null 2>&1 || hooks="$hooks $file"
done
set --
for file in $hooks; do
    case $file in /usr/local/*) ;; *) set -- "$@" --exclude "$file" ;; esac
done
set -- "$@" --exclude /usr/local

record() { # NAME CODE OPTION...
    manifest=$out/$1.json code=$2
    shift 2
    unshare --uts --mount sh -ec 'hostname login1; cd /; for f in $0; do mount --bind /dev/null "$f"; done; exec "$@"' \
        "$hooks" env -i PATH=/usr/bin:/bin LANG=C.UTF-8 \
        "$build/dlcache" record -o "$manifest" --include /usr "$@" -- /usr/bin/python3 -c "$code"
    # Which files those were is of no interest to anybody.
    sed -i '/^   "\/usr\/lib\/python3\/dist-packages\/.*\.pth",$/d' "$manifest"
}

record python 'import json, ssl' "$@"
record scipy-pandas 'import scipy.stats, pandas' "$@"
