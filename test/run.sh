#!/bin/sh
# All tests of one build; the last line is the sum of their counts.
set -u
build=$1
export BUILD="$build"
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# A suite is a command whose last line is "N passed, N failed"; one that does not come so far has failed.
suite() {
    echo "== $1"
    shift
    "$@" >"$log" 2>&1
    status=$?
    cat "$log"
    counts=$(tail -n 1 "$log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p')
    if [ -z "$counts" ]; then
        failed=$((failed + 1))
    else
        passed=$((passed + ${counts% *}))
        failed=$((failed + ${counts#* }))
        [ "$status" -eq 0 ] || [ "${counts#* }" -ne 0 ] || failed=$((failed + 1))
    fi
}

# A step passes when it ends with 0.
step() {
    echo "== $1"
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $*"; fi
}

step "build" ${MAKE:-make} --no-print-directory all check-progs "$build/check-units"
suite "units" "$build/check-units"
suite "end to end" /usr/bin/python3 -B test/e2e/harness.py
for extra in test/steps/*.sh; do
    [ -e "$extra" ] && step "$(basename "$extra" .sh)" sh "$extra" "$build"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
