#!/bin/sh
# What takes long: test/long/*.sh in their order. A step passes when it ends with 0; the last line is the count.
set -u
build=$1
export BUILD="$build"
passed=0 failed=0

for long in test/long/*.sh; do
    echo "== $(basename "$long" .sh)"
    if sh "$long" "$build"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $long"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
