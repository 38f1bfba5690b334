"""The manifest of a real pilot: what the schema says of it; and what `dlcache show` and `dlcache diff` do with it."""
import copy
import json
import os
import pty
import re
import subprocess
import unicodedata

import jsonschema

from harness import DLCACHE, PYTHON, TOP, Case, environment

with open(os.path.join(TOP, "manifests", "manifest.schema.json"), encoding="utf-8") as f:
    SCHEMA = json.load(f)

KINDS = ["module", "bytecode", "shared-object", "executable", "data", "directory", "symlink", "absent"]


def entry(path="/sw/f", kind="data", **more):
    return {"path": path, "kind": kind, **more}


def small(*entries, **head):
    """A manifest as short as it can be."""
    return {"format": "dlcache-manifest", "version": 1, "command": ["true"], "policy": {"prefixes": ["/sw"]},
            "entries": list(entries), **head}


class Manifest(Case):
    @classmethod
    def setUpClass(cls):
        case = cls("pilot")
        case.setUp()
        cls.shared = case
        cls.manifest = case.path("m.json")
        strange = os.fsencode(case.path("tree")) + b"/s\xff\\x\n"
        os.makedirs(strange)
        os.symlink(b"\xfe", strange + b"/link")
        code = "import json, os, socket, sys; os.lstat(os.fsencode(sys.argv[1]) + b'/link'); os.stat(sys.argv[1])"
        case.record(cls.manifest, [PYTHON, "-c", code, strange], include=["/usr", case.path("tree")])
        with open(cls.manifest, encoding="utf-8") as f:
            cls.recorded = json.load(f)

    @classmethod
    def tearDownClass(cls):
        cls.shared.doCleanups()

    def pilot(self):
        pass

    def dump(self, name, manifest):
        return self.write(name, json.dumps(manifest))

    def on_terminal(self, *args, env=None):
        """What the command prints on a terminal, and its exit status."""
        master, slave = pty.openpty()
        proc = subprocess.Popen([DLCACHE, *args], stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE,
                                env=env or environment())
        os.close(slave)
        out = b""
        try:
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:  # EIO: nobody has the other end open any more
                    break
                if not part:
                    break
                out += part
        finally:
            os.close(master)
            err = proc.communicate()[1]
        self.assertEqual(err, b"")
        return os.fsdecode(out), proc.returncode


class Schema(Manifest):
    def errors(self, manifest):
        validator = jsonschema.Draft202012Validator(SCHEMA)
        return [e.json_path for e in validator.iter_errors(manifest)]

    def test_the_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_a_recorded_manifest_is_as_the_schema_says(self):
        self.assertEqual(self.errors(self.recorded), [])
        kinds = {e["kind"] for e in self.recorded["entries"]}
        self.assertEqual(kinds - set(KINDS), set())
        self.assertGreaterEqual(kinds, {"module", "bytecode", "shared-object", "executable", "directory", "symlink",
                                        "absent"})
        # The escaped form is among them: otherwise it was not tried.
        self.assertTrue(any("path_escaped" in e for e in self.recorded["entries"]))
        self.assertIn("\\xfe", [e.get("target_escaped") for e in self.recorded["entries"]])
        self.assertIn({"escaped": self.path_escaped()}, self.recorded["command"])

    def path_escaped(self):
        return self.shared.path("tree") + "/s\\xff\\\\x\n"

    def test_every_member_is_in_the_schema(self):
        self.assertEqual(set(self.recorded) - set(SCHEMA["properties"]), set())
        known = SCHEMA["$defs"]["entry"]["properties"]
        for e in self.recorded["entries"]:
            self.assertEqual(set(e) - set(known), set())
            self.assertEqual(set(e.get("counts", ())) - set(SCHEMA["$defs"]["counts"]["properties"]), set())

    def test_one_entry_a_line_sorted_by_bytes(self):
        with open(self.manifest, "rb") as f:
            lines = f.read().split(b' "entries": [\n')[1].split(b"\n")
        self.assertEqual(lines[-2:], [b"]}", b""])
        entries = [json.loads(line.rstrip(b",")) for line in lines[:-2]]
        self.assertEqual(entries, self.recorded["entries"])

        def name(e):
            escaped = e.get("path_escaped")
            return (e["path"].encode() if escaped is None else
                    re.sub(rb"\\(x..|\\)", lambda m: bytes([int(m[1][1:], 16)]) if m[1] != b"\\" else b"\\",
                           escaped.encode()))
        paths = [name(e) for e in entries]
        self.assertEqual(paths, sorted(set(paths)))

    def test_the_schema_refuses_what_the_command_refuses(self):
        digest = "0" * 31
        good = [small(), small(entry()), small(entry(size=1, mtime_ns=-1, mode=0o100644)),
                small(entry(kind="directory", volatile=True)), small(entry(kind="bytecode", stale=True)),
                small({"path_escaped": "/\\xff\\\\", "kind": "absent"}),
                small(entry(kind="shared-object", needed=["a", {"escaped": "\\xff"}])), small(unknown={"x": 1}),
                small(search=[{"name": "PATH", "value_escaped": "\\xff"}])]
        bad = [[], {}, small(format="x"), small(version=2), small(version="1"), small(command="true"),
               small(command=[1]), small(command=[{"escaped": "\\x00"}]), small(cwd=1),
               small(cwd="/", cwd_escaped="/"),
               small(exit_status=256), small(processes=-1), small(processes=2 ** 32), small(search=[{"name": "A"}]),
               small(mounts=[{"point": "/"}]), small(policy={}), small(policy={"prefixes": ["sw"]}),
               small(policy={"prefixes": [], "all": 1}), small(entries={}), small([]), small({"path": "/a"}),
               small({"kind": "data"}), small(entry("sw")), small(entry("")), small(entry("/a\0")),
               small(entry(path_escaped="/a")), small({"path_escaped": "/\\y", "kind": "data"}),
               small({"path_escaped": "/\\x0", "kind": "data"}), small({"path_escaped": "/\\x00", "kind": "data"}),
               small({"path_escaped": "a", "kind": "data"}), small(entry(kind="file")), small(entry(kind=1)),
               small(entry(volatile=True)), small(entry(stale=True)), small(entry(size=1)),
               small(entry(size=-1, mtime_ns=0, mode=0)),
               small(entry(size=2 ** 63, mtime_ns=0, mode=0)), small(entry(size=1, mtime_ns=0, mode=65536)),
               small(entry(kind="absent", size=1, mtime_ns=0, mode=0)), small(entry(xxh3_128=digest)),
               small(entry(xxh3_128=digest + "G")), small(entry(needed="a")), small(entry(counts=[])),
               small(entry(counts={"stat": -1})), small(entry(order="1")), small(entry(first_ns=-1)),
               small(entry(kind="symlink", target=1)), small(entry(soname=1))]
        for manifest in good:
            with self.subTest(good=manifest):
                self.assertEqual(self.errors(manifest), [])
                self.dlcache("show", self.dump("x.json", manifest))
        for manifest in bad:
            with self.subTest(bad=manifest):
                self.assertNotEqual(self.errors(manifest), [])
                out = self.dlcache("show", self.dump("x.json", manifest), status=2)
                self.assertEqual(out.stdout, "")
                self.assertRegex(out.stderr, r"\Adlcache: %s:1: [^\n]+\n\Z" % re.escape(self.path("x.json")))

    def test_damage_is_refused_everywhere(self):
        with open(self.manifest, "rb") as f:
            text = f.read()
        cut = self.write("cut.json", text[:len(text) // 2])
        line = text[:len(text) // 2].count(b"\n") + 1
        for args in (["show", cut], ["show", "--json", cut], ["diff", cut, self.manifest],
                     ["diff", self.manifest, cut]):
            out = self.dlcache(*args, status=2)
            self.assertEqual(out.stdout, "")
            self.assertRegex(out.stderr, r"\Adlcache: %s:%d: not JSON: " % (re.escape(cut), line))


class Show(Manifest):
    def columns(self, line):
        wide = sum(unicodedata.east_asian_width(c) in "WF" for c in line)
        return len(line) + wide - sum(unicodedata.combining(c) != 0 for c in line)

    def test_a_summary(self):
        out = self.dlcache("show", self.manifest)
        self.assertEqual(out.stderr, "")
        n = len(self.recorded["entries"])
        for pattern in (r"^command     /usr/bin/python3 -c import json", r"^recorded    \d{4}-.*Z on \S+$",
                        r"^program     /usr/bin/python3", r"^processes   1, exit status 0$", r"^kept below  /usr$",
                        r"^ +%d in all +\d" % n, r"^calls       stat \d+, open \d+", r"^packages, by bytes$",
                        r"^biggest files$", r"^directories, by bytes$", r"^search paths \(elements"):
            self.assertRegex(out.stdout, re.compile(pattern, re.M))
        for kind in KINDS:
            count = sum(e["kind"] == kind for e in self.recorded["entries"])
            pattern = re.compile(r"^ +%d %s\b" % (count, kind), re.M)
            (self.assertRegex if count else self.assertNotRegex)(out.stdout, pattern)
        self.assertNotIn("\033", out.stdout)
        text, status = self.on_terminal("show", self.manifest)
        self.assertEqual((text.replace("\r\n", "\n"), status), (out.stdout, 0))

    def test_eighty_columns_whatever_is_in_it(self):
        long, wide = "/sw/" + "d" * 300, "/sw/" + "漢" * 100
        most = 2 ** 63 - 1
        counts = dict.fromkeys(("stat", "open", "list", "load", "exec", "write"), most)
        manifest = small(
            entry(long, size=most, mtime_ns=0, mode=0o100644, counts=counts), entry(wide, "absent", counts=counts),
            entry("/sw/\x1b[2J/x", size=1, mtime_ns=0, mode=0o100644), entry("/sw/\u009b2J/y", "absent"),
            {"path_escaped": "/sw/\\x80" + "\\xff" * 60 + "/z", "kind": "absent"},
            command=["x" * 50, wide, "y"], host="h" * 99, recorded="2" * 40, interpreter=long,
            processes=2 ** 32 - 1, search=[{"name": "N" * 40, "value": long}, {"name": "A", "value": wide}],
            policy={"prefixes": [long, wide, "/sw"]})
        out = self.dlcache("show", self.dump("x.json", manifest)).stdout
        self.assertEqual([line for line in out.split("\n") if self.columns(line) > 80], [])
        self.assertEqual([c for c in out if unicodedata.category(c) in ("Cc", "Cs") and c != "\n"], [])
        self.assertIn("\\x1b[2J", out)
        self.assertIn("…", out)
        real = self.dlcache("show", self.manifest).stdout
        self.assertEqual([line for line in real.split("\n") if self.columns(line) > 80], [])

    def test_json_for_programs(self):
        out = self.dlcache("show", "--json", self.manifest)
        totals = json.loads(out.stdout)
        entries = self.recorded["entries"]
        self.assertEqual(totals["entries"], len(entries))
        self.assertEqual(totals["processes"], 1)
        for kind in KINDS:
            self.assertEqual(totals["kinds"][kind]["entries"], sum(e["kind"] == kind for e in entries))
        files = [e for e in entries if e["kind"] not in ("directory", "symlink", "absent")]
        self.assertEqual(totals["bytes"], sum(e["size"] for e in files))
        for op in ("stat", "open", "list", "load", "exec", "write"):
            self.assertEqual(totals["calls"][op], sum(e.get("counts", {}).get(op, 0) for e in entries), op)
        self.assertEqual(totals["biggest"][0]["size"], max(e["size"] for e in files))
        self.assertEqual(sum(p["entries"] for p in totals["packages"]), len(entries))
        self.assertIn("json", [p.get("name") for p in totals["packages"]])

    def test_from_standard_input(self):
        with open(self.manifest, "rb") as f:
            out = subprocess.run([DLCACHE, "show", "-"], stdin=f, stdout=subprocess.PIPE, check=True, timeout=60,
                                 env=environment()).stdout
        self.assertEqual(os.fsdecode(out), self.dlcache("show", self.manifest).stdout)

    def test_trouble(self):
        for args, text in (([], "dlcache: show: it takes one manifest (see dlcache show --help)\n"),
                           ([self.manifest] * 2, "dlcache: show: it takes one manifest (see dlcache show --help)\n"),
                           (["--jsn", self.manifest],
                            "dlcache: show: '--jsn' is no option (see dlcache show --help)\n"),
                           (["/none"], "dlcache: /none: No such file or directory\n"),
                           (["/dev/null"], "dlcache: /dev/null:1: the file is empty\n"),
                           (["/"], "dlcache: /: Is a directory\n")):
            out = self.dlcache("show", *args, status=2)
            self.assertEqual((out.stdout, out.stderr), ("", text))
        self.assertIn("usage: dlcache show", self.dlcache("show", "--help").stdout)

    def test_a_full_standard_output(self):
        for args in (["show", self.manifest], ["show", "--json", self.manifest],
                     ["diff", self.manifest, "/dev/stdin"], ["diff", "--json", self.manifest, "/dev/stdin"]):
            with open("/dev/full", "wb") as full:
                proc = subprocess.run([DLCACHE, *args], input=json.dumps(small()).encode(), stdout=full,
                                      stderr=subprocess.PIPE, env=environment(), timeout=60, check=False)
            self.assertEqual((proc.returncode, proc.stderr),
                             (2, b"dlcache: standard output: No space left on device\n"), args)


class Diff(Manifest):
    def test_the_same(self):
        other = copy.deepcopy(self.recorded)
        other.update(host="elsewhere", recorded="2001-01-01T00:00:00Z", cwd="/", processes=9, exit_status=3)
        for i, e in enumerate(other["entries"]):
            e.update(order=i, first_ns=i, processes=7, counts={"stat": 99})
        out = self.dlcache("diff", self.manifest, self.dump("b.json", other))
        self.assertEqual((out.stdout, out.stderr), ("", ""))
        out = self.dlcache("diff", "--json", self.manifest, self.path("b.json"))
        self.assertEqual(json.loads(out.stdout), {"same": True, "head": [], "shadowed": [], "moved": [], "entries": []})

    def pair(self):
        stat = {"size": 10, "mtime_ns": 1, "mode": 0o100644}
        one, two = "0" * 32, "0" * 31 + "1"
        p = "/sw/site-packages/"
        a = small(entry(p + "p/changed.py", "module", xxh3_128=one, **stat), entry(p + "p/kind.py", "module", **stat),
                  entry(p + "q/found.py", "absent"), entry(p + "q/only.py", "module", **stat),
                  entry("/sw/same", **stat), search=[{"name": "PYTHONPATH", "value": "/a"}], interpreter="/sw/python")
        b = small(entry(p + "p/changed.py", "module", xxh3_128=two, **stat), entry(p + "p/kind.py", "directory"),
                  entry(p + "q/found.py", "module", **stat), entry("/sw/missed\x1b", "absent"),
                  entry("/sw/same", **stat), interpreter="/sw/python")
        return self.dump("a.json", a), self.dump("b.json", b)

    EXPECTED = """\
PYTHONPATH
  A: /a
  B: (not set)
absent in A, found in B: 1
  q
    /sw/site-packages/q/found.py
something else by the same name: 1
  p
    /sw/site-packages/p/kind.py (module; directory)
contents changed: 1
  p
    /sw/site-packages/p/changed.py
only in A: 1
  q
    /sw/site-packages/q/only.py
only in B: 1
  /sw
    /sw/missed\\x1b (looked for in vain)
"""

    def test_they_differ(self):
        a, b = self.pair()
        out = self.dlcache("diff", a, b, status=1)
        self.assertEqual((out.stdout, out.stderr), (self.EXPECTED, ""))
        out = self.dlcache("diff", "--json", a, b, status=1)
        told = json.loads(out.stdout)
        self.assertFalse(told["same"])
        self.assertEqual(told["head"], [{"name": "PYTHONPATH", "a": "/a", "removed": [{"element": "/a", "place": 1}],
                                         "added": [], "moved": []}])
        self.assertEqual([(e["cause"], e["path"], e["package"]) for e in told["entries"]], [
            ("only-b", "/sw/missed\x1b", "/sw"), ("content", "/sw/site-packages/p/changed.py", "p"),
            ("kind", "/sw/site-packages/p/kind.py", "p"), ("found-b", "/sw/site-packages/q/found.py", "q"),
            ("only-a", "/sw/site-packages/q/only.py", "q")])

    def test_colours_on_a_terminal_alone(self):
        a, b = self.pair()
        text, status = self.on_terminal("diff", a, b)
        text = text.replace("\r\n", "\n")
        self.assertEqual(status, 1)
        self.assertIn("\033[1monly in A: 1\033[0m\n  q\n    \033[31m/sw/site-packages/q/only.py\033[0m\n", text)
        self.assertEqual(re.sub(r"\033\[\d*m", "", text), self.EXPECTED)
        text, status = self.on_terminal("diff", a, b, env=environment(NO_COLOR="1"))
        self.assertEqual((text.replace("\r\n", "\n"), status), (self.EXPECTED, 1))

    def test_trouble(self):
        for args, text in ((["/dev/null", self.manifest], "dlcache: /dev/null:1: the file is empty\n"),
                           ([self.manifest, "/none"], "dlcache: /none: No such file or directory\n"),
                           ([self.manifest], "dlcache: diff: it takes two manifests (see dlcache diff --help)\n"),
                           (["-x"], "dlcache: diff: '-x' is no option (see dlcache diff --help)\n")):
            out = self.dlcache("diff", *args, status=2)
            self.assertEqual((out.stdout, out.stderr), ("", text))
