#!/bin/sh -e
# Makes the example manifests anew, on Debian 12 with python3-scipy and python3-pandas. As root: the host's name is one
# for examples. What was added to the distribution's Python, by whomever, is left out.
#   BUILD=build manifests/examples/make.sh [DIRECTORY]
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${BUILD:-$here/../../build}" && pwd)
out=$(cd "${1:-$here}" && pwd)

set --
for file in /usr/lib/python3/dist-packages/*.pth; do
    [ ! -e "$file" ] || dpkg -S "$file" >/dev/null 2>&1 || set -- "$@" --exclude "$file"
done
set -- "$@" --exclude /usr/local

record() { # NAME CODE OPTION...
    manifest=$out/$1.json code=$2
    shift 2
    unshare --uts sh -ec 'hostname login1; cd /; exec "$@"' sh env -i PATH=/usr/bin:/bin LANG=C.UTF-8 \
        "$build/dlcache" record -o "$manifest" --include /usr "$@" -- /usr/bin/python3 -c "$code"
    # Which files those were is of no interest to anybody.
    sed -i '/^   "\/usr\/lib\/python3\/dist-packages\/.*\.pth",$/d' "$manifest"
}

record python 'import json, ssl' "$@"
record scipy-pandas 'import scipy.stats, pandas' "$@"
