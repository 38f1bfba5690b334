"""test/e2e/test_lab.py continued: kinds of jobs, and of software, each with a lab of its own."""
import os
import shutil
import subprocess

from harness import PYTHON, STDLIB
from slowlab import IMPORTS, LIB, SW, SlowLabCase


class Jobs(SlowLabCase):
    def test_stagers_that_are_started_by_hand(self):
        command = self.imports()
        for start in ("srun ", "mpiexec.mpich ", "mpiexec.mpich -ppn 1 -n 4 "):
            with self.subTest(start):
                stage = start + "dlcache stage"
                self.check_nothing_per_rank(*self.produce(
                    command, env=LIB, tasks=(2,), edit=lambda s, w=stage: s.replace("dlcache stage", w)))

    def test_natively_it_is_asked_by_every_rank(self):
        """The counters would see it."""
        _, one, three = self.produce(self.imports(), env=LIB, edit=lambda s: s.replace("$D/run ", ""))
        for node in ("node2", "node3", "node4"):
            self.assertGreater(one.counts[node], 100)
            self.assertGreater(three.counts[node], one.counts[node])

    def test_a_job_array(self):
        alone, run = self.produce(self.imports(), env=LIB, tasks=(1,), options="--array=1-3")
        self.assertEqual(list(run.counts), ["node1"])
        self.assertEqual(self.asked(run), {k: 3 * n for k, n in self.asked(alone).items()})
        self.assertEqual(run.out.count("3 4"), 12)

    def test_multiprocessing(self):
        self.software("lib/work.py", "def double(n):\n    import pkg.sub.deep\n    return 2 * n * pkg.sub.deep.x\n")
        alone, one, three = self.produce(self.imports(
            "import multiprocessing, work\nif __name__ == '__main__':\n"
            "    for method in 'fork', 'spawn', 'forkserver':\n"
            "        with multiprocessing.get_context(method).Pool(2) as pool:\n"
            "            print(method, sum(pool.map(work.double, range(5))))\n"), env=LIB)
        self.check_nothing_per_rank(alone, one, three)
        self.assertEqual(three.out.count("spawn 60"), 12)

    def test_a_driver_of_mpi4py_that_starts_workers(self):
        """Debian's mpi4py is Open MPI's, which this Slurm cannot start: each task becomes an mpiexec of two ranks."""
        self.software("app/worker.py", IMPORTS + "print('worker', other.y)\n")
        command = self.imports(
            "if 'OMPI_COMM_WORLD_RANK' not in os.environ:\n"
            "    env = {k: v for k, v in os.environ.items() if not k.startswith(('SLURM', 'PMI'))}\n"
            "    os.execvpe('mpiexec.openmpi', ['mpiexec.openmpi', '--allow-run-as-root', '--oversubscribe', '-n', '2',\n"
            "                                   sys.executable, *sys.argv], env)\n"
            "from mpi4py import MPI\nimport subprocess\nworld = MPI.COMM_WORLD\n"
            "subprocess.run([sys.executable, '%s/app/worker.py'], check=True)\n"
            "print('driver', world.allreduce(world.Get_rank() + 1), flush=True)\n" % SW)
        alone, run = self.produce(command, env=LIB, tasks=(1,))
        self.check_nothing_per_rank(alone, run)
        self.assertEqual((run.out.count("driver 3"), run.out.count("worker 4")), (8, 8))


class Software(SlowLabCase):
    """What people have on such file systems."""
    NUMPY = "import numpy.fft, numpy.linalg, json, decimal, ssl\nprint(int(numpy.arange(9).sum()))\n"

    def copy(self, source, *to):
        """Without Debian's sitecustomize.py: a symlink that leaves the file system is followed by every rank."""
        shutil.copytree(source, os.path.join(self.sw, *to), symlinks=True, ignore=shutil.ignore_patterns(
            "test", "tests", "config-*", "EXTERNALLY-MANAGED", "dist-packages",
            "sitecustomize.py"), ignore_dangling_symlinks=True)

    def check_numpy(self, command, **kw):
        alone, one, three = self.produce(command, **kw)
        self.check_nothing_per_rank(alone, one, three)
        self.assertEqual((one.out.count("36"), three.out.count("36")), (4, 12))
        return alone

    def test_packages_on_the_path_of_debians_python(self):
        self.copy("/usr/lib/python3/dist-packages/numpy", "lib", "numpy")
        self.check_numpy("%s %s" % (PYTHON, self.software("app.py", self.NUMPY)), env=LIB)

    def conda(self):
        """A prefix with an interpreter that finds its library by $ORIGIN."""
        version = os.path.basename(STDLIB)
        self.copy(STDLIB, "conda", "lib", version)
        self.copy("/usr/lib/python3/dist-packages/numpy", "conda", "lib", version, "dist-packages", "numpy")
        self.software("conda/launcher.c", "int Py_BytesMain(int, char **);\n"
                      "int main(int c, char **v) { return Py_BytesMain(c, v); }\n")
        prefix = os.path.join(self.sw, "conda")
        os.mkdir(prefix + "/bin")
        library = self.run_command(["sh", "-c", "ldconfig -p | sed -n 's/.*lib%s.so.1.0 .*=> //p'" % version]).stdout
        shutil.copy(library.split()[0], prefix + "/lib")
        soname = os.path.basename(library.split()[0])
        subprocess.run(["gcc", "-o", prefix + "/bin/python3", prefix + "/launcher.c", prefix + "/lib/" + soname,
                        "-Wl,-rpath,$ORIGIN/../lib"], check=True)
        return SW + "/conda/bin/python3"

    def test_a_prefix_as_condas(self):
        alone = self.check_numpy("%s %s" % (self.conda(), self.software("app.py", self.NUMPY)))
        self.assertTrue([r for r in alone.log if r.kind == "open" and "/conda/lib/libpython" in r.path])

    def test_a_virtual_environment_on_top_of_it(self):
        python = self.conda()
        app = self.software("app.py", self.NUMPY + "import sys, mine\nassert sys.prefix == '%s/venv'\n" % SW)
        self.check_numpy("%s/venv/bin/python %s" % (SW, app), before="""
            %s -m venv --system-site-packages --without-pip %s/venv || exit
            echo 'x = 1' >$(%s/venv/bin/python -c 'import site; print(site.getsitepackages()[0])' | tee site)/mine.py ||
                { mkdir -p $(cat site) && echo 'x = 1' >$(cat site)/mine.py; }
            """ % (python, SW, SW))

    def test_a_tree_as_spacks(self):
        """A prefix a package, 80 of them in LD_LIBRARY_PATH, a view of symlinks."""
        os.makedirs(os.path.join(self.sw, "view", "lib"))
        source, libraries = ["#include <stdio.h>"], []
        for i in range(80):
            lib = os.path.join(self.sw, "spack", "package%d-hash" % i, "lib")
            os.makedirs(lib)
            if i % 4 == 3:
                self.write("lib.c", "int f%d(void) { return %d; }\n" % (i, i))
                subprocess.run(["gcc", "-shared", "-fPIC", "-o", "%s/libp%d.so" % (lib, i), self.path("lib.c")],
                               check=True)
                os.symlink("../../spack/package%d-hash/lib/libp%d.so" % (i, i), os.path.join(
                    self.sw, "view", "lib", "libp%d.so" % i))
                libraries.append(i)
        source += ["int f%d(void);" % i for i in libraries]
        calls = " + ".join("f%d()" % i for i in libraries)
        source += ["int main(void) { printf(\"%d\\n\", " + calls + "); return 0; }"]
        self.write("main.c", "\n".join(source))
        view = os.path.join(self.sw, "view")
        subprocess.run(["gcc", "-o", view + "/prog", self.path("main.c"), "-L" + view + "/lib",
                        *("-lp%d" % i for i in libraries)], check=True)
        total = str(sum(libraries))
        paths = ":".join("%s/spack/package%d-hash/lib" % (SW, i) for i in range(80))
        # A search path that the program's own starter has set, of which the pilot's command knows nothing.
        alone, one, three = self.produce("/usr/bin/env LD_LIBRARY_PATH=%s %s/view/prog" % (paths, SW))
        self.check_nothing_per_rank(alone, one, three)
        self.assertEqual(three.out.count(total), 12)
        for path, opened in ((paths, "/spack/package79-hash/lib/libp79.so"), (SW + "/view/lib", None)):
            with self.subTest(path[:30]):
                # Slurm's own programs are not attached: they would search there.
                search = "--export=ALL,LD_LIBRARY_PATH=%s " % path
                alone, one, three = self.produce(SW + "/view/prog", pilot=search,
                                                 edit=lambda s, w=search: s.replace("srun ", "srun " + w))
                self.check_nothing_per_rank(alone, one, three)
                self.assertEqual((one.out.count(total), three.out.count(total)), (4, 12))
                if opened:
                    self.assertIn(opened, [r.path for r in alone.log if r.kind == "open"])
