# An installation works from where it is, and uninstall leaves nothing behind.
set -eu
lib=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
root=$(mktemp -d)
trap 'chmod -R u+rwx "$root"; rm -rf "$root"' EXIT
make --no-print-directory SAN= BUILD="$1/plain" all >/dev/null
make --no-print-directory SAN= BUILD="$1/plain" PREFIX=/opt/dlcache DESTDIR="$root" install >/dev/null
bin=$root/opt/dlcache/bin
PATH=$bin:$PATH
unset PYTHONDONTWRITEBYTECODE || :
[ "$(command -v dlcache)" = "$bin/dlcache" ]
dlcache --version | grep -q '^dlcache [0-9]'
dlcache record -o "$root/m.json" --include "$lib" -- /usr/bin/python3 -c 'import json'
mkdir "$root/place"
D=$(dlcache stage --dir "$root/place" "$root/m.json")
[ "$("$D/run" /usr/bin/python3 -c 'import json; print(json.__file__)')" = "$lib/json/__init__.py" ]
dlcache show "$root/m.json" | grep -q 'python3'
dlcache unstage "$D"
D=$(mpiexec.mpich -n 2 dlcache stage --dir "$root/place" "$root/m.json") # MPI is found, too
dlcache unstage "$D"
if [ -e "$root/opt/dlcache/lib/dlcache/libdlcache-onestep.so" ]; then # it finds the launcher that it lays down
    mpiexec.mpich -n 2 env LD_PRELOAD="$root/opt/dlcache/lib/dlcache/libdlcache.so" DLCACHE_MANIFEST="$root/m.json" \
        DLCACHE_DIR="$root/place" /usr/bin/python3 -c 'import os; assert os.access(os.environ["DLCACHE_STAGE"] + "/run", os.X_OK)'
fi
[ -s "$root/opt/dlcache/share/man/man1/dlcache.1" ]
make --no-print-directory SAN= BUILD="$1/plain" PREFIX=/opt/dlcache DESTDIR="$root" uninstall >/dev/null
left=$(find "$root/opt" -type f)
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
