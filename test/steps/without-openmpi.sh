# The packages of the tests include Debian's mpi4py, and with it Open MPI. Here they are hidden: nothing may depend on
# them. In a mount name space of its own, which goes with this process.
set -eu
[ "${DLCACHE_HIDDEN:-}" ] || DLCACHE_HIDDEN=1 exec unshare -m sh "$0" "$1"
empty=$(mktemp -d)
trap 'umount -l "$empty" 2>/dev/null || :; rmdir "$empty"' EXIT
mount -t tmpfs tmpfs "$empty"
for dir in /usr/lib/python3/dist-packages/mpi4py /usr/lib/*-linux-gnu/openmpi; do
    mount --bind "$empty" "$dir"
done
! mpiexec.openmpi --version >/dev/null 2>&1 || { echo "Open MPI is still there"; exit 1; }
cd test/e2e
BUILD=$(cd ../.. && cd "$1" && pwd)
export BUILD
/usr/bin/python3 -B harness.py test_workflow.Workflow.test_the_same_under_mpiexec
