# A million random calls, natively and served, as root and as somebody else; other seeds than those of `make check`.
set -eu
BUILD=$(cd "$1" && pwd)
export BUILD
export DIFFER_CALLS="${DIFFER_CALLS:-1000000}" DIFFER_SEED="${DIFFER_SEED:-100000}"
cd test/e2e
/usr/bin/python3 -B harness.py test_differ
