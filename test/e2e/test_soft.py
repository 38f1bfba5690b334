"""A node that cannot hold the stage: it stops the others, or with --soft its programs start natively."""
import os
import re

from harness import DLCACHE, MPIEXEC
from staging import StageCase

# Each rank is a node: its own tmpfs on the place, of its own size; then its programs.
NODE = r"""
size=$1 sick=$2 prepare=$3; shift 3
mkdir -p "$PLACE"
RANK=${PMI_RANK:-$OMPI_COMM_WORLD_RANK}
[ "$RANK" = 1 ] && mount -t tmpfs -o "$sick" node1 "$PLACE" || mount -t tmpfs -o "$size" node "$PLACE"
[ "$RANK" = 1 ] && eval "$prepare"
"$DLCACHE" stage --dir "$PLACE" "$@" >"$OUT.$RANK"; status=$?
D=$(cat "$OUT.0"); [ "$D" ] || D=none
wait
echo "rank $RANK status $status" $("$D/run" sh -c 'cat "$FILE"; grep -c libdlcache.so /proc/self/maps' 2>/dev/null) \
    in $(ls -A "$PLACE"/dlcache-*/ 2>/dev/null | tr '\n' ' ')
"""


class Soft(StageCase):
    def nodes(self, manifest, path, sick, *args, prepare="true", status=0):
        env = dict(os.environ, PLACE=self.place, OUT=self.path("out"), FILE=path, DLCACHE=DLCACHE)
        result = self.run_command([MPIEXEC, "-n", "3", "unshare", "-m", "sh", "-c", NODE, "sh", "size=200m", sick,
                                   prepare, *args, manifest], env=env, status=status)
        lines = sorted(line for line in result.stdout.splitlines() if line.startswith("rank"))
        return lines, result.stderr

    def app(self, megabytes=3):
        path = self.file("f", "the data\n")
        return self.manifest([self.sparse("big", megabytes), path]), path

    def test_one_node_without_room_stops_all(self):
        manifest, path = self.app()
        lines, said = self.nodes(manifest, path, "size=1m")
        self.assertEqual(lines, ["rank %d status 1 in" % r for r in range(3)])
        self.assertRegex(said, r"^dlcache: stage: \S+ has room for 1\.0 MB, and the stage takes \d+\.\d MB \(on \S+\)\n$")

    def test_softly_only_that_one_goes_natively(self):
        manifest, path = self.app()
        lines, said = self.nodes(manifest, path, "size=1m", "--soft")
        name = r"[0-9a-f]{16}"
        for rank, mapped in ((0, "[1-9]"), (1, "0"), (2, "[1-9]")):
            self.assertRegex(lines[rank], r"^rank %d status 0 the data %s in %s$" % (rank, mapped, name))
        self.assertRegex(said, r"(?m)^dlcache: warning: \S+: \S+ has room for 1\.0 MB, .* MB; programs start natively there$")
        self.assertRegex(said, r"(?m)^dlcache: staged 2 files, 3\.1 MB, \d+ names on 3 nodes in [0-9.]+ s; on 1 of them "
                               r"programs start natively$")

    # There is less room from the moment on when the contents are on their way. (In one shell, until it is so.)
    SHRINKS = "(until set -- $PLACE/dlcache-*/.*/root/var; [ -d \"$1\" ]; do :; done; " \
              "mount -o remount,size=100m node1 $PLACE) &"

    def test_full_half_way(self):
        manifest, path = self.app(150)
        lines, said = self.nodes(manifest, path, "size=170m", prepare=self.SHRINKS)
        self.assertEqual(lines, ["rank %d status 1 in" % r for r in range(3)])
        self.assertRegex(said, r"^dlcache: stage: \S+: No space left on device \(on \S+\)\n$")

    def test_full_half_way_softly(self):
        manifest, path = self.app(150)
        lines, said = self.nodes(manifest, path, "size=170m", "--soft", prepare=self.SHRINKS)
        for rank, mapped in ((0, "[1-9]"), (1, "0"), (2, "[1-9]")):
            self.assertRegex(lines[rank], r"^rank %d status 0 the data %s in [0-9a-f]{16}$" % (rank, mapped))
        self.assertIn("No space left on device; programs start natively there", said)

    def test_what_cannot_be_read_stops_all_the_same(self):
        lines, said = self.nodes("/nowhere/m.json", "/etc/hostname", "size=100m", "--soft")
        self.assertEqual([re.sub(r"status [12]", "status x", l) for l in lines], ["rank %d status x in" % r for r in range(3)])
        self.assertIn("/nowhere/m.json", said)

    def test_an_image_that_is_damaged_stops_all_the_same(self):
        manifest, path = self.app(10)
        image = self.path("image")
        self.dlcache("pack", "-o", image, manifest)
        with open(image, "r+b") as f:
            f.seek(os.path.getsize(image) // 2)
            f.write(b"?")
        lines, said = self.nodes(image, path, "size=100m", "--soft")
        self.assertEqual(lines, ["rank %d status 1 in" % r for r in range(3)])
        self.assertRegex(said, r"^dlcache: stage: %s: it is damaged: the contents are not what their digests say "
                               r"\(on \S+\)\n$" % image)

    def test_the_next_staging_mends_it(self):
        manifest, path = self.app()
        script = """mount -t tmpfs -o size=1m none "$1"; D=$("$0" stage --soft --dir "$1" "$2")
            "$D/run" grep -c libdlcache.so /proc/self/maps || :
            mount -o remount,size=100m "$1"; E=$("$0" stage --dir "$1" "$2"); [ "$D" = "$E" ]
            "$E/run" grep -c libdlcache.so /proc/self/maps; "$0" unstage "$D"; ls -A "$1" """
        result = self.in_private(script, self.place, manifest)
        lines = result.stdout.split()
        self.assertEqual(lines[0], "0")
        self.assertGreater(int(lines[1]), 0)
        self.assertEqual(len(lines), 2, lines)
