#!/bin/sh
# CPython's own regression tests, natively and served from a stage that holds the whole standard library, frozen: the
# table of passed, failed and skipped tests is the same, test by test. The last line is "N passed, N failed".
# usage: cpython.sh BUILD [MODULE...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
build=$(cd "${1:-$top/build}" && pwd)
[ $# -eq 0 ] || shift
modules="test_os test_posix test_posixpath test_genericpath test_pathlib test_glob test_shutil test_tempfile \
test_import test_importlib test_pkgutil test_runpy test_zipimport test_py_compile test_compileall test_fileio \
test_io test_file test_mmap test_stat test_subprocess test_threading test_multiprocessing_fork \
test_multiprocessing_spawn test_signal test_venv test_ctypes"
[ $# -eq 0 ] || modules=$*
limit=900 # seconds a module

"$top/test/packages.sh" long
python=/usr/bin/python3
lib=$($python -c 'import os; print(os.path.dirname(os.__file__))')

for name in $(env | sed -n 's/^\(PYTHON[A-Z]*\|DLCACHE_[A-Z]*\|LD_[A-Z]*\|PMI[A-Z_]*\|VIRTUAL_ENV\)=.*/\1/p'); do
    unset "$name"
done
# Where others can search, as test_subprocess's child of another user must.
scratch=$(mktemp -d /tmp/dlcache-long.XXXXXX)
chmod 755 "$scratch"
place=$(mktemp -d /dev/shm/dlcache-long.XXXXXX)
children=
end_children() {
    for child in $children; do kill -s KILL -- "-$child" 2>/dev/null || :; done
    children=
}
clean() {
    end_children
    chmod -R u+rwx "$scratch" "$place" 2>/dev/null || :
    rm -rf "$scratch" "$place"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# start SIDE MODULE [LAUNCHER]: in a scratch directory and a session of its own.
start() {
    work=$scratch/$1/work
    mkdir -p "$work"
    chmod 1777 "$work"
    rm -f "$scratch/$1/$2.xml"
    setsid env TMPDIR="$work" sh -c 'cd "$TMPDIR" && exec "$@"' sh \
        timeout --kill-after=10 "$limit" ${3:+"$3"} $python -m test -v --junit-xml "$scratch/$1/$2.xml" "$2" \
        >"$scratch/$1/$2.log" 2>&1 </dev/null &
    children="$children $!"
}

# Both sides at the same moment: what is expected of the machine is the same.
both() {
    for module in "$@"; do
        start native "$module"
        start served "$module" "$D/run"
        for child in $children; do wait "$child" || :; done
        end_children
        rm -rf "$scratch/native/work" "$scratch/served/work"
    done
}

# Every file is opened once, and every directory listed.
walk='import os, sys
for where, _, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(where, name)
        if os.path.isfile(path):
            open(path, "rb").close()'
"$build/dlcache" record -o "$scratch/m.json" --include "$lib" -- $python -S -B -c "$walk" "$lib"
D=$(${MPIEXEC:-mpiexec.mpich} -n 1 "$build/dlcache" stage --dir "$place" "$scratch/m.json")
strace -f -qq -e trace=%file -o "$scratch/calls" "$D/run" $python -c 'import json, test.support'
! grep -F "\"$lib/" "$scratch/calls" || { echo "the standard library is not served"; exit 1; }

# shellcheck disable=SC2086
both $modules
# What depends on time gets a second chance, on both sides.
# shellcheck disable=SC2086
again=$($python "$here/compare_tests.py" "$scratch/native" "$scratch/served" --differing -m $modules)
if [ -n "$again" ]; then
    # shellcheck disable=SC2086
    $python "$here/compare_tests.py" "$scratch/native" "$scratch/served" -m $again || :
    echo "these once more"
    for module in $again; do both "$module"; done
fi
status=0
# shellcheck disable=SC2086
$python "$here/compare_tests.py" "$scratch/native" "$scratch/served" -m $modules || status=$?
if [ "$status" -ne 0 ] && [ -n "${KEEP_LOGS:-}" ]; then
    mkdir -p "$KEEP_LOGS"
    cp -r "$scratch/native" "$scratch/served" "$KEEP_LOGS"
fi
exit "$status"
