"""Names with anything in them, all the way: record, manifest, show, diff, merge, pack, stage, and a served program."""
import json
import os

from harness import PYTHON, Case

NAMES = [b"new\nline", b"\"quotes'", b"back\\slash", b"tab\t", b"\xff\xfe", b"\\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"-", b" ",
         b"$(date)", b"%s", b"x" * 255, b"]}", b"\x1b[31m", b"\x7f", b"\xe2\x80\xa8"]
LOOK = """\
import os, sys
top = os.fsencode(sys.argv[1])
for name in sorted(os.listdir(top)):
    path = top + b"/" + name
    with open(path + b"/" + name, "rb") as f:
        print(name, os.stat(path).st_ino, f.read(), os.readlink(path + b"/l"), os.listdir(path))
    print(os.path.exists(path + b"/no"), os.path.exists(top + b"/no" + name[:200]))
"""


class Hostile(Case):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        top = os.fsencode(self.tree)
        for name in NAMES:
            os.makedirs(top + b"/" + name)
            with open(top + b"/" + name + b"/" + name, "wb") as f:
                f.write(name)
            os.symlink(name, top + b"/" + name + b"/l")
        self.m = self.path("m.json")
        self.command = [PYTHON, "-c", LOOK, self.tree]
        self.native = self.run_command(self.command).stdout
        out = self.dlcache("record", "-o", self.m, "--include", self.tree, "--", *self.command)
        self.assertEqual(out.stdout, self.native)

    def assert_served(self, d):
        result, lines = self.strace([d + "/run", *self.command])
        self.assertEqual(result.stdout, self.native)
        # The tree is the last argument of the command itself.
        self.assertEqual(self.touching([line for line in lines if not line.startswith("execve(")], self.tree), [])

    def test_from_a_manifest(self):
        d = self.stage(self.m)
        self.assert_served(d)
        self.dlcache("unstage", d)

    def test_from_an_image_of_a_merged_manifest(self):
        again, merged, image = self.path("again.json"), self.path("merged.json"), self.path("app.image")
        self.dlcache("record", "-o", again, "--include", self.tree, "--", *self.command)
        self.dlcache("diff", self.m, again)
        self.dlcache("merge", "-o", merged, self.m, again)
        with open(merged, encoding="utf-8") as f:
            self.assertEqual({e["pilots"] for e in json.load(f)["entries"]}, {2})
        self.dlcache("verify", "--digest", merged)
        self.dlcache("pack", "-o", image, merged)
        d = self.stage(image)
        self.assert_served(d)
        self.dlcache("unstage", d)

    def test_what_is_shown(self):
        """Nothing reaches the terminal that would do something to it, or begin a line of its own."""
        for args in ("show", "--all", self.m), ("verify", "--all", self.m):
            out = self.dlcache(*args).stdout
            self.assertNotRegex(out, r"[\x00-\x09\x0b-\x1f\x7f]")
            self.assertFalse([line for line in out.split("\n") if line.startswith("line")])
        removed = os.fsencode(self.tree) + b"/new\nline/new\nline"
        os.remove(removed)
        self.assertIn("new\\x0aline/new\\x0aline", self.dlcache("verify", self.m, status=1).stdout)
        told = json.loads(self.dlcache("verify", "--json", self.m, status=1).stdout)
        self.assertIn(os.fsdecode(removed), [e.get("path") for e in told["entries"]])
