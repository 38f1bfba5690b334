"""Manifests side by side, and beside the file system: show's findings, diff's relations, merge, verify."""
import json
import os
import pty
import shutil
import subprocess

import jsonschema

from harness import DLCACHE, PYTHON, Case, environment
from test_manifest import SCHEMA, entry, small

STAT = {"size": 10, "mtime_ns": 1, "mode": 0o100644}


def found(path, kind="module", **more):
    return entry(path, kind, **{**STAT, **more})


class Compare(Case):
    def dump(self, name, manifest):
        jsonschema.Draft202012Validator(SCHEMA).validate(manifest)
        return self.write(name, json.dumps(manifest))

    def read(self, path):
        with open(path, "rb") as f:
            return f.read()

    def parsed(self, path):
        manifest = json.loads(self.read(path))
        jsonschema.Draft202012Validator(SCHEMA).validate(manifest)
        return manifest


class Show(Compare):
    def test_findings(self):
        p, q = "/sw/a/site-packages/", "/sw/b/site-packages/"
        manifest = small(
            entry("/sw/l1/libx.so.1", "absent"), entry("/sw/l2/libx.so.1", "absent"),
            found("/sw/l3/libx.so.1", "shared-object", soname="libx.so.1", order=3),
            entry("/sw/l1/liby.so", "absent"), entry("/sw/l2/liby.so", "absent"), entry("/sw/l3/liby.so", "absent"),
            entry("/sw/l1/once.so", "absent"),
            found(p + "six.py"), found(q + "six.py"), found(p + "np/__init__.py"), found(p + "np/x.py"),
            entry(q + "np", "directory"), found(p + "only/__init__.py"), found(p + "data.pth", "data"),
            found(q + "data.pth", "data"),
            search=[{"name": "LD_LIBRARY_PATH", "value": "/sw/l1:/sw/l2:/sw/l3:/elsewhere"},
                    {"name": "PATH", "value": ""}])
        manifest["entries"].sort(key=lambda e: e["path"].encode())
        told = json.loads(self.dlcache("show", "--json", self.dump("m.json", manifest)).stdout)
        self.assertEqual(told["searches"], [{"name": "liby.so", "tried": 3},
                                            {"name": "libx.so.1", "tried": 2, "found": "/sw/l3/libx.so.1"}])
        self.assertEqual(told["search_paths"], [{"name": "LD_LIBRARY_PATH", "elements": 4, "idle": 2},
                                                {"name": "PATH", "elements": 0, "idle": 0}])
        self.assertEqual(told["twice"], [{"name": "np", "places": [p + "np", q + "np"]},
                                         {"name": "six", "places": [p + "six.py", q + "six.py"]}])
        self.assertEqual(told["uncompiled"], [])  # nothing was opened
        by_name = {d["name"]: d for d in told["directories"]}
        self.assertEqual(by_name[p + "np"], {"name": p + "np", "entries": 2, "files": 2, "bytes": 20, "calls": 0})
        self.assertNotIn("/sw/l1", by_name)
        out = self.dlcache("show", self.path("m.json")).stdout
        self.assertIn("        3  liby.so                   (nowhere)\n"
                      "        2  libx.so.1                 /sw/l3/libx.so.1\n", out)
        self.assertIn("        4      2  LD_LIBRARY_PATH  /sw/l1:/sw/l2:/sw/l3:/elsewhere\n", out)
        self.assertIn("  np\n    %snp\n    %snp\n  six\n" % (p, q), out)

    def test_how_much(self):
        manifest = small(*(found("/sw/d%02d/f" % i, "data", size=100 - i) for i in range(30)))
        path = self.dump("m.json", manifest)
        for args, n in ((["-n", "3"], 3), (["--top=5"], 5), ([], 10), (["--all"], 30), (["-n0"], 0)):
            out = self.dlcache("show", *args, path).stdout
            self.assertEqual(sum(line.endswith("/f") for line in out.split("\n")), n, args)
        for value in ("-1", "x", "", "99999999999"):
            out = self.dlcache("show", "--top=" + value, path, status=2)
            self.assertEqual(out.stderr, "dlcache: show: '%s' is no value of --top (see dlcache show --help)\n" % value)
        out = self.dlcache("show", "-n", status=2)
        self.assertEqual(out.stderr, "dlcache: show: '-n' lacks its value (see dlcache show --help)\n")

    def test_the_command_makes_the_bytecode(self):
        tree = self.path("tree")
        for name in ("site-packages/p k/__init__.py", "site-packages/p k/sub/__init__.py", "site-packages/one.py"):
            self.write("tree/" + name, "x = 1\n")
        script = self.write("tree/main.py", "import sys, importlib; sys.path.insert(0, %r)\n"
                            "for n in ('p k.sub', 'one'): importlib.import_module(n)\n" % (tree + "/site-packages"))
        command = [PYTHON, script]
        env = environment(PYTHONDONTWRITEBYTECODE="1")
        real = os.path.realpath(PYTHON)
        self.record(self.path("m.json"), command, include=[tree], env=env)
        told = json.loads(self.dlcache("show", "--json", self.path("m.json")).stdout)["uncompiled"]
        self.assertEqual([(t["directory"], t["files"], t["command"]) for t in told],
                         [(tree + "/site-packages/p k", 2,
                           "%s -m compileall -q '%s/site-packages/p k'" % (real, tree)),
                          (tree + "/site-packages", 1, "%s -m compileall -q %s/site-packages" % (real, tree))])
        for t in told:
            self.assertIn("%9d  %s\n" % (t["files"], t["command"]),
                          self.dlcache("show", self.path("m.json")).stdout)
            self.run_command(["sh", "-c", t["command"]])
        self.record(self.path("m.json"), command, include=[tree], env=env)
        self.assertEqual(json.loads(self.dlcache("show", "--json", self.path("m.json")).stdout)["uncompiled"], [])


class Diff(Compare):
    def told(self, a, b, status=1):
        a, b = self.dump("a.json", a), self.dump("b.json", b)
        return (self.dlcache("diff", a, b, status=status).stdout,
                json.loads(self.dlcache("diff", "--json", a, b, status=status).stdout))

    def test_a_module_is_found_elsewhere(self):
        p, q = "/sw/site-packages/", "/home/u/site-packages/"
        a = small(entry(q + "np", "absent"), found(p + "np/__init__.py"), found(p + "np/core.py"),
                  found(p + "np/data.txt", "data"), found(p + "same.py"))
        b = small(entry(q + "np", "directory"), found(q + "np/__init__.py"), found(q + "np/core.py"),
                  found(p + "same.py"))
        a["entries"].sort(key=lambda e: e["path"])
        b["entries"].sort(key=lambda e: e["path"])
        text, told = self.told(a, b)
        self.assertEqual(text, "the same name, found elsewhere: 1\n  np (6 entries)\n    A: %snp\n"
                               "    B: %snp (A looked there in vain)\n" % (p, q))
        self.assertEqual(told["shadowed"], [{"name": "np", "a": p + "np", "b": q + "np", "gone": False,
                                             "fresh": True, "entries": 6}])
        self.assertEqual((told["entries"], told["moved"], told["same"]), ([], [], False))

    def test_a_library_is_found_elsewhere(self):
        a = small(found("/sw/a/liba.so.1.0", "shared-object", soname="liba.so.1"), found("/sw/a/keep", "data"))
        b = small(found("/sw/b/liba.so.1", "shared-object", soname="liba.so.1"), found("/sw/a/keep", "data"))
        a["entries"].sort(key=lambda e: e["path"])
        b["entries"].sort(key=lambda e: e["path"])
        self.assertEqual(self.told(a, b)[1]["shadowed"],
                         [{"name": "liba.so.1", "a": "/sw/a/liba.so.1.0", "b": "/sw/b/liba.so.1", "gone": False,
                           "fresh": False, "entries": 2}])

    def test_a_tree_that_moved(self):
        def tree(root, changed):
            digest = "%032x" % changed
            return small(entry(root, "directory"), found(root + "/lib/libz.so", "shared-object"),
                         found(root + "/lib/m1.py"), found(root + "/lib/m2.py", size=changed),
                         entry(root + "/lib/vain", "absent"),
                         entry(root + "/link", "symlink", target=root + "/lib"),
                         found(root + "/x", "data", xxh3_128=digest), found("/sw/same"))
        text, told = self.told(tree("/opt/a", 1), tree("/opt/b", 2))
        self.assertEqual(told["moved"], [{"from": "/opt/a", "to": "/opt/b", "same": 5, "changed": 2}])
        self.assertEqual([(e["cause"], e["path"], e["now"]) for e in told["entries"]],
                         [("content", "/opt/a/lib/m2.py", "/opt/b/lib/m2.py"), ("content", "/opt/a/x", "/opt/b/x")])
        self.assertEqual(text, "moved: 1\n  /opt/a -> /opt/b: 5 the same, 2 changed\ncontents changed: 2\n  /opt/a\n"
                               "    /opt/a/x -> /opt/b/x\n  /opt/a/lib\n"
                               "    /opt/a/lib/m2.py -> /opt/b/lib/m2.py (1, 2 bytes)\n")

    def test_search_paths_element_by_element(self):
        def with_path(value):
            return small(search=[{"name": "PYTHONPATH", "value": value}])
        text, told = self.told(with_path("/a:/b:/c:/d"), with_path("/new:/b:/a:/d:"))
        self.assertEqual(text, "PYTHONPATH\n  - 3 /c\n  + 1 /new\n  ~ 2 /b (was 2)\n  ~ 3 /a (was 1)\n"
                               "  + 5 (empty: the current directory)\n")
        self.assertEqual(told["head"], [{
            "name": "PYTHONPATH", "a": "/a:/b:/c:/d", "b": "/new:/b:/a:/d:",
            "removed": [{"element": "/c", "place": 3}],
            "added": [{"element": "/new", "place": 1}, {"element": "", "place": 5}],
            "moved": [{"element": "/b", "place": 2, "was": 2}, {"element": "/a", "place": 3, "was": 1}]}])
        # An element that stands there again.
        text, told = self.told(with_path("/a:/b"), with_path("/a:/b:/a"))
        self.assertEqual(text, "PYTHONPATH\n  A: /a:/b\n  B: /a:/b:/a\n")
        # Not set at all, and set to nothing.
        text, told = self.told(with_path("/a"), small())
        self.assertEqual(text, "PYTHONPATH\n  A: /a\n  B: (not set)\n")
        self.assertEqual((told["head"][0]["removed"], told["head"][0]["added"]), ([{"element": "/a", "place": 1}], []))

    def test_long_lists_are_cut(self):
        a, b = small(), small(*(found("/sw/f%02d" % i, "data") for i in range(30)))
        a, b = self.dump("a.json", a), self.dump("b.json", b)
        for args, n in (([], 10), (["-n2"], 2), (["--all"], 30)):
            lines = self.dlcache("diff", *args, a, b, status=1).stdout.split("\n")
            self.assertEqual(lines[0], "only in B: 30")
            self.assertEqual(sum(line.startswith("    /sw/f") for line in lines), n)
            self.assertEqual(lines.count("    and %d more (--all)" % (30 - n)), n < 30)

    def test_colours_when_asked(self):
        a, b = self.dump("a.json", small()), self.dump("b.json", small(found("/sw/f")))
        self.assertIn("\033[32m/sw/f\033[0m", self.dlcache("diff", "--color=always", a, b, status=1).stdout)
        for when in ("auto", "never"):
            self.assertNotIn("\033", self.dlcache("diff", "--color=" + when, a, b, status=1).stdout)
        out = self.dlcache("diff", "--color=blue", a, b, status=2)
        self.assertEqual(out.stderr, "dlcache: diff: 'blue' is no value of --color (see dlcache diff --help)\n")


class Merge(Compare):
    def pilots(self):
        counts = {"stat": 2, "open": 1}
        a = small(found("/sw/a.py", counts=counts, processes=2, ranks=2, order=0), entry("/sw/d", "directory", volatile=True),
                  found("/sw/changed", "data", size=1, xxh3_128="0" * 32, order=1),
                  entry("/sw/later", "absent", order=2), recorded="2024-01-01T00:00:00Z", host="login", processes=2, ranks=2, hosts=["n1", "n2"],
                  command=["python", "a.py"], search=[{"name": "PATH", "value": "/a"}])
        b = small(found("/sw/a.py", xxh3_128="1" * 32, counts=counts, processes=1, ranks=1, order=1),
                  entry("/sw/d", "directory"), found("/sw/changed", "data", size=2, order=0),
                  found("/sw/later", "data", order=2), entry("/sw/new", "absent", order=3),
                  {"path_escaped": "/sw/\\xff", "kind": "absent", "order": 4},
                  recorded="2024-01-02T00:00:00Z", host="node", processes=3, ranks=4, hosts=["n0", "n2"], command=["python", "b.py"],
                  search=[{"name": "PATH", "value": "/b"}, {"name": "PYTHONPATH", "value": "/p"}])
        b["policy"]["prefixes"] = ["/opt", "/sw"]
        for m, name in ((a, "a.json"), (b, "b.json")):
            m["entries"].sort(key=lambda e: e.get("path", "/sw/\xff").encode("latin-1"))
            self.dump(name, m)
            self.dlcache("merge", "-o", self.path(name), self.path(name))  # as saving writes it
        return self.path("a.json"), self.path("b.json")

    def test_the_union(self):
        a, b = self.pilots()
        out = self.dlcache("merge", "-o", self.path("m.json"), a, b)
        self.assertEqual((out.stdout, out.stderr),
                         ("", "dlcache: warning: about 2 paths they do not agree: the later manifest is believed "
                              "(--verbose names them)\n"))
        m = self.parsed(self.path("m.json"))
        self.assertEqual((m["recorded"], m["host"], m["command"], m["processes"]),
                         ("2024-01-02T00:00:00Z", "node", ["python", "b.py"], 5))
        self.assertEqual(sorted((p["host"], p["command"][1], p["processes"]) for p in m["pilots"]),
                         [("login", "a.py", 2), ("node", "b.py", 3)])
        self.assertEqual((m["ranks"], m["hosts"], sorted(p["ranks"] for p in m["pilots"])), (6, ["n0", "n1", "n2"], [2, 4]))
        self.assertEqual(m["policy"]["prefixes"], ["/opt", "/sw"])
        self.assertEqual(m["search"], [{"name": "PATH", "value": "/b"}, {"name": "PYTHONPATH", "value": "/p"}])
        by_path = {e.get("path"): e for e in m["entries"]}
        self.assertEqual(len(by_path), 6)
        one = by_path["/sw/a.py"]
        self.assertEqual((one["counts"], one["processes"], one["ranks"], one["pilots"], one["xxh3_128"]),
                         ({"stat": 4, "open": 2}, 3, 3, 2, "1" * 32))
        self.assertTrue(by_path["/sw/d"]["volatile"])
        self.assertEqual((by_path["/sw/changed"]["size"], "xxh3_128" in by_path["/sw/changed"]), (2, False))
        self.assertEqual((by_path["/sw/later"]["kind"], by_path["/sw/later"]["pilots"]), ("data", 2))
        self.assertEqual(by_path["/sw/new"]["pilots"], 1)
        self.assertEqual(sorted(e["order"] for e in m["entries"]), list(range(6)))
        out = self.dlcache("merge", "--verbose", "-o", self.path("m.json"), a, b)
        self.assertEqual(out.stderr.split("\n")[:2], ["content  /sw/changed", "found-b  /sw/later"])

    def test_again_and_in_another_order_is_the_same_bytes(self):
        a, b = self.pilots()
        merged = self.path("m.json")
        self.dlcache("merge", "-o", merged, a, b)
        for files, same_as in (([a, a], a), ([b, a], merged), ([a, merged], merged), ([merged, b], merged),
                               ([merged, merged], merged), ([a, b, a], merged)):
            self.dlcache("merge", "-o", self.path("x.json"), *files)
            self.assertEqual(self.read(self.path("x.json")), self.read(same_as), files)
        self.dlcache("merge", "-o", merged, merged, a)  # in place
        self.assertEqual(self.read(self.path("x.json")), self.read(merged))

    def test_grouped_otherwise_is_the_same_bytes(self):
        """(A + B) + C is A + (B + C), by the order of touches, too."""
        def pilot(name, *entries):
            day = "0" + name[1]
            return self.dump(name + ".json", small(*entries, recorded="2024-01-%sT00:00:00Z" % day, host=name, processes=1))

        def touched(path, ms, order):
            return found(path, counts={"open": 1}, processes=1, order=order, first_ns=ms * 1000000)
        p1 = pilot("p1", touched("/sw/a", 9, 2), touched("/sw/b", 5, 1), touched("/sw/x", 1, 0))
        p2 = pilot("p2", touched("/sw/a", 4, 1), touched("/sw/c", 7, 2), touched("/sw/d", 3, 0))
        p3 = pilot("p3", touched("/sw/b", 2, 0), touched("/sw/c", 6, 1), touched("/sw/e", 8, 2))
        m, n, whole = self.path("m.json"), self.path("n.json"), self.path("whole.json")
        self.dlcache("merge", "-o", whole, p1, p2, p3)
        for first, last in (([p1, p2], p3), ([p2, p3], p1), ([p1, p3], p2)):
            self.dlcache("merge", "-o", m, *first)
            self.dlcache("merge", "-o", n, m, last)
            self.assertEqual(self.parsed(n)["entries"], self.parsed(whole)["entries"], first)
        order = sorted(self.parsed(whole)["entries"], key=lambda e: e["order"])
        self.assertEqual([e["path"] for e in order], ["/sw/" + name for name in "xbdace"])

    def test_merged_manifests_that_share_a_pilot(self):
        a, b = self.pilots()
        c = self.dump("c.json", small(found("/sw/a.py", counts={"stat": 7}), recorded="2024-01-03T00:00:00Z"))
        self.dlcache("merge", "-o", self.path("ab.json"), a, b)
        self.dlcache("merge", "-o", self.path("bc.json"), b, c)
        out = self.dlcache("merge", "-o", self.path("abc.json"), self.path("ab.json"), self.path("bc.json"))
        self.assertIn("dlcache: warning: some pilots are in several of them: counts are at least what they say\n",
                      out.stderr)
        m = self.parsed(self.path("abc.json"))
        self.assertEqual(len(m["pilots"]), 3)
        self.assertEqual(next(e["counts"] for e in m["entries"] if e.get("path") == "/sw/a.py"),
                         {"stat": 9, "open": 1 + 1})

    def test_trouble(self):
        a, _ = self.pilots()
        for args, text in ((["-o", self.path("x"), a, "/none"], "dlcache: /none: No such file or directory\n"),
                           ([a], "dlcache: merge: -o M is missing (see dlcache merge --help)\n"),
                           (["-o", self.path("x")],
                            "dlcache: merge: it takes the manifests to merge (see dlcache merge --help)\n"),
                           (["-o", "/none/x", a], "dlcache: /none/x: No such file or directory\n")):
            out = self.dlcache("merge", *args, status=2)
            self.assertEqual((out.stdout, out.stderr), ("", text))
        self.assertFalse(os.path.exists(self.path("x")))

    def test_real_pilots_are_staged_as_one(self):
        for name in ("one", "two"):
            self.write("tree/site-packages/%s.py" % name, "x = '%s'\n" % name)
        os.makedirs(self.path("tree/site-packages/__pycache__"))
        tree = self.path("tree")
        for name in ("one", "two"):
            code = "import sys; sys.path.insert(0, %r); import %s" % (tree + "/site-packages", name)
            self.record(self.path(name + ".json"), [PYTHON, "-c", code], include=[tree])
        self.dlcache("merge", "-o", self.path("m.json"), self.path("one.json"), self.path("two.json"))
        paths = {e.get("path") for e in self.parsed(self.path("m.json"))["entries"]}
        self.assertLess({tree + "/site-packages/one.py", tree + "/site-packages/two.py"}, paths)
        stage = self.stage(self.path("m.json"))
        for name in ("one", "two"):
            self.assertTrue(os.path.isfile(stage + "/root" + tree + "/site-packages/%s.py" % name))
        self.dlcache("unstage", stage)


class Verify(Compare):
    def setUp(self):
        super().setUp()
        self.tree = self.path("tree")
        for name in ("same", "size", "touched", "contents", "secret", "mode", "gone", "dir/f", "kind", "quiet/f"):
            self.write("tree/" + name, "0123456789")
        os.symlink("same", self.path("tree/link"))
        for name in os.listdir(self.tree):
            os.utime(self.path("tree", name), ns=(10 ** 18, 10 ** 18), follow_symlinks=False)
        code = ("import os, sys\nos.chdir(sys.argv[1])\nfor d, _, names in os.walk('.'):\n os.listdir(d)\n"
                " for n in names:\n  os.lstat(d + '/' + n); open(d + '/' + n).close()\n"
                "os.readlink('link')\n"
                "try: os.stat('vain')\nexcept OSError: pass")
        self.m = self.path("m.json")
        self.record(self.m, [PYTHON, "-B", "-c", code, self.tree], include=[self.tree])

    def test_unchanged_costs_one_look_each(self):
        for args in ([], ["--digest"], ["--jobs=1"], ["--jobs=256"], ["--json"]):
            out = self.dlcache("verify", *args, self.m)
            if "--json" in args:
                self.assertEqual(json.loads(out.stdout), {"same": True, "entries": [], "trouble": []})
            else:
                self.assertEqual((out.stdout, out.stderr), ("", ""))
        _, lines = self.strace([DLCACHE, "verify", self.m])
        lines = self.touching(lines, self.tree)
        links = [line for line in lines if "readlink" in line]
        self.assertEqual(len(links), 1)
        self.assertEqual(len(lines) - len(links), len(self.parsed(self.m)["entries"]))
        self.assertEqual([line for line in lines if "open" in line.split("(")[0]], [])

    def change(self):
        t = self.tree + "/"
        with open(t + "size", "w") as f:
            f.write("0")
        os.utime(t + "touched")
        with open(t + "contents", "w") as f:
            f.write("abcdefghij")
        with open(t + "secret", "w") as f:
            f.write("abcdefghij")
        os.utime(t + "secret", ns=(10 ** 18, 10 ** 18))
        os.chmod(t + "mode", 0o600)
        os.unlink(t + "gone")
        os.unlink(t + "link")
        os.symlink("size", t + "link")
        self.write("tree/vain", "x")
        self.write("tree/dir/more", "x")
        os.unlink(t + "kind")
        os.mkdir(t + "kind")
        return t

    def test_every_change_is_told(self):
        t = self.change()
        expected = {t + "size": "content", t + "touched": "time", t + "contents": "content", t + "mode": "mode",
                    t + "gone": "found-a", t + "link": "kind", t + "vain": "found-b", t + "dir": "names",
                    t[:-1]: "names", t + "kind": "kind"}
        told = json.loads(self.dlcache("verify", "--json", self.m, status=1).stdout)
        self.assertEqual({e["path"]: e["cause"] for e in told["entries"]}, expected)
        self.assertFalse(told["same"])
        told = json.loads(self.dlcache("verify", "--json", "--digest", self.m, status=1).stdout)
        self.assertEqual({e["path"]: e["cause"] for e in told["entries"]}, {**expected, t + "secret": "content"})
        text = self.dlcache("verify", self.m, status=1).stdout
        self.assertIn("found in the manifest, absent in the file system: 1\n  %s\n    %sgone\n" % (t[:-1], t), text)
        self.assertIn("    %ssize (10, 1 bytes)\n" % t, text)

    def test_what_cannot_be_looked_at(self):
        shutil.rmtree(self.path("tree/dir"))
        os.symlink("dir", self.path("tree/dir"))  # a loop
        out = self.dlcache("verify", self.m, status=2)
        self.assertEqual(out.stderr, "dlcache: %s/dir/f: Too many levels of symbolic links\n" % self.tree)
        told = json.loads(self.dlcache("verify", "--json", self.m, status=2).stdout)
        self.assertEqual(told["trouble"],
                         [{"path": self.tree + "/dir/f", "error": "Too many levels of symbolic links"}])

    def test_trouble(self):
        jobs = "dlcache: verify: --jobs is 1 to 256 (see dlcache verify --help)\n"
        for args, text in (([], "dlcache: verify: it takes one manifest (see dlcache verify --help)\n"),
                           (["/none"], "dlcache: /none: No such file or directory\n"),
                           (["--jobs=0", self.m], jobs), (["--jobs=257", self.m], jobs)):
            out = self.dlcache("verify", *args, status=2)
            self.assertEqual((out.stdout, out.stderr), ("", text))

    def slowly(self, stderr):
        """Every look takes a quarter of a second."""
        return subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=newfstatat,?lstat", "-e",
                               "inject=newfstatat,?lstat:delay_enter=250000", DLCACHE, "verify", "--jobs=1", self.m],
                              env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                              timeout=60, check=False)

    def test_progress_on_a_terminal_alone(self):
        master, slave = pty.openpty()
        shown = b""
        try:
            try:
                self.assertEqual(self.slowly(slave).returncode, 0)
            finally:
                os.close(slave)
            while chunk := os.read(master, 65536):  # what was written comes in pieces
                shown += chunk
        except OSError:  # and then there is no writer any more
            pass
        finally:
            os.close(master)
        shown = shown.decode()
        n = len(self.parsed(self.m)["entries"])
        self.assertRegex(shown, r"\r\x1b\[K\[[#-]{30}\] +\d+ %%  \d+ of %d entries" % n)
        self.assertGreater(shown.count("entries"), 1)
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)
        self.assertEqual(self.slowly(subprocess.PIPE).stderr, b"")
