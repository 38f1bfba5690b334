"""dlcache stats: what a stage has answered, counted call by call where DLCACHE_STATS asks for it."""
import json
import os

from harness import DLCACHE, MPIEXEC, PYTHON, environment
from staging import StageCase

NAMES = ("programs", "found", "absent", "opened", "listed", "not_held", "changed", "unknown", "objects", "originals")


class Stats(StageCase):
    def setUp(self):
        super().setUp()
        self.f = self.file("d/f", "contents")
        self.g = self.file("d/g", "contents")
        self.file("d/e/h")
        os.symlink("f", self.src + "/d/link")
        self.m = self.manifest([self.src + "/d", self.f, self.src + "/d/link"],
                               kinds={self.src + "/d": "directory", self.src + "/d/link": "symlink"})
        self.d = self.stage(self.m)

    def stats(self, d=None, **kw):
        told = json.loads(self.dlcache("stats", "--json", d or self.d, **kw).stdout)
        self.assertEqual(told.pop("stage"), d or self.d)
        told.pop("host")
        self.assertEqual(tuple(told), NAMES)
        return told

    def of(self, code, d=None, **env):
        """What Python counts for the code, apart from its start."""
        counts = [self.stats(d)]
        for text in ("pass", code):
            self.run_command([(d or self.d) + "/run", PYTHON, "-S", "-E", "-c",
                              "import os, io, ctypes; D = '%s/d'\n%s" % (self.src, text)],
                             env=environment(**{"DLCACHE_STATS": "1", **env}))
            counts.append(self.stats(d))
        base, both = ({k: b[k] - a[k] for k in NAMES} for a, b in zip(counts, counts[1:]))
        return {k: both[k] - base[k] for k in NAMES if both[k] != base[k]}

    def test_each_call_counts_once(self):
        self.assertEqual(self.of("for _ in range(7): os.stat(D + '/f')"), {"found": 7})
        self.assertEqual(self.of("os.stat(D + '/f'); os.lstat(D + '/link'); os.access(D + '/f', 4); os.readlink(D + '/link')"),
                         {"found": 4})
        self.assertEqual(self.of("os.access(D + '/none', 4); os.path.exists(D + '/none'); os.path.isdir(D + '/f/x')"),
                         {"absent": 3})
        self.assertEqual(self.of("for _ in range(3): os.close(os.open(D + '/f', os.O_RDONLY))"), {"opened": 3})
        self.assertEqual(self.of("os.listdir(D); list(os.scandir(D)); os.close(os.open(D, os.O_RDONLY | os.O_DIRECTORY))"),
                         {"listed": 3})
        self.assertEqual(self.of("for name in 'none', 'f/x':\n  try: os.listdir(D + '/' + name)\n  except OSError: pass\n"
                                 "  try: os.open(D + '/' + name, os.O_RDONLY)\n  except OSError: pass\n"), {"absent": 4})
        self.assertEqual(self.of("try: os.readlink(D + '/f')\nexcept OSError: pass"), {"found": 1})

    def test_the_c_librarys_own(self):
        head = "c = ctypes.CDLL(None); c.fopen.restype = c.realpath.restype = ctypes.c_void_p; p = os.fsencode(D)\n"
        base = self.of(head)
        for code, counts in (("c.fopen(p + b'/f', b'r')", {"opened": 1}), ("c.fopen(p + b'/no', b'r')", {"absent": 1}),
                             ("c.realpath(p + b'/link', None)", {"found": 1}),
                             ("c.realpath(p + b'/no', None)", {"absent": 1}), ("c.fopen(p + b'/g', b'r')", {"not_held": 1})):
            told = self.of(head + code)
            self.assertEqual({k: n - base.get(k, 0) for k, n in told.items() if n != base.get(k, 0)}, counts, code)

    def test_what_is_left_to_the_kernel_and_why(self):
        self.assertEqual(self.of("os.stat('/proc/self/stat'); os.close(os.open('/dev/null', 0))"), {"unknown": 2})
        # Its name is known, its contents are not; writing is not the image's to say.
        self.assertEqual(self.of("os.close(os.open(D + '/g', 0)); os.access(D + '/f', os.W_OK)"), {"not_held": 2})
        self.assertEqual(self.of("os.listdir(D + '/e')").keys(), {"not_held"})
        self.assertEqual(self.of("os.utime(D + '/f'); os.stat(D + '/f'); os.stat(D + '/f')"), {"changed": 2})
        self.assertEqual(self.of("open(D + '/new', 'w').close(); os.stat(D + '/new'); os.access(D + '/none', 4)")["changed"], 2)

    def test_children_and_many_processes(self):
        told = self.of("[os.fork() for _ in range(4)]; os.stat(D + '/f'); os._exit(0)")
        told.pop("unknown", None) # after a fork Python 3.13 reads how many threads it has
        self.assertEqual(told, {"found": 16})
        self.assertEqual(self.of("import subprocess\nfor _ in range(3): os.posix_spawn('/bin/true', ['true'], os.environ)\n"
                                 "for _ in range(3): os.wait()")["programs"], 3)

    def test_shared_objects(self):
        self.record(self.path("p.json"), [PYTHON, "-S", "-E", "-c", "import ctypes, _json"], include=("/usr/lib",))
        d = self.stage(self.path("p.json"))
        self.run_command([d + "/run", PYTHON, "-S", "-E", "-c", "import ctypes, _json, _bz2"],
                         env=environment(DLCACHE_STATS=1))
        told = self.stats(d)
        _, lines = self.strace([d + "/run", PYTHON, "-S", "-E", "-c", "import ctypes, _json, _bz2"], what="openat,mmap")
        maps = {line.split("<")[1].split(">")[0] for line in lines if line.startswith("mmap") and ".so" in line}
        objects = {p for p in maps if p.startswith(d + "/root")}
        self.assertEqual(told["objects"], len(objects))
        self.assertGreater(len(objects), 1)
        others = {p for p in maps - objects if not p.startswith(d) and "/ld-linux" not in p and "/ld.so.cache" not in p}
        self.assertEqual(told["originals"], len(others))
        self.assertTrue(any("_bz2" in p for p in others), others)

    def test_nothing_is_counted_unasked(self):
        for stats in (None, "", "0"):
            self.assertEqual(self.of("os.stat(D + '/f')", DLCACHE_STATS=stats), {})
        result = self.dlcache("stats", self.d)
        self.assertEqual(result.stderr, "dlcache: stats: no program has counted: start them with DLCACHE_STATS=1\n")
        self.assertEqual(set(self.stats().values()), {0})

    def test_how_it_is_told(self):
        self.run_command([self.d + "/run", PYTHON, "-S", "-E", "-c", "import os; os.stat('%s')" % self.f],
                         env=environment(DLCACHE_STATS=1))
        told = self.stats()
        lines = self.dlcache("stats", env=environment(DLCACHE_STAGE=self.d)).stdout.splitlines()
        self.assertEqual([int(line.split()[0]) for line in lines], list(told.values()))
        self.assertIn("           1  programs that counted", lines)
        self.assertLessEqual(max(map(len, lines)), 80)
        ranks = self.run_command([MPIEXEC, "-n", "2", DLCACHE, "stats", self.d]).stdout.splitlines()
        self.assertEqual(ranks, ["%s: %s" % (os.uname().nodename, " ".join("%s %d" % i for i in told.items()))] * 2)

    def test_trouble(self):
        self.assertIn("cannot be used", self.dlcache("stats", self.place + "/none", status=1).stderr)
        self.dlcache("stats", status=1)
        self.dlcache("stats", self.d, self.d, status=2)
