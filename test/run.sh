#!/bin/sh
# All tests of one build; the last line is the sum of their counts.
set -u
build=$1
export BUILD="$build"
# Python's switches of the caller are not for the tests: unbuffered, for one, it writes a line's end by itself, and lines of
# two ranks mix.
for name in $(env | sed -n 's/^\(PYTHON[A-Z]*\)=.*/\1/p'); do
    unset "$name"
done
passed=0 failed=0
log=$(mktemp)

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

# Building in other ways takes processors, running programs mostly time: the two go on side by side.
steps() {
    passed=0 failed=0
    for extra in test/steps/*.sh; do
        [ -e "$extra" ] && step "$(basename "$extra" .sh)" sh "$extra" "$build"
    done
    echo "$passed $failed" >"$sums"
}

sums=$(mktemp) beside=$(mktemp) pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -f "$log" "$sums" "$beside"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step "build" ${MAKE:-make} --no-print-directory all check-progs "$build/check-units"
(steps) >"$beside" 2>&1 &
pid=$!
suite "units" "$build/check-units"
suite "end to end" /usr/bin/python3 -B test/e2e/harness.py
wait "$pid"
pid=
cat "$beside"
read -r more_passed more_failed <"$sums" || more_passed=0 more_failed=1
passed=$((passed + more_passed)) failed=$((failed + more_failed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
