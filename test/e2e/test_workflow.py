"""The two-phase way: record, stage over MPI, ranks served from memory."""
import json
import os
import re

from harness import BUILD, DLCACHE, MPIEXEC, PYTHON, STDLIB, Case, environment

IMPORT = "import scipy.stats, pandas"
# What the program says of itself and of its modules: to be the same however it was started.
FACTS = IMPORT + """
import os, sys
print(sys.path, sys.executable, sys.argv)
for name in sorted(sys.modules):
    module = sys.modules[name]
    path = getattr(module, '__file__', None)
    if path:
        st = os.stat(path)
        print(name, path, module.__spec__ and module.__spec__.cached, list(getattr(module, '__path__', ())))
        print([getattr(st, f) for f in dir(st) if f.startswith('st_') and 'atime' not in f], os.path.realpath(path))
print(sorted(os.listdir(os.path.dirname(pandas.__file__))))
sys.exit(7)
"""
SOFTWARE = [d + end for d in ("/usr/lib/python3", STDLIB, "/usr/share/zoneinfo") for end in "/\"'>"]


class Workflow(Case):
    @classmethod
    def setUpClass(cls):
        # One pilot for all: it is the slow part.
        case = cls("pilot")
        case.setUp()
        cls.shared = case
        cls.manifest = case.path("m.json")
        case.record(cls.manifest, [PYTHON, "-c", FACTS], include=["/usr"], status=7)

    @classmethod
    def tearDownClass(cls):
        cls.shared.doCleanups()

    def pilot(self):
        pass

    def objects(self):
        with open(self.manifest) as f:
            entries = json.load(f)["entries"]
        return [e["path"] for e in entries if e["kind"] == "shared-object"]

    def assert_served(self, lines):
        # The C library reads /etc/localtime inside itself, outside of what was asked for; it leads to the time zones.
        lines = [line for line in lines if not re.search(r'</usr/share/zoneinfo/[^>]*>, "",', line)]
        self.assertEqual(self.touching(lines, *SOFTWARE), [])
        objects = set(self.objects()) | {os.path.realpath(p) for p in self.objects()}
        objects |= {p.replace("/usr/lib/", "/lib/", 1) for p in objects}
        self.assertGreater(len(objects), 100)
        opened = [line for line in lines if re.match(r"open", line) and
                  any(p in objects for p in re.findall(r'"([^"]*)"', line))]
        self.assertEqual(opened, [])

    def test_a_served_program_makes_no_call_on_the_original(self):
        native, lines = self.strace([PYTHON, "-c", FACTS], status=7)
        self.assertGreater(len(self.touching(lines, *SOFTWARE)), 3000)
        d = self.stage(self.manifest, ranks=4)
        served, lines = self.strace([d + "/run", PYTHON, "-c", FACTS], status=7)
        self.assert_served(lines)
        self.assertEqual(served.stdout, native.stdout)
        self.assertEqual(served.stderr, native.stderr)

    def test_the_same_under_mpiexec(self):
        d = self.stage(self.manifest, ranks=4)
        log = self.path("rank")
        result = self.run_command(
            [MPIEXEC, "-n", "4", "sh", "-c", 'exec strace -f -y -qq -e signal=none -e trace=%file,getdents64 '
             '-s 4096 -o "$1.$PMI_RANK" "$2/run" "$3" -c "$4"', "sh", log, d, PYTHON, IMPORT + "; print(pandas)"])
        self.assertEqual(len(set(result.stdout.splitlines())), 1, result.stdout)
        self.assertEqual(len(result.stdout.splitlines()), 4)
        for rank in range(4):
            with open("%s.%d" % (log, rank)) as f:
                self.assert_served([line.split(None, 1)[1] for line in f])

    def test_environment_variables_attach_as_well(self):
        d = self.stage(self.manifest)
        native = self.run_command([PYTHON, "-c", FACTS], status=7)
        names = ["DLCACHE_STAGE", "GLIBC_TUNABLES", "LD_AUDIT", "LD_PRELOAD"]
        show = "; ".join('printf "%%s\\0" "%s=$%s"' % (n, n) for n in names)
        shell = self.run_command(["sh", "-c", 'eval "$("$0" env --stage "$1")"; ' + show, DLCACHE, d],
                                 env=environment(LD_PRELOAD="", LD_AUDIT="", GLIBC_TUNABLES=""))
        srun = self.dlcache("env", "--stage", d, "--export")
        for exports in (shell.stdout.rstrip("\0").split("\0"), srun.stdout.strip().split(",")):
            self.assertEqual(sorted(e.split("=")[0] for e in exports), names)
            served, lines = self.strace([PYTHON, "-c", FACTS], exports=exports, status=7)
            self.assertEqual(served.stdout, native.stdout)
            self.assert_served(lines)

    def test_lists_of_others_are_kept(self):
        d = self.stage(self.manifest)
        out = self.dlcache("env", "--stage", d, env=environment(LD_PRELOAD="libm.so.6", LD_AUDIT="", GLIBC_TUNABLES=""))
        self.assertIn("export LD_PRELOAD='%s/lib/libdlcache.so:libm.so.6'\n" % d, out.stdout)
        self.assertIn("export LD_AUDIT='%s/lib/libdlcache-audit.so'\n" % d, out.stdout)
        again = self.run_command(["sh", "-c", 'eval "$("$0" env --stage "$1")"; eval "$("$0" env --stage "$1")"; '
                                  'echo "$LD_PRELOAD"', DLCACHE, d])
        self.assertEqual(again.stdout, d + "/lib/libdlcache.so\n")
        code = "import os; print(os.environ['LD_PRELOAD'])"
        run = self.run_command([d + "/run", PYTHON, "-c", code], env=environment(LD_PRELOAD="libm.so.6"))
        self.assertEqual(run.stdout, d + "/lib/libdlcache.so:libm.so.6\n")

    def test_children_are_served(self):
        d = self.stage(self.manifest)
        code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', %r]))" % FACTS
        served, lines = self.strace([d + "/run", PYTHON, "-c", code], status=7)
        native = self.run_command([PYTHON, "-c", code], status=7)
        self.assertEqual(served.stdout, native.stdout)
        self.assert_served(lines)


class Trouble(Case):
    """Whatever is wrong with a stage, programs run natively; the command says what is wrong."""

    CODE = "import json, sys; print(json.__file__); sys.exit(5)"

    def setUp(self):
        super().setUp()
        self.manifest = self.path("m.json")
        self.record(self.manifest, [PYTHON, "-c", self.CODE], include=["/usr"], status=5)
        self.d = self.stage(self.manifest)

    def attached(self, d):
        return environment(DLCACHE_STAGE=d, LD_PRELOAD=BUILD + "/libdlcache.so",
                           LD_AUDIT=BUILD + "/libdlcache-audit.so")

    def assert_native(self, d, message, launcher=True):
        """Attached to d in each way, the program runs natively; run says why it would not attach."""
        native = self.run_command([PYTHON, "-c", self.CODE], status=5)
        served = self.run_command([PYTHON, "-c", self.CODE], env=self.attached(d), status=5)
        self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
        if launcher:
            served = self.run_command([d + "/run", PYTHON, "-c", self.CODE], status=5)
            self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
        said = self.dlcache("run", "--stage", d, "--", "true", status=1)
        self.assertRegex(said.stderr, message)
        self.assertTrue(said.stderr.startswith("dlcache: "), said.stderr)
        said = self.run_command([PYTHON, "-c", self.CODE],
                                env=dict(self.attached(d), DLCACHE_LOG="1"), status=5)
        self.assertRegex(said.stderr, message)

    def damage(self, name, change):
        path = os.path.join(self.d, name)
        os.chmod(path, 0o600)
        with open(path, "r+b") as f:
            change(f)

    def test_a_whole_one_is_used(self):
        said = self.dlcache("run", "--stage", self.d, "--", PYTHON, "-c", self.CODE, status=5)
        self.assertEqual(said.stdout, STDLIB + "/json/__init__.py\n")

    def test_missing(self):
        self.assert_native(self.place + "/none", "no such directory", launcher=False)

    def test_not_absolute(self):
        self.assert_native("none", "no such directory", launcher=False)

    def test_another_user(self):
        os.chown(self.d, 12345, -1)
        self.assert_native(self.d, "not your own")

    def test_open_to_others(self):
        os.chmod(self.d, 0o755)
        self.assert_native(self.d, "open to others")

    def test_index_cut_short(self):
        self.damage("index", lambda f: f.truncate(4096))
        self.assert_native(self.d, "damaged or cut short")

    def test_index_empty(self):
        self.damage("index", lambda f: f.truncate(0))
        self.assert_native(self.d, "damaged or cut short|not one of dlcache")

    def test_index_of_another_version(self):
        self.damage("index", lambda f: (f.seek(8), f.write(b"\2\0\0\0")))
        self.assert_native(self.d, "another version")

    def test_state_of_another_version(self):
        self.damage("state", lambda f: (f.seek(8), f.write(b"\2\0\0\0")))
        self.assert_native(self.d, "another version")

    def test_header_damaged(self):
        self.damage("index", lambda f: (f.seek(50), f.write(b"\xff\xff")))
        self.assert_native(self.d, "damaged or cut short")

    def test_not_complete(self):
        self.damage("state", lambda f: (f.seek(120), f.write(b"\0\0\0\0")))
        self.assert_native(self.d, "incomplete")

    def test_state_missing(self):
        os.unlink(self.d + "/state")
        self.assert_native(self.d, "incomplete")

    def test_mirror_missing(self):
        os.rename(self.d + "/root", self.d + "/gone")
        self.assert_native(self.d, "incomplete")

    def test_moved(self):
        os.rename(self.d, self.d + "x")
        self.assert_native(self.d + "x", "was moved")

    def test_a_symlink_to_one(self):
        os.symlink(self.d, self.path("link"))
        self.assert_native(self.path("link"), "no such directory", launcher=False)

    def test_removed_while_the_program_runs(self):
        code = """
import os, subprocess, sys
print(os.stat(os.__file__.replace('os.py', 'json/__init__.py')).st_size > 0)
subprocess.run(['/bin/rm', '-rf', sys.argv[1]], env={}, check=True)
import json, json.tool, ctypes, unittest
print(json.__file__, sorted(os.listdir(os.path.dirname(json.__file__))))
print(open(os.__file__.replace('os.py', 'json/__init__.py')).read()[:20])
print(subprocess.run([sys.executable, '-c', 'import json; print(json.__file__)'], capture_output=True).stdout)
"""
        native = self.run_command([PYTHON, "-c", code, self.path("none")])
        served = self.run_command([self.d + "/run", PYTHON, "-c", code, self.d])
        self.assertFalse(os.path.exists(self.d))
        self.assertEqual(served.stdout, native.stdout)
        self.assertEqual(served.stderr, native.stderr)

    def test_switched_off(self):
        for value, served in (("1", False), ("0", True), ("", True)):
            _, lines = self.strace([self.d + "/run", PYTHON, "-c", self.CODE],
                                   env=environment(DLCACHE_DISABLE=value), status=5)
            self.assertEqual(self.touching(lines, STDLIB + "/json") == [], served, value)

    def test_unstage_removes_it(self):
        self.dlcache("unstage", self.d)
        self.assertFalse(os.path.exists(self.d))
        said = self.dlcache("unstage", self.d, status=1)
        self.assertIn(self.d, said.stderr)


class BadManifests(Case):
    def refused(self, text, *words):
        manifest = self.write("bad.json", text)
        for ranks in (0, 2):
            result = self.stage(manifest, ranks=ranks, status=None)
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(result.stdout, "")
            for word in words:
                self.assertIn(word, result.stderr)
            self.assertEqual(result.stderr.count("dlcache: "), 1, result.stderr)
            self.assertEqual([n for _, _, names in os.walk(self.place) for n in names], [])

    def test_not_json(self):
        self.refused("{\n\"format\": \"dlcache-manifest\",\n oops }", "bad.json:3")

    def test_empty(self):
        self.refused("", "bad.json")

    def test_a_field_is_missing(self):
        manifest = self.path("m.json")
        self.record(manifest, [PYTHON, "-c", "import json"], include=[STDLIB + "/json"])
        with open(manifest) as f:
            lines = f.read().split("\n")
        at = next(i for i, line in enumerate(lines) if '"kind"' in line)
        lines[at] = re.sub(r'"kind": *"[a-z-]*",? *', "", lines[at])
        self.refused("\n".join(lines), "bad.json:%d" % (at + 1), "kind")

    def test_a_file_that_is_gone(self):
        tree = os.path.dirname(self.write("tree/lib/data", "one"))
        self.write("tree/lib/other", "two")
        manifest = self.path("m.json")
        self.record(manifest, ["cat", tree + "/data", tree + "/other"], include=[tree])
        os.unlink(tree + "/data")
        result = self.run_command([DLCACHE, "stage", "--dir", self.place, manifest])
        self.assertIn(tree + "/data", result.stderr)
        d = result.stdout.strip()
        both = ["cat", tree + "/data", tree + "/other"]
        native = self.run_command(both, status=1)
        served = self.run_command([d + "/run", *both], status=1)
        self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
        refused = self.stage(manifest, args=["--strict"], status=1)
        self.assertIn(tree + "/data", refused.stderr)
        self.assertEqual(refused.stdout, "")

    def test_a_manifest_that_is_not_there(self):
        result = self.stage(self.path("none.json"), status=None)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("none.json", result.stderr)


class OpenMPI(Case):
    """A stager on MPICH, an application on Open MPI (Debian's mpi4py): the one must not care about the other."""

    def test_application_on_another_mpi(self):
        code = ("from mpi4py import MPI; import json; w = MPI.COMM_WORLD; "
                "print(w.Get_size(), w.allreduce(w.Get_rank()), json.__file__, MPI.__file__)")
        manifest = self.path("m.json")
        run = ["mpiexec.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
        self.record(manifest, [*run, PYTHON, "-c", code], include=["/usr"])
        d = self.stage(manifest, ranks=2)
        native = self.run_command([*run, PYTHON, "-c", code])
        self.assertEqual(native.stdout.count("2 1 "), 2)
        served, lines = self.strace([*run, d + "/run", PYTHON, "-c", code])
        self.assertEqual(sorted(served.stdout.splitlines()), sorted(native.stdout.splitlines()))
        self.assertEqual(self.touching(lines, "/usr/lib/python3/dist-packages/mpi4py", STDLIB + "/json"), [])
