#!/bin/sh
# Staging what is large: files of more than 2 GiB, 200,000 files, in manifests (by one rank, and on two nodes, which are
# ranks with a tmpfs of their own), images and archives (by two ranks of which one lays down). Says how long it took and
# the largest memory of each rank. The last line is "N passed, N failed".
# usage: stage.sh BUILD      as root; needs 8 GB of memory, and 4 GB in /var/tmp
set -eu
build=$(cd "$1" && pwd)
python=/usr/bin/python3
scratch=$(mktemp -d /var/tmp/dlcache-long.XXXXXX)
place=$(mktemp -d /dev/shm/dlcache-long.XXXXXX)
clean() {
    chmod -R u+rwx "$place" 2>/dev/null || :
    rm -rf "$scratch" "$place"
}
trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
passed=0 failed=0

# Runs a command; prints its output; says on standard error what it took.
cat >"$scratch/took.py" <<'END'
import os, resource, sys, time
start = time.monotonic()
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
status = os.waitpid(pid, 0)[1]
sys.stderr.write("rank %s: %.1f s, %d MB\n" % (os.environ.get("PMI_RANK", 0), time.monotonic() - start,
                 resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
sys.exit(os.waitstatus_to_exitcode(status))
END

# The names, sizes and contents below a directory; of large files what is not zero.
cat >"$scratch/look.py" <<'END'
import hashlib, os, sys
total, count, digest = 0, 0, hashlib.sha256()
for where, dirs, files in os.walk(sys.argv[1]):
    dirs.sort()
    for name in sorted(files):
        with open(os.path.join(where, name), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            spots = range(0, size, 1 << 20) if size < 1 << 30 else (0, 1 << 31, size - (1 << 20))
            for at in spots:
                f.seek(at)
                digest.update(b"%d" % at + f.read(1 << 20))
        digest.update(os.path.relpath(f.name, sys.argv[1]).encode() + b"%d" % size)
        total += size
        count += 1
print(count, total, digest.hexdigest())
END

judge() { # what, expected, seen
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        echo "FAILED: $1: $3, not $2"
        failed=$((failed + 1))
    fi
}

check() { # what, ranks, tree, expected, arguments of stage…
    what=$1 ranks=$2 tree=$3 expected=$4 seen=
    shift 4
    echo "$what"
    D=$(mpiexec.mpich -n "$ranks" $python "$scratch/took.py" "$build/dlcache" stage --dir "$place" "$@") &&
        seen=$("$D/run" $python "$scratch/look.py" "$tree") || :
    judge "$what" "$expected" "$seen"
    chmod -R u+w "$place"/* && rm -rf "$place"/*
}

check_two_nodes() { # what, tree, expected, manifest
    echo "$1"
    # shellcheck disable=SC2016
    seen=$(mpiexec.mpich -n 2 unshare -m sh -ec 'mount -t tmpfs none "$1"
        D=$("$2" "$3/took.py" "$4" stage --dir "$1" "$5")
        D=$(ls -d "$1"/dlcache-*/*)
        "$D/run" "$2" "$3/look.py" "$6"' sh "$place" $python "$scratch" "$build/dlcache" "$4" "$2") || :
    judge "$1" "$3
$3" "$seen"
}

every_way() { # what, tree, expected
    "$build/dlcache" record -o "$scratch/m.json" --include "$2" -- $python "$scratch/look.py" "$2" >"$scratch/looked"
    check "$1, by one rank" 1 "$2" "$3" "$scratch/m.json"
    check_two_nodes "$1, on two nodes" "$2" "$3" "$scratch/m.json"
    echo "packing: $1"
    $python "$scratch/took.py" "$build/dlcache" pack -o "$scratch/image" --tree "$2"
    check "$1, an image" 2 "$2" "$3" "$scratch/image"
    rm "$scratch/image"
    tar -C "$2" -cSf "$scratch/tar" .
    mv "$2" "$2.away"
    check "$1, an archive" 2 "$2" "$3" --bundle "$scratch/tar" --at "$2"
    rm -r "$scratch/tar" "$2.away"
}

large=$scratch/large
mkdir "$large"
$python - "$large" <<'END'
import os, sys
with open(sys.argv[1] + "/first", "wb") as f: f.write(b"first")
with open(sys.argv[1] + "/sparse", "wb") as f:
    f.write(b"begins")
    f.seek(2**31 - 3); f.write(b"around 2 GiB")
    f.seek(2**31 + 2**28); f.write(b"the end")
for i in range(10): open(sys.argv[1] + "/empty%d" % i, "wb").close()
with open(sys.argv[1] + "/last", "wb") as f: f.write(b"last")
END
every_way "a file of more than 2 GiB" "$large" "$($python "$scratch/look.py" "$large")"

many=$scratch/many
mkdir "$many"
$python - "$many" <<'END'
import os, sys
for d in range(1000):
    os.mkdir(sys.argv[1] + "/%d" % d)
    for i in range(200):
        with open(sys.argv[1] + "/%d/%d" % (d, i), "wb") as f: f.write(b"%d of %d\n" % (i, d) if i else b"")
END
every_way "200,000 files" "$many" "$($python "$scratch/look.py" "$many")"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
