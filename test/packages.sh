#!/bin/sh
# Installs the packages that building, testing and the demonstration need, on Debian and Ubuntu. As another user than
# root it only says which are missing, and the command that installs them.
set -eu
wanted="gcc libc6-dev make pkg-config mpich libmpich-dev uthash-dev libjansson-dev libxxhash-dev libarchive-dev check \
strace python3 python3-scipy python3-pandas"
case "${1:-}" in
test | long)
    wanted="$wanted clang valgrind python3-jsonschema python3-mpi4py openmpi-bin libopenmpi-dev binutils util-linux \
procps gdb nodejs git perl tar findutils coreutils e2fsprogs slurm-wlm munge chromium tidy g++ r-base-core \
libjemalloc2 libtcmalloc-minimal4 libpython3-dev python3-h5py libfuse3-dev fuse3 \
squashfs-tools squashfuse"
    ;;
bench)
    wanted="$wanted libpython3-dev libfuse3-dev fuse3 squashfs-tools squashfuse slurm-wlm munge util-linux binutils tar"
    ;;
esac
if [ "${1:-}" = long ]; then # the test suite of the python3 that this release has
    python=$(apt-cache show --no-all-versions python3-minimal 2>/dev/null |
        sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
    wanted="$wanted libpython${python:-3.11}-testsuite python3-venv debootstrap"
fi

missing=
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "dlcache: this is not Debian or Ubuntu; please install what corresponds to:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "dlcache: packages are missing:$missing" >&2
    echo "dlcache: install them with: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends $missing >&2
