# With Open MPI instead of MPICH: it builds, stages with any number of ranks and nodes, fails on all of them alike, and
# starts itself by the options of its own mpiexec.
set -eu
make=${MAKE:-make}
build=$1/openmpi
mkdir -p "$build"
build=$(cd "$build" && pwd)
# These tests are root's, and have more ranks than there are cores.
cat >"$build/mpiexec" <<'END'
#!/bin/sh
exec mpiexec.openmpi --allow-run-as-root --oversubscribe "$@"
END
chmod +x "$build/mpiexec"
export BUILD="$build" MPICC=mpicc.openmpi MPIEXEC="$build/mpiexec"
$make --no-print-directory SAN= BUILD="$BUILD" MPICC="$MPICC" MPIEXEC="$MPIEXEC" all check-progs
readelf -d "$build/dlcache-mpi.so" | grep -q 'libmpi\.so'

scratch=$(mktemp -d)
trap 'status=$?; [ $status = 0 ] || cat "$scratch/said" "$scratch/out" 2>/dev/null || :; rm -rf "$scratch"; exit $status' EXIT
lib=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
echo localhost >"$scratch/hosts"
"$build/dlcache" record -o "$scratch/m.json" --include "$lib" -- /usr/bin/python3 -c 'import json' 2>/dev/null
D=$("$build/dlcache" stage -v --hosts "$scratch/hosts" --dir "$scratch" "$scratch/m.json" 2>"$scratch/said")
grep -qF "$MPIEXEC --hostfile $scratch/hosts -n 1 --map-by ppr:1:node $build/dlcache-stage" "$scratch/said"
[ "$(env -u PYTHONDONTWRITEBYTECODE "$D/run" /usr/bin/python3 -c 'import json; print(json.__file__)')" = "$lib/json/__init__.py" ]
"$build/dlcache" unstage "$D"

# Open MPI 4 has no sessions, and with it there is no one step: said once, and the program runs.
[ ! -e "$build/libdlcache-onestep.so" ]
mpiexec.mpich -n 2 env LD_PRELOAD="$build/libdlcache.so" DLCACHE_MANIFEST="$scratch/m.json" \
    /usr/bin/python3 -c 'import os; os.write(1, b"runs\n")' >"$scratch/out" 2>"$scratch/said"
[ "$(grep -c runs "$scratch/out")" = 2 ]
[ "$(grep -c 'there is no libdlcache-onestep.so beside libdlcache.so: it is built where MPI has sessions' "$scratch/said")" = 1 ]

cd test/e2e
/usr/bin/python3 -B harness.py test_stage.Ranks test_soft >"$scratch/tests" || { cat "$scratch/tests"; exit 1; }
