# The units, and the command end to end, under the address and the undefined behaviour sanitizers.
set -eu
san=$1/sanitized
make --no-print-directory SAN=address,undefined BUILD="$san" all check-progs "$san/check-units"
"$san/check-units" | tail -n 1
cd test/e2e
BUILD=$(cd "../../$san" 2>/dev/null && pwd || echo "$san")
export BUILD
said=$(mktemp)
trap 'rm -f "$said"' EXIT
/usr/bin/python3 -B harness.py test_workflow.Trouble test_workflow.BadManifests >"$said" 2>&1 || { cat "$said"; exit 1; }
tail -n 1 "$said"
