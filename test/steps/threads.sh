# The threads of the command and of the stager, under the thread sanitizer; and what several threads of a served program
# write at once.
set -eu
san=$1/threads
make --no-print-directory SAN=thread BUILD="$san" all "$san/check-units"
# UCX, of which Debian's MPICH is made, takes a lock in madvise, which the C library calls when a thread has ended and the
# sanitizer has forgotten it.
export UCX_MEM_EVENTS=n TSAN_OPTIONS="halt_on_error=1 exitcode=66"
"$san/check-units" | tail -n 1
cd test/e2e
BUILD=$(cd "../../$san" 2>/dev/null && pwd || echo "$san")
export BUILD
said=$(mktemp)
trap 'rm -f "$said"' EXIT
# Of test_stage not what counts seconds: signals.
/usr/bin/python3 -B harness.py test_pack test_manifest test_bundle test_stage.Ranks test_stage.Places test_stage.Contents \
    test_stage.Command >"$said" 2>&1 || { cat "$said"; exit 1; }
tail -n 1 "$said"
