#!/bin/sh
# make demo: a pilot of `import scipy.stats, pandas`, a stage over MPI, four attached ranks, and one small table. Every
# figure in it is measured here and now: calls are counted by strace.
set -eu
build=${BUILD:-build}
python=/usr/bin/python3
ranks=4
program='import scipy.stats, pandas'
dlcache=$(cd "$build" && pwd)/dlcache
mpiexec=${MPIEXEC:-mpiexec.mpich}
work=$(mktemp -d "${TMPDIR:-/tmp}/dlcache-demo.XXXXXX")
stage=
finish() {
    [ -z "$stage" ] || "$dlcache" unstage "$stage" || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP
unset PYTHONDONTWRITEBYTECODE PYTHONPATH LD_PRELOAD LD_AUDIT DLCACHE_STAGE DLCACHE_RECORD DLCACHE_DISABLE || :

say() { printf '\n\033[1m%s\033[0m\n' "$*" | { [ -t 1 ] && cat || sed 's/\x1b\[[0-9]*m//g'; }; }
seconds() { date +%s.%N; }

say "1. The pilot: dlcache record --include /usr -o app.json -- python3 -c '$program'"
"$dlcache" record --include /usr -o "$work/app.json" -- "$python" -c "$program"

say "2. The stage: mpiexec -n $ranks dlcache stage app.json"
before=$(seconds)
stage=$("$mpiexec" -n $ranks "$dlcache" stage "$work/app.json")
after=$(seconds)
echo "$stage"

say "3. $ranks ranks, natively and attached (mpiexec -n $ranks D/run python3 ...)"
cat >"$work/rank.sh" <<'RANK'
work=$1 kind=$2; shift 2
exec strace -f -y -qq -e signal=none -e trace=%file,getdents64 -s 4096 -o "$work/$kind.$PMI_RANK" "$@"
RANK
"$mpiexec" -n $ranks sh "$work/rank.sh" "$work" native "$python" -c "$program"
"$mpiexec" -n $ranks sh "$work/rank.sh" "$work" served "$stage/run" "$python" -c "$program"

# Calls that name a path where the software is, and lists of directories there; of all ranks.
count() { cat "$work/$1".* | sed 's/ = [^=]*$//' | grep -cE "\"($2)[/\"]|getdents64\([0-9]*<($2)[/>]" || :; }
calls() { count "$1" '/usr|/lib|/lib64'; }
software() { count "$1" '/usr/lib/python3[.0-9]*|/usr/share/zoneinfo'; }

cat >"$work/clock.py" <<'CLOCK'
import subprocess, sys, time
def once(command):
    t = time.perf_counter(); subprocess.run(command, check=True); return time.perf_counter() - t
native, served = sys.argv[2:], [sys.argv[1], *sys.argv[2:]]
pairs = [(once(native), once(served)) for _ in range(6)][1:]
print(*("%.2f" % sorted(column)[len(pairs) // 2] for column in zip(*pairs)))
CLOCK
times=$("$python" "$work/clock.py" "$stage/run" "$python" -c "$program")
files=$(find "$stage/root" -type f | wc -l)
bytes=$(find "$stage/root" -type f -printf '%s\n' | awk '{n += $1} END {printf "%.1f MB", n / 1e6}')

say "The same program, $ranks ranks"
awk -v n="$(calls native)" -v s="$(calls served)" -v pn="$(software native)" -v ps="$(software served)" \
    -v ranks=$ranks -v times="$times" -v files="$files" -v bytes="$bytes" -v took="$(echo "$before $after" |
        awk '{printf "%.2f s", $2 - $1}')" 'BEGIN {
    split(times, t, " ")
    row = "%-58s %10s %10s\n"
    printf row, "", "without", "dlcache"
    printf row, "file-system calls on the original files, per rank", int(n / ranks + 0.5), int(s / ranks + 0.5)
    printf row, "  of these in Python'\''s directories and the time zones", int(pn / ranks + 0.5), int(ps / ranks + 0.5)
    printf row, "import time, one process, page cache warm (median of 5)", t[1] " s", t[2] " s"
    printf row, "files staged", "", files
    printf row, "bytes staged", "", bytes
    printf row, "time to stage (mpiexec included)", "", took
}'
