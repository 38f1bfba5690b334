"""What a served program asks that its stage cannot answer is noted: the pilot of the next job."""
import json
import os

from harness import DLCACHE, MPIEXEC, PYTHON, STDLIB, Case, environment


class Misses(Case):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        for name, text in (("common.py", "A = 1\n"), ("rare.py", "B = 2\n"), ("sub/late.py", "C = 3\n"),
                           ("looked-at", "data\n")):
            self.write("tree/" + name, text)
        self.run_command([PYTHON, "-m", "compileall", "-q", self.tree])
        self.keep = ["--include", self.tree, "--include", STDLIB]
        self.pilot = self.path("pilot.json")

    def env(self, **more):
        return environment(PYTHONPATH=self.tree, **more)

    def load(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            m = json.load(f)
        return m, {e["path"][len(self.tree) + 1:]: e for e in m["entries"] if e["path"].startswith(self.tree)}

    # An encoding: to find out which it is, Python 3.9 imports a module that the pilot has not.
    CODE = ("import os, sys, common, rare\nos.path.exists(sys.argv[1] + '/none')\nsys.path.insert(0, sys.argv[1] + '/sub')\n"
            "import late\nprint(common.A, rare.B, late.C, open(sys.argv[1] + '/looked-at', encoding='utf-8').read(), end='')")

    def test_the_circle(self):
        first = "import os, sys, common; os.stat(sys.argv[1] + '/looked-at'); print(common.A)"
        self.dlcache("record", "-o", self.pilot, *self.keep, "--", PYTHON, "-c", first, self.tree, env=self.env())
        known = self.load("pilot.json")[1]
        self.assertEqual(known["looked-at"]["counts"], {"stat": 1})
        command = [PYTHON, "-c", self.CODE, self.tree]
        native = self.run_command(command, env=self.env())
        self.assertEqual(native.stdout, "1 2 3 data\n")
        d = self.stage(self.pilot)

        # The environment alone, as srun would give it to many nodes; two ranks.
        os.mkdir(self.path("misses"))
        served = self.run_command([MPIEXEC, "-n", "2", d + "/run", *command],
                                  env=self.env(DLCACHE_RECORD=self.path("misses")))
        self.assertEqual(served.stdout, native.stdout * 2)
        before = sorted(os.listdir(self.path("misses")))
        out = self.dlcache("collect", self.path("misses"), "-o", self.path("misses.json"), *self.keep, env=self.env())
        self.assertEqual(sorted(os.listdir(self.path("misses"))), before)
        self.assertTrue(out.stderr.startswith("dlcache: %s: 2 processes, 2 ranks\n" % self.path("misses.json")),
                        out.stderr)
        head, misses = self.load("misses.json")
        self.assertEqual((head["ranks"], head["processes"], head["hosts"]), (2, 2, [os.uname().nodename]))
        # What is not in the manifest; and what is, but not its contents.
        self.assertEqual(misses["looked-at"]["counts"], {"open": 2})
        self.assertEqual(len(misses["looked-at"]["xxh3_128"]), 32)
        self.assertEqual(misses["rare.py"]["kind"], "module")
        self.assertEqual(misses["sub/late.py"]["ranks"], 2)
        # And nothing else: what was served was not noted.
        for name in misses:
            self.assertNotIn("common", name)
        self.assertEqual([e["path"] for e in head["entries"] if e["path"].startswith(STDLIB)], [])

        # The same by the command around it, which brings a library of its own.
        self.dlcache("record", "-o", self.path("again.json"), *self.keep, "--", d + "/run", *command, env=self.env())
        again = self.load("again.json")[1]
        self.assertEqual(sorted(again), sorted(misses))
        self.assertEqual(again["looked-at"]["counts"], {"open": 1})
        diff = json.loads(self.dlcache("diff", "--new", "--json", self.pilot, self.path("misses.json"), status=1).stdout)
        self.assertEqual((diff["head"], {e["cause"] for e in diff["entries"]}), ([], {"only-b"}))
        self.assertEqual({e["path"] for e in diff["entries"]},
                         {self.tree + "/" + n for n in misses if n != "looked-at"} - {self.tree + "/"})
        whole = self.dlcache("diff", self.pilot, self.path("misses.json"), status=1)
        self.assertTrue(whole.stdout.startswith("only in A: "), whole.stdout)
        text = self.dlcache("diff", "--new", self.pilot, self.path("misses.json"), status=1).stdout
        self.assertTrue(text.startswith("only in B: %d\n" % len(diff["entries"])), text)
        self.dlcache("diff", "--new", self.pilot, self.pilot)
        self.dlcache("unstage", d)

        # The next job has them.
        self.dlcache("merge", "-o", self.path("merged.json"), self.pilot, self.path("misses.json"))
        self.dlcache("merge", "-o", self.pilot, self.pilot, self.path("misses.json"))
        with open(self.pilot, "rb") as f, open(self.path("merged.json"), "rb") as g:
            self.assertEqual(f.read(), g.read())
        head, entries = self.load("merged.json")
        self.assertEqual((len(head["pilots"]), head["ranks"]), (2, 2))
        self.assertEqual(entries["looked-at"]["counts"], {"stat": 1, "open": 2})
        d = self.stage(self.path("merged.json"))
        out = self.dlcache("record", "-o", self.path("last.json"), *self.keep, "--", d + "/run", *command,
                           env=self.env())
        self.assertEqual(out.stdout, native.stdout)
        self.assertEqual(self.load("last.json")[0]["entries"], [])

    def test_what_was_changed_is_noted(self):
        self.write("tree/sub/data", "old\n")
        read = "import sys; print(open(sys.argv[1] + '/sub/data').read(), end='')"
        self.dlcache("record", "-o", self.pilot, *self.keep, "--", PYTHON, "-c", read, self.tree, env=self.env())
        d = self.stage(self.pilot)
        code = ("import sys\nwith open(sys.argv[1] + '/sub/data', 'w') as f:\n    f.write('new\\n')\n"
                "print(open(sys.argv[1] + '/sub/data').read(), end='')")
        out = self.dlcache("record", "-o", self.path("m.json"), *self.keep, "--", d + "/run", PYTHON, "-c", code,
                           self.tree, env=self.env())
        self.assertEqual(out.stdout, "new\n")
        entries = self.load("m.json")[1]
        self.assertIs(entries["sub"]["volatile"], True)
        self.assertIn("left out: 1 that the program wrote\n", out.stderr)

    def test_one_library_of_ours(self):
        """A command recorded around an attached one, and an attached one around a recorded one."""
        show = [PYTHON, "-c", "import os; print(os.environ['LD_PRELOAD'], os.environ['LD_AUDIT'])"]
        self.dlcache("record", "-o", self.pilot, *self.keep, "--", *show, env=self.env())
        d = self.stage(self.pilot)
        record = [DLCACHE, "record", "-o", self.path("m.json"), *self.keep, "--"]
        for command, where in ((record + [d + "/run"], d + "/lib"), ([d + "/run"] + record, os.path.dirname(DLCACHE))):
            out = self.run_command(command + show, env=self.env(LD_PRELOAD="libm.so.6"))
            self.assertEqual(out.stdout, "%s/libdlcache.so:libm.so.6 %s/libdlcache-audit.so\n" % (where, where))

    def test_collecting_what_is_not_there(self):
        none = self.path("none")
        out = self.dlcache("collect", none, status=2)
        self.assertEqual(out.stderr, "dlcache: collect: %s: No such file or directory\n" % none)
        for args, text in (([], "one directory is wanted (see dlcache collect --help)"),
                           (["a", "b"], "one directory is wanted (see dlcache collect --help)"),
                           (["-o"], "a value is missing for the option: -o")):
            self.assertEqual(self.dlcache("collect", *args, status=2).stderr, "dlcache: collect: %s\n" % text)
        os.mkdir(self.path("empty"))
        out = self.dlcache("collect", self.path("empty"), "-o", self.path("m.json"))
        self.assertIn("dlcache: no process noted anything.", out.stderr)
        self.assertEqual(self.load("m.json")[0]["command"], [])
