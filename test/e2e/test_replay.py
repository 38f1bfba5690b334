"""dlcache replay: the operations of a manifest, as often as it says, natively and attached; what it tells of them."""
import json
import os
import re
import subprocess

from harness import DLCACHE, MPIEXEC, environment
from staging import StageCase

CALLS = "%file,read,getdents64,fstat,mmap,close"


class Replay(StageCase):
    def setUp(self):
        super().setUp()
        self.module = self.file("mod.py", "x" * 100000)
        self.data = self.file("data", "y" * 300000)
        self.library = self.file("lib.so", b"\x7fELF" + b"z" * 5000)
        self.link = os.path.join(self.src, "link")
        os.symlink("mod.py", self.link)
        self.gone = os.path.join(self.src, "gone")

    # In the order of first touch, which is not that of the names.
    def entries(self):
        return [("gone", "absent", {"stat": 4, "open": 2, "load": 1}), ("mod.py", "module", {"stat": 3, "open": 2}),
                ("lib.so", "shared-object", {"load": 2, "exec": 1}), ("link", "symlink", {"stat": 5}),
                ("", "directory", {"stat": 1, "list": 2}), ("data", "data", {"open": 1, "write": 7})]

    def with_counts(self, entries, name="m.json", **head):
        rows = [dict({"path": os.path.join(self.src, p).rstrip("/"), "kind": k, "counts": c, "order": i}, **more)
                for i, (p, k, c, *rest) in enumerate(entries) for more in [rest[0] if rest else {}]]
        with open(self.manifest([], name=name)) as f:
            m = json.load(f)
        m.update(head)
        m["entries"] = sorted(rows, key=lambda e: os.fsencode(e["path"]))
        return self.write(name, json.dumps(m))

    def replay(self, *args, status=0, **kw):
        result = self.dlcache("replay", "--json", *args, status=status, **kw)
        self.assertEqual(result.stdout.count("\n"), 1)
        return json.loads(result.stdout)

    def counts(self, told):
        return {k: v["operations"] for k, v in told["kinds"].items()}

    def traced(self, *args, before=()):
        """The calls on what the manifest names; that it is read itself does not count."""
        _, lines = self.strace([*before, DLCACHE, "replay", *args], what=CALLS)
        return self.touching([line for line in lines if not line.startswith("read(") or self.tmp not in line], self.src)

    def test_the_calls_are_those_of_the_manifest_in_its_order(self):
        lines = self.traced(self.with_counts(self.entries()))
        spot = {self.gone: "gone", self.module: "mod.py", self.data: "data", self.library: "lib.so", self.link: "link",
                self.src: ""}
        calls = []
        for line in lines:
            name = re.match(r"\w+", line).group()
            path = re.search(r'[<"](%s[^">]*)' % re.escape(self.src), line).group(1)
            calls.append((spot[path], {"newfstatat": "stat", "fstat": "stat", "openat": "open", "readlinkat": "readlink"}
                          .get(name, name)))
        opened = ["open", "stat", "read", "close"]
        loaded = ["open", "read", "stat", "mmap", "close"]
        listed = ["open", "stat", "getdents64", "getdents64", "close"]
        expected = [("gone", c) for c in 4 * ["stat"] + 3 * ["open"]]
        expected += [("mod.py", c) for c in 3 * ["stat"] + 2 * opened]
        expected += [("lib.so", c) for c in 3 * loaded]
        expected += [("link", "readlink")] * 5
        expected += [("", c) for c in ["stat"] + 2 * listed]
        expected += [("data", c) for c in opened]
        self.assertEqual(calls, expected)
        # A module is read whole, of data nobody knows how much.
        self.assertEqual([line.rsplit(" = ", 1)[1] for line in lines if line.startswith("read(")],
                         ["100000"] * 2 + ["832"] * 3 + ["65536"])

    def test_what_is_told_is_what_was_done(self):
        told = self.replay("-n", "8", "-r", "3", self.with_counts(self.entries()))
        self.assertEqual(self.counts(told), {k: 24 * n for k, n in {"stat": 4, "open": 3, "list": 2, "readlink": 5,
                                                                    "load": 3, "absent": 7}.items()})
        self.assertEqual((told["operations"], told["processes"], told["rounds"]), (24 * 24, 8, 3))
        self.assertEqual([told[k] for k in ("missing", "appeared", "failed")], [0, 0, 0])
        for t in [*told["kinds"].values(), told["all"]]:
            self.assertEqual(sum(n for _, n in t["buckets"]), t["operations"])
            self.assertLessEqual(t["p50_ns"], t["p90_ns"])
            self.assertLessEqual(t["p90_ns"], t["p99_ns"])
            self.assertLessEqual(t["p99_ns"], t["max_ns"])
            self.assertLessEqual(t["sum_ns"], t["operations"] * t["max_ns"])
        self.assertAlmostEqual(told["ended"] - told["began"], told["seconds"], places=5)
        out = self.dlcache("replay", "-n", "8", "-r", "3", self.path("m.json")).stdout.splitlines()
        self.assertRegex(out[0], r"^8 processes, 3 rounds: 576 operations in [\d.]+ [mun]?s, \d+ a second$")
        self.assertEqual([line.split()[:2] for line in out[3:]],
                         [["stat", "96"], ["open", "72"], ["list", "48"], ["readlink", "120"], ["load", "72"],
                          ["absent", "168"], ["all", "576"]])
        self.assertLessEqual(max(map(len, out)), 80)

    def test_only(self):
        told = self.replay("--only", "list,absent", self.with_counts(self.entries()))
        self.assertEqual(self.counts(told), {"list": 2, "absent": 7})

    def test_attached_nothing_of_the_original_is_touched(self):
        m = self.with_counts(self.entries())
        d = self.stage(m)
        self.assertEqual(self.traced("--stage", d, "-n", "2", m), [])
        told = self.replay("--stage", d, "-n", "8", m)
        self.assertEqual((told["stage"], told["operations"]), (d, 8 * 24))
        self.assertEqual([told[k] for k in ("missing", "appeared", "failed")], [0, 0, 0])
        # The command itself attached, and made not to be.
        self.assertEqual(self.traced(m, before=[d + "/run"]), [])
        self.assertEqual(len(self.traced("--native", m, before=[d + "/run"])), len(self.traced(m)))

    def test_a_stage_that_cannot_be_used_is_told(self):
        m = self.with_counts(self.entries())
        result = self.dlcache("replay", "--stage", self.place + "/none", m, status=1)
        self.assertIn("cannot be used", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_what_changed_since_is_counted(self):
        m = self.with_counts(self.entries())
        os.unlink(self.data)
        os.unlink(self.library)
        os.mkdir(self.library)
        self.file("gone")
        told = self.replay("-n", "2", m, status=1)
        self.assertEqual([told[k] for k in ("missing", "appeared", "failed")], [2, 14, 6])
        self.assertEqual(told["first_error"], self.gone + ": it is there, and was not in the pilot")
        self.assertIn("not as the manifest says: 2 missing, 14 there that were not, 6 failed\n",
                      self.dlcache("replay", "-n", "2", m, status=1).stdout)

    def test_a_pipe_or_a_device_is_not_read(self):
        os.mkfifo(self.src + "/pipe")
        m = self.with_counts([("pipe", "module", {"open": 2, "load": 1}), ("/dev/zero", "module", {"open": 1})])
        told = self.replay(m, status=1)
        self.assertEqual((told["operations"], told["failed"]), (4, 4))

    def test_the_share_of_a_rank(self):
        m = self.with_counts([("mod.py", "module", {"stat": 9}, {"ranks": 4}), ("data", "data", {"open": 4}, {"pilots": 2}),
                              ("gone", "absent", {"stat": (1 << 63) - 1})])
        self.assertEqual(self.counts(self.replay(m)), {"stat": 3, "open": 2, "absent": 1000})

    def test_hostile_manifests(self):
        os.mkdir(self.src + "/d")
        odd = os.fsdecode(b"odd\\xff")
        m = self.with_counts([("x" * 5000, "absent", {"stat": 1}), ("d", "absent", {"open": 1, "list": 1}),
                              ("mod.py", "directory", {"list": 1}), ("../" * 50 + "etc/passwd", "data", {"open": 1})])
        told = self.replay(m, status=1)
        self.assertEqual([told[k] for k in ("missing", "appeared", "failed")], [1, 2, 1])
        empty = self.replay(self.with_counts([]))
        self.assertEqual((empty["operations"], empty["kinds"], empty["all"]["max_ns"]), (0, {}, 0))
        self.dlcache("replay", self.with_counts([]))
        self.dlcache("replay", self.write("bad.json", "{"), status=2)
        m = self.write("odd.json", open(self.with_counts([(odd, "data", {"open": 1})])).read()
                       .replace('"path": "%s/odd' % self.src, '"path_escaped": "%s/odd' % self.src))
        self.assertIn("/odd\\xff: No such file", self.dlcache("replay", m, status=1).stdout)

    def test_a_process_that_dies_is_told_and_none_stays(self):
        m = self.with_counts([("gone", "absent", {"stat": 1000})])
        proc = self.start([DLCACHE, "replay", "-n", "3", "-r", "1000000", m])
        children = self.until(lambda: (c := self.children(proc.pid)) and len(c) == 3 and c)
        os.kill(children[1], 9)
        out, err = self.assert_ends(proc)
        self.assertEqual((proc.returncode, out, err), (1, "", "dlcache: replay: a process was ended by signal 9\n"))
        proc = self.start([DLCACHE, "replay", "-n", "3", "-r", "1000000", m])
        children = self.until(lambda: (c := self.children(proc.pid)) and len(c) == 3 and c)
        proc.kill()
        proc.wait()
        self.until(lambda: not any(os.path.exists("/proc/%d/exe" % c) for c in children))

    @staticmethod
    def children(pid):
        try:
            with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
                return [int(c) for c in f.read().split()]
        except FileNotFoundError:
            return []

    def test_percentiles_show_what_is_slow(self):
        m = self.with_counts([("mod.py", "module", {"stat": 100, "open": 1})])
        # One stat in fifty takes 0.2 s, every open 0.05.
        result = self.run_command(["strace", "-f", "-qq", "-o", self.path("log"), "-P", self.module, "-e", "trace=%file",
                                   "-e", "inject=?stat,newfstatat:delay_enter=200000:when=1+50", "-e",
                                   "inject=openat:delay_enter=50000", DLCACHE, "replay", "--json", m])
        kinds = json.loads(result.stdout)["kinds"]
        self.assertLess(kinds["stat"]["p50_ns"], 200000000)
        self.assertGreaterEqual(kinds["stat"]["p99_ns"], 200000000)
        self.assertGreaterEqual(kinds["open"]["p50_ns"], 50000000)
        slow = sum(n for least, n in kinds["stat"]["buckets"] if least >= 190000000)
        self.assertGreaterEqual(slow, 2)

    def test_a_rank_tells_a_line_of_its_own(self):
        m = self.with_counts(self.entries())
        told = self.run_command([MPIEXEC, "-n", "3", DLCACHE, "replay", "--json", m]).stdout.splitlines()
        told = sorted(map(json.loads, told), key=lambda t: t["rank"])
        self.assertEqual([(t["rank"], t["processes"], t["operations"]) for t in told], [(i, 1, 24) for i in range(3)])
        lines = self.run_command([MPIEXEC, "-n", "2", DLCACHE, "replay", m]).stdout.splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertRegex(line, r"^rank [01] on \S+: 24 operations in .* a second; p50 .* max .*; 0 errors$")

    def test_many_entries_take_little_memory_in_each_process(self):
        count = 100000
        m = self.with_counts([("directory-%d/name-%06d" % (i % 100, i), "absent", {"stat": 1}) for i in range(count)])
        told = self.replay("-n", "4", m)
        self.assertEqual(told["operations"], 4 * count)
        proc = self.start([DLCACHE, "replay", "-n", "2", "-r", "1000000", m])
        for child in self.until(lambda: (c := self.children(proc.pid)) and len(c) == 2 and c):
            with open("/proc/%d/smaps_rollup" % child) as f:
                private = sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))
            self.assertLess(private, 4096)  # kB; the manifest is 9 MB

    def test_wrong_usage(self):
        m = self.with_counts([])
        for args in ([], [m, m], ["-n", "0", m], ["-n", "5000", m], ["-r", "0", m], ["--only", "none", m],
                     ["--only", "", m], ["--native", "--stage", "/x", m], ["--child", "0:0"], ["--child", "x"]):
            self.dlcache("replay", *args, status=2)

    def test_a_full_tmp_is_no_matter(self):
        m = self.with_counts(self.entries())
        subprocess.run(["mkdir", self.path("full")], check=True)
        result = self.run_command(["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=4k none %s && echo x >%s/x && "
                                   "TMPDIR=%s exec %s replay --json %s" %
                                   (self.path("full"), self.path("full"), self.path("full"), DLCACHE, m)],
                                  env=environment())
        self.assertEqual(json.loads(result.stdout)["operations"], 24)
