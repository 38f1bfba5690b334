# The command under valgrind: no error, nothing leaked.
set -eu
lib=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
make --no-print-directory SAN= BUILD="$1/plain" all >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=$(cd "$1/plain" && pwd)
# check STATUS COMMAND...
check() {
    expect=$1
    shift
    valgrind -q --leak-check=full --errors-for-leak-kinds=definite,possible --error-exitcode=99 "$@" >"$work/out" 2>&1 ||
        [ $? -eq "$expect" ] || { cat "$work/out"; echo "FAILED: $*"; exit 1; }
}
cd "$work"
check 0 "$build/dlcache" record -o a.json --include "$lib" -- /usr/bin/python3 -c 'import json'
check 0 "$build/dlcache" record -o b.json --include "$lib" -- /usr/bin/python3 -c 'import ast'
check 0 "$build/dlcache" show a.json
check 0 "$build/dlcache" show --json a.json
check 0 "$build/dlcache" report a.json
check 0 "$build/dlcache" merge -o m.json a.json b.json
check 0 "$build/dlcache" verify --digest a.json
check 0 "$build/dlcache" diff --new m.json a.json
check 1 "$build/dlcache" diff a.json b.json
check 1 "$build/dlcache" diff --json a.json b.json
mkdir notes
DLCACHE_RECORD=notes LD_PRELOAD="$build/libdlcache.so" LD_AUDIT="$build/libdlcache-audit.so" /usr/bin/python3 -c 'import json'
check 0 "$build/dlcache" collect -v notes -o c.json --include "$lib"
head -c 3000 a.json >cut.json
check 2 "$build/dlcache" show cut.json
tar -cf a.tar a.json b.json
check 0 "$build/dlcache" pack --bundle a.tar --at /nowhere/dlcache -o a.image
head -c 2000 a.tar >cut.tar
check 2 "$build/dlcache" pack --bundle cut.tar --at /nowhere/dlcache -o a.image
check 1 "$build/dlcache" unstage /dev/shm/dlcache-0/none
check 2 "$build/dlcache" nonsense
