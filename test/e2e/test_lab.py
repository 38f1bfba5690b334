"""README.md's job script, on four nodes, with software on a shared file system that counts: one pass of one reader, and
nothing per node and per rank."""
import json
import os
import shutil
import subprocess

from harness import BUILD, DLCACHE, PYTHON
from slowfs import SlowCase
from slowlab import CONTROL, IMPORTS, LIB, PILOT, SHARED, SW, SlowLabCase, readme_script


class Pilot(SlowCase):
    def test_a_search_path_that_the_programs_starter_sets(self):
        """Directories in which nothing was found are of the software all the same: what is not there has to be proved."""
        mount, = self.serve()
        self.write("lib.c", "int f(void) { return 3; }\n")
        self.write("main.c", "int f(void); int main(void) { return f() - 3; }\n")
        for name in ("empty", "lib"):
            os.mkdir(os.path.join(self.source, name))
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self.source + "/lib/libf.so", self.path("lib.c")], check=True)
        subprocess.run(["gcc", "-o", self.path("main"), self.path("main.c"), "-L" + self.source + "/lib", "-lf"],
                       check=True)
        manifest = self.path("m.json")
        # Nothing below /tmp is software: to the program the file system is on /mnt.
        self.run_command(["unshare", "-m", "sh", "-ec", 'mount --bind "$1" /mnt; shift; exec "$@"', "sh", mount, DLCACHE,
                          "record", "-o", manifest, "--", "/usr/bin/env", "LD_LIBRARY_PATH=/mnt/empty:/mnt/lib",
                          self.path("main")])
        with open(manifest) as f:
            kinds = {e["path"]: e["kind"] for e in json.load(f)["entries"]}
        self.assertEqual(kinds.get("/mnt/empty/libf.so"), "absent", kinds)
        self.assertEqual(kinds.get("/mnt/lib/libf.so"), "shared-object", kinds)


class Production(SlowLabCase):
    def test_the_readmes_script(self):
        alone, one, three = self.produce(self.imports(), env=LIB)
        self.check_nothing_per_rank(alone, one, three)
        self.assertEqual((one.out.count("3 4"), three.out.count("3 4")), (4, 12))
        self.assertEqual(sorted(r.path for r in alone.log if r.kind == "open"), sorted(
            ["/app/app.py"] + ["/lib/" + n for n in ("other.py", "pkg/__init__.py", "pkg/a.py", "pkg/sub/__init__.py",
                                                      "pkg/sub/deep.py")]))

    def test_a_driver_that_starts_workers(self):
        self.software("app/worker.py", IMPORTS + "print('worker', other.y)\n")
        runs = self.produce(self.imports(
            "import subprocess\nfor i in '12': subprocess.run([sys.executable, '%s/app/worker.py'], check=True)\n"
            "subprocess.run('%s %s/app/worker.py; true', shell=True, check=True)\n" % (SW, PYTHON, SW)), env=LIB)
        self.check_nothing_per_rank(*runs)
        self.assertEqual(runs[2].out.count("worker 4"), 12 * 3)

    def test_a_working_directory_on_the_file_system(self):
        """Going there is a way that the kernel walks, and what is in it is answered all the same."""
        self.software("app/worker.py", IMPORTS + "print('worker', other.y)\n")
        alone, run = self.produce(self.imports(
            "os.chdir('%s/app')\nos.execv('%s', ['python3', 'worker.py'])\n" % (SW, PYTHON)), env=LIB, tasks=(1,))
        walk = [("getattr", "/"), ("lookup", "/app"), ("getattr", "/app")]
        for node in ("node2", "node3", "node4"):
            self.assertEqual([(r.kind, r.path) for r in run.log if r.node == node], walk)
        self.assertEqual(self.asked(run) - self.asked(alone), {("lookup", "/app"): 1})
        self.assertEqual(self.asked(alone) - self.asked(run), {})
        self.assertEqual(run.out.count("worker 4"), 4)

    def test_data_are_read_and_written_where_they_are(self):
        command = self.imports("import numpy, h5py\nme = os.environ['SLURM_PROCID']\nn = numpy.load('{0}/in.npy')\n"
                           "numpy.save('{0}/out.' + me, n + int(me))\n"
                           "assert (numpy.load('{0}/out.' + me + '.npy') == n + int(me)).all()\n"
                           "with h5py.File('{0}/out.' + me + '.h5', 'w') as f: f['x'] = n + int(me)\n"
                           "with h5py.File('{0}/out.' + me + '.h5', 'r+') as f: f['x'][0] = -1; f['y'] = f['x'][1:3]\n"
                           .format(SW + "/data"))
        os.mkdir(os.path.join(self.sw, "data"))
        code = "import sys, numpy; numpy.save(sys.argv[1], numpy.arange(50000.))"
        self.run_command([PYTHON, "-c", code, os.path.join(self.sw, "data", "in.npy")])
        alone, one, three = self.produce(command, env=LIB)

        def software(run):
            """What is not of the data, nor of the way to it."""
            return sorted((r.kind, r.path) for r in run.log if not r.path.startswith("/data") and r.path != "/" and
                          r.kind not in ("read", "getattr"))
        self.assertEqual(software(one), software(alone))
        self.assertEqual(software(three), software(alone))
        created = [r.path for r in three.log if r.kind == "create"]
        self.assertEqual(sorted(created), sorted("/data/out.%d.%s" % (i, kind) for i in range(4, 12)
                                                 for kind in ("npy", "h5")))  # the others are there
        code = "import sys, numpy, h5py\nfor i in range(12):\n" \
               "    expected = numpy.arange(50000.) + i\n" \
               "    assert (numpy.load('%s/out.%d.npy' % (sys.argv[1], i)) == expected).all()\n" \
               "    f = h5py.File('%s/out.%d.h5' % (sys.argv[1], i), 'r')\n" \
               "    assert f['x'][0] == -1 and (f['x'][1:] == expected[1:]).all() and (f['y'][:] == expected[1:3]).all()"
        self.run_command([PYTHON, "-c", code, os.path.join(self.sw, "data")])

    def test_a_module_that_the_pilot_did_not_see(self):
        """It is asked for by every rank, and nothing else is; the next pilot sees it. (Ranks of a node that ask at the
        same moment can have one answer.)"""
        command = self.imports("try:\n    import pkg.late\nexcept ImportError: pass\n")
        late = os.path.join(SW, "lib/pkg/late.py")
        alone, one, three = self.produce(command, env=LIB, between="echo 'z = 5' >%s\n" % late)
        per_rank = one.counts["node2"]
        self.assertGreater(per_rank, 0)
        self.assertEqual({n: one.counts[n] for n in ("node2", "node3", "node4")},
                         dict.fromkeys(("node2", "node3", "node4"), per_rank))
        self.assertEqual(self.asked(one), self.asked(alone) + self.asked(one, "node2"))
        self.assertEqual({(r.kind, r.path) for r in three.log if r.node == "node2"},
                         {(r.kind, r.path) for r in one.log if r.node == "node2"})
        for node in ("node2", "node3", "node4"):
            self.assertTrue(per_rank < three.counts[node] <= 3 * per_rank, three.counts)
        self.assertLessEqual(sum(self.asked(three).values()),
                             sum(self.asked(alone).values()) + 3 * sum(self.asked(one, "node2").values()))
        print("a module that the pilot did not see: %d requests a rank" % per_rank, sorted(
            r.kind + " " + r.path for r in one.log if r.node == "node2"))
        self.check_nothing_per_rank(*self.produce(command, env=LIB, tasks=(3,)))

    def test_a_job_that_is_cancelled(self):
        command = self.imports("import time\nopen('%s/up.' + os.environ['SLURM_PROCID'], 'w').close()\n"
                           "time.sleep(1000 if 'PILOT' not in os.environ else 0)\n" % SHARED)
        epilog = self.write("epilog.sh", "#!/bin/sh\nexec %s unstage --stale\n" % DLCACHE, 0o755)
        job = self.write("job.sh", readme_script(4, 2, command), 0o755)
        out = self.slow_lab(4, "export PILOT=1" + PILOT.format(command=command, options="") + """
            unset PILOT; rm up.*; sbatch -Q -o /dev/null -e /dev/null %s; job=$(squeue -h -o %%A)
            until [ "$(ls up.* 2>/dev/null | wc -l)" -eq 8 ]; do sleep 0.1; done
            srun -Q --overlap -N4 sh -c 'echo while $(find /dev/shm -mindepth 2 -maxdepth 2 | wc -l)'
            echo 1 >%s/reset; scancel $job; until [ -z "$(squeue -h)" ]; do sleep 0.1; done
            srun -Q -N4 sh -c 'echo after $(find /dev/shm -mindepth 2 | wc -l)'
            grep -c '"total": 0' %s/counters""" % (job, CONTROL, CONTROL), env=dict(LIB, LAB_EPILOG=epilog))
        self.assertEqual(out.split("\n")[:8], 4 * ["while 1"] + 4 * ["after 0"], out)

    def test_dlcache_itself_on_the_file_system(self):
        """Of a program there, a node asks for what it takes to start it: once, whatever ranks it has."""
        for folder, *names in (("bin", "dlcache"),
                               ("libexec/dlcache", "dlcache-stage", "dlcache-mpi.so", "dlcache-run"),
                               ("lib/dlcache", "libdlcache.so", "libdlcache-audit.so")):
            os.makedirs(os.path.join(self.sw, "dlcache", folder))
            for name in names:
                shutil.copy(os.path.join(BUILD, name), os.path.join(self.sw, "dlcache", folder))
        path = "D=$(PATH=%s/dlcache/bin:$PATH; " % SW
        alone, one, three = self.produce(self.imports(), env=LIB, edit=lambda s: s.replace("D=$(", path))
        k = {n: one.counts[n] for n in ("node2", "node3", "node4")}

        def asked(run, node):
            return {(r.kind, r.path) for r in run.log if r.node == node}
        for run in one, three:
            for node in k:
                self.assertEqual(asked(run, node), asked(one, "node2"))
        self.assertEqual({path.split("/")[1] for _, path in asked(one, "node2")}, {"", "dlcache"})
        # Pieces that are read ahead can be one or two: ranks would be seen, of which there are three times as many.
        for node in k:
            self.assertLess(abs(three.counts[node] - k[node]), 8)
        self.assertGreater(one.counts["node1"], alone.counts["node1"] + max(k.values()))  # it starts the others
        print("dlcache on the file system: requests a node: %s" % k, sorted(
            {r.kind + " " + r.path for r in one.log if r.node == "node2" and r.kind in ("open", "read", "readlink")}))
