#!/bin/sh
# The units and the tests of the shim on an older and a newer C library and Python, built there: Debian 11 (glibc
# 2.31, Python 3.9) and Debian 13 (glibc 2.41, Python 3.13). The last line is "N passed, N failed".
# usage: glibc.sh BUILD [RELEASE...]     as root; BUILD is not used: each release builds its own
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- bullseye trixie
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
tests="test_calls test_rules test_workflow test_fallback test_search test_restart test_surface test_next test_exec
test_threads test_mounts test_hostile test_handover test_loader test_loader_view test_loader_seen test_loader_recorded
test_loader_everything test_loader_bound test_differ test_record test_record_misses test_record_ranks
test_record_trouble test_replay test_stats test_pack test_keep test_doctor test_start"

"$top/test/packages.sh" long
[ "$(id -u)" -eq 0 ] || { echo "dlcache: chroot and debootstrap need root" >&2; exit 1; }

scratch=$(mktemp -d /var/tmp/dlcache-glibc.XXXXXX)
child=
# The mounts lie in a name space that ends with its processes, and those end with the first of them.
clean() {
    [ -z "$child" ] || { kill -KILL "$child" 2>/dev/null && wait "$child" 2>/dev/null; } || :
    rm -rf --one-file-system "$scratch"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What runs inside: packages, the build (without slowfs, which wants a newer libfuse), the units, the tests; each count
# on a line of its own.
cat >"$scratch/inside.sh" <<'EOF'
set -eu
export HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
cd /dlcache
echo "127.0.0.1 localhost $(uname -n)" >>/etc/hosts # MPICH looks the machine's name up
apt-get update -qq
test/packages.sh
apt-get install -y -qq --no-install-recommends gdb g++ valgrind python3-mpi4py openmpi-bin procps zlib1g-dev \
    libjemalloc2 libtcmalloc-minimal4 e2fsprogs >/dev/null
ldd --version | sed -n 1p
python3 --version
make -j2 --no-print-directory BUILD=/build all $(for p in test/progs/*.c; do basename "$p" .c; done | sed s,^,/build/progs/,)
make --no-print-directory BUILD=/build check-units
cd test/e2e
BUILD=/build python3 -B harness.py "$@"
EOF

# in_root ROOT COMMAND...: in a chroot with /proc, /sys, /dev and /dev/shm, in mount and process name spaces of its
# own. Its root is a mount, as a machine's is.
in_root() {
    root=$1
    shift
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child --propagation private sh -c '
        root=$1; shift
        mount --bind "$root" "$root" && mount --rbind /dev "$root/dev" &&
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" &&
        mount -t proc proc "$root/proc" && mount --rbind /sys "$root/sys" &&
        exec chroot "$root" "$@"' sh "$root" "$@" </dev/null &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    return "$status"
}

one() {
    root=$scratch/$1
    # It mounts as well.
    unshare --mount --propagation private \
        debootstrap --variant=minbase "$1" "$root" "$mirror" >"$scratch/$1.log" 2>&1 || {
        tail -n 20 "$scratch/$1.log"
        return 1
    }
    mkdir "$root/dlcache"
    tar -C "$top" --exclude='./build*' --exclude=./.git -cf - . | tar -C "$root/dlcache" -xf -
    cp "$scratch/inside.sh" "$root/inside.sh"
    # shellcheck disable=SC2086
    in_root "$root" sh /inside.sh $tests
}

passed=0 failed=0
for release; do
    echo "== $release"
    status=0
    one "$release" >"$scratch/output" 2>&1 || status=$?
    cat "$scratch/output"
    sums=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$scratch/output" |
        awk '{ p += $1; f += $2; n++ } END { print p + 0, f + 0, n + 0 }')
    counts=${sums% *}
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    # Units and tests both came to their count, or something is wrong that they could not tell.
    [ "${sums##* }" -eq 2 ] && { [ "$status" -eq 0 ] || [ "${counts#* }" -ne 0 ]; } || failed=$((failed + 1))
    rm -rf --one-file-system "$scratch/${release:?}"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
