"""One step: the ranks of a job stage inside themselves, before the program's main, and go on as the program."""
import os
import re
import unittest

from harness import BUILD, MPICC, MPIEXEC, PYTHON, STDLIB, environment
from staging import StageCase
from test_slurm import LEFT, LabCase

LIBRARY = os.path.join(BUILD, "libdlcache.so")

# A module that is gone when it is imported: the stage alone has it.
GONE = """
import os, subprocess, sys
subprocess.run(["mv", "-f", sys.argv[1] + "/late.py", sys.argv[1] + "/gone.py"], env={"DLCACHE_DISABLE": "1"},
               stderr=subprocess.DEVNULL)
sys.path.insert(0, sys.argv[1])
import late
print(late.TEXT, late.__file__ == sys.argv[1] + "/late.py", os.environ["DLCACHE_STAGE"], "DLCACHE_MANIFEST" in os.environ)
"""

MPI_PROGRAM = r"""
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int rank, size, sum = 0, one = 1, provided = -1;
    const char *how = argc > 2 ? argv[2] : "";
    struct stat st;
    if (strcmp(how, "thread") == 0)
        MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    else
        MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && argc > 1)
        rename(argv[1], "/nowhere/x");
    printf("rank %d of %d sum %d provided %d\n", rank, size, sum, provided);
    fflush(stdout);
    if (strcmp(how, "abort") == 0 && rank == 1)
        MPI_Abort(MPI_COMM_WORLD, 7);
    MPI_Finalize();
    printf("after %d\n", stat(argv[1], &st));
    return 0;
}
"""


def has_sessions():
    return os.path.exists(os.path.join(BUILD, "libdlcache-onestep.so"))


@unittest.skipUnless(has_sessions(), "this MPI has no sessions")
class OneStepCase(StageCase):
    def setUp(self):
        super().setUp()
        self.file("late.py", "TEXT = 'from the stage'\n")
        self.manifest = self.pilot([PYTHON, "-c", "import sys; sys.path.insert(0, %r); import late" % self.src])

    def pilot(self, command, name="app.json"):
        path = self.path(name)
        self.record(path, command, include=[self.src])
        return path

    def compiled(self, compiler=None):
        source = self.write("program.c", MPI_PROGRAM)
        program = os.path.join(self.src, "program")
        self.run_command([*(compiler or MPICC), source, "-o", program])
        self.file("data", "x")
        return program, self.pilot([program, self.src + "/data"], "program.json")

    def ranks_of(self, ranks, *command, manifest=None, status=0, mpiexec=None, **env):
        env = environment(LD_PRELOAD=LIBRARY, DLCACHE_MANIFEST=manifest or self.manifest,
                          **{"DLCACHE_DIR": self.place, **env})
        return self.run_command([*(mpiexec or [MPIEXEC]), "-n", str(ranks), *command], env=env, status=status, timeout=60)


class Ranks(OneStepCase):
    def test_a_program_without_mpi(self):
        for ranks in (1, 3):
            self.file("late.py", "TEXT = 'from the stage'\n")
            result = self.ranks_of(ranks, PYTHON, "-c", GONE, self.src)
            self.assertEqual(result.stderr, "")
            lines = result.stdout.splitlines()
            self.assertEqual(len(lines), ranks)
            for line in lines:
                self.assertRegex(line, r"^from the stage True %s/[0-9a-f]{16} False$" % re.escape(self.parent))
            self.assertEqual(os.listdir(self.place), [])  # the last rank has removed it

    def test_a_child_is_attached_and_no_rank(self):
        child = "import sys; sys.path.insert(0, sys.argv[1]); import late; print(late.TEXT)"
        script = GONE + "subprocess.run([sys.executable, '-c', %r, sys.argv[1]], check=True)" % child
        result = self.ranks_of(2, PYTHON, "-c", script, self.src)
        self.assertEqual((sorted(result.stdout.splitlines())[:2], result.stderr), (["from the stage"] * 2, ""))

    def test_a_fork_that_exits_takes_nothing_away(self):
        script = "import os, sys\nif os.fork() == 0: sys.exit(0)\nos.wait()\n" + GONE
        result = self.ranks_of(2, PYTHON, "-c", script, self.src)
        self.assertEqual((result.stdout.count("from the stage True"), result.stderr), (2, ""))
        self.assertEqual(os.listdir(self.place), [])

    def test_the_process_is_as_it_was(self):
        script = self.write("look.py", """if True:
            import os, signal, sys
            mask = os.umask(0)
            names = [os.readlink("/proc/self/fd/" + n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)]
            with open(sys.argv[1] + "." + os.environ["PMI_RANK"], "w") as f:
                print(oct(mask), [signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)],
                      signal.pthread_sigmask(signal.SIG_BLOCK, []), os.getcwd(),
                      sorted(n for n in names if n[0] == "/" and "ucx_shm" not in n and "/proc" not in n),
                      {k: v for k, v in os.environ.items() if k[:7] != "DLCACHE" and k[:3] != "PMI"}, file=f)""")
        native, one = self.path("native"), self.path("one")
        self.run_command([MPIEXEC, "-n", "2", PYTHON, script, native], env=environment(LD_PRELOAD=LIBRARY))
        self.ranks_of(2, PYTHON, script, one)
        for rank in "01":
            with open(native + "." + rank) as a, open(one + "." + rank) as b:
                self.assertEqual(a.read(), b.read())

    def test_programs_with_mpi(self):
        program, manifest = self.compiled()
        for how, provided in (("", -1), ("thread", 3)):
            for ranks in (1, 2, 4):
                result = self.ranks_of(ranks, program, self.src + "/data", how, manifest=manifest)
                self.assertEqual(result.stderr, "")
                self.assertEqual(sorted(result.stdout.splitlines()), ["after 0"] * ranks + [
                    "rank %d of %d sum %d provided %d" % (r, ranks, ranks, provided) for r in range(ranks)])
                self.assertEqual(os.listdir(self.place), [])

    def test_python_that_calls_mpi(self):
        result = self.ranks_of(3, PYTHON, "-c", """if True:
            import ctypes
            mpi, world, rank, size = ctypes.CDLL("libmpich.so.12"), 0x44000000, ctypes.c_int(), ctypes.c_int()
            assert mpi.MPI_Init(None, None) == 0
            mpi.MPI_Comm_rank(world, ctypes.byref(rank))
            mpi.MPI_Comm_size(world, ctypes.byref(size))
            mpi.MPI_Barrier(world)
            mpi.MPI_Finalize()
            print(rank.value, size.value)""")
        self.assertEqual((sorted(result.stdout.splitlines()), result.stderr), (["0 3", "1 3", "2 3"], ""))
        self.assertEqual(os.listdir(self.place), [])

    def test_an_abort_half_way(self):
        program, manifest = self.compiled()
        result = self.ranks_of(3, program, self.src + "/data", "abort", manifest=manifest, status=7)
        # mpiexec may end before it has passed on what the rank said last.
        if result.stderr:
            self.assertIn("application called MPI_Abort(MPI_COMM_WORLD, 7)", result.stderr)

    def test_a_status_other_than_0(self):
        script = "import os, sys; sys.exit(3 * (os.environ['PMI_RANK'] == '1'))"
        self.ranks_of(3, PYTHON, "-c", script, status=3)
        self.assertEqual(os.listdir(self.place), [])

    def test_a_rank_that_is_killed_leaves_the_stage(self):
        script = "import os, time\nif os.environ['PMI_RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(60)"
        self.ranks_of(3, PYTHON, "-c", script, status=9)
        (name,) = self.names()
        # The next job has it at once, and leaves it where it is.
        result = self.ranks_of(2, PYTHON, "-c", GONE, self.src, DLCACHE_LOG=1)
        self.assertIn("(it was there already)", result.stderr)
        self.assertEqual(result.stdout.count("from the stage True"), 2)
        self.assertEqual(self.names(), [name])
        self.dlcache("unstage", os.path.join(self.parent, name))

    def test_a_wrapper_passes_it_on(self):
        result = self.ranks_of(2, "sh", "-c", 'true; ls / >/dev/null; exec "$0" -c "$1" "$2"', PYTHON, GONE, self.src)
        self.assertEqual((result.stdout.count("from the stage True"), result.stderr), (2, ""))

    def test_ranks_that_do_not_come(self):
        for other in ("exec sleep 60", "exit 0"):
            script = '[ $PMI_RANK = 1 ] && %s; exec "$0" -c pass' % other
            result = self.ranks_of(3, "sh", "-c", script, PYTHON, status=None, DLCACHE_WAIT=1)
            self.assertNotEqual(result.returncode, 0)
            self.assertEqual(result.stderr.count("dlcache: one step: after 1 s (DLCACHE_WAIT) not every rank has come"), 1,
                             result.stderr)


class Natively(OneStepCase):
    """One line, and the program runs as without."""

    SCRIPT = "import os; print('runs', os.environ.get('DLCACHE_STAGE'))"

    def check(self, why, *command, **kw):
        result = self.ranks_of(2, *(command or (PYTHON, "-c", self.SCRIPT)), **kw)
        self.assertEqual(result.stdout, "runs None\n" * 2)
        self.assertRegex(result.stderr, r"\Adlcache: (\d+: )?one step: .*%s.*; the program goes on natively\n\Z" % re.escape(why))
        self.assertEqual(self.names(), [])

    def test_what_cannot_be_staged(self):
        self.check("there is no place for a stage: /nowhere: No such file or directory", DLCACHE_DIR="/nowhere")

    def test_a_manifest_that_is_none(self):
        self.check("none.json: it cannot be read", manifest=self.path("none.json"))
        self.check('x.json: it does not name its program ("interpreter")', manifest=self.write("x.json", "x\n"))
        self.check("it is of another Python", manifest=self.pilot(["/bin/true"], "true.json"))

    def test_a_damaged_manifest(self):
        with open(self.manifest) as f:
            text = f.read()
        self.check("damaged.json", manifest=self.write("damaged.json", text[:-20]))

    def test_a_wrapper_that_stays(self):
        self.check("has not started this process itself, but one that started it: let that one exec it",
                   "sh", "-c", '"$0" -c "$1"; :', PYTHON, self.SCRIPT)

    def test_the_mpiexec_of_another_mpi(self):
        self.check("Open MPI's mpiexec has started this",
                   mpiexec=["mpiexec.openmpi", "--allow-run-as-root", "--oversubscribe"])

    def test_a_program_of_another_mpi(self):
        program, manifest = self.compiled(["mpicc.openmpi"])
        result = self.ranks_of(2, program, self.src + "/data", manifest=manifest)
        self.assertEqual(sorted(result.stdout.splitlines())[2:], ["rank 0 of 1 sum 1 provided -1"] * 2)
        self.assertEqual(result.stderr, "dlcache: one step: the program is linked with another MPI than dlcache; the program "
                                        "goes on natively\n")

    def test_no_rank_stages(self):
        env = environment(LD_PRELOAD=LIBRARY, DLCACHE_MANIFEST=self.manifest, DLCACHE_DIR=self.place)
        result = self.run_command([PYTHON, "-c", self.SCRIPT], env=env)
        self.assertEqual((result.stdout, result.stderr, self.names()), ("runs None\n", "", []))

    def test_switched_off(self):
        result = self.ranks_of(2, PYTHON, "-c", self.SCRIPT, DLCACHE_DISABLE=1)
        self.assertEqual((result.stdout, result.stderr), ("runs None\n" * 2, ""))


@unittest.skipUnless(has_sessions(), "this MPI has no sessions")
class Slurm(LabCase):
    """Two nodes, two tasks each."""

    def setUp(self):
        super().setUp()
        self.file("late.py", "TEXT = 'from the stage'\n")
        self.json = self.path("app.json")
        self.record(self.json, [PYTHON, "-c", "import sys; sys.path.insert(0, %r); import late" % self.src],
                    include=[self.src])

    def step(self, command, options="", manifest=None, more=""):
        return self.job(2, "-N2 --ntasks-per-node=2", "srun %s --export=ALL,LD_PRELOAD=%s,DLCACHE_MANIFEST=%s%s %s\n"
                        "echo status $?\n%s" % (options, LIBRARY, manifest or self.json, more, command, LEFT))

    def check_left_nothing(self, out):
        self.assertEqual(sorted(l for l in out.splitlines() if l.startswith("left")), ["left node1", "left node2"])

    def test_python_on_two_nodes(self):
        script = self.write("gone.py", GONE)
        _, out, err = self.step("%s %s %s" % (PYTHON, script, self.src), more=",DLCACHE_LOG=1")
        self.assertIn("status 0\n", out, err)
        self.assertEqual(out.count("from the stage True /dev/shm/dlcache-%d/1." % os.getuid()), 4, out)
        self.assertRegex(err, r"dlcache: staged 2 files, 0\.0 MB, \d+ names on 2 nodes in")
        self.check_left_nothing(out)

    def test_a_program_with_mpi(self):
        source = self.write("program.c", MPI_PROGRAM)
        program = os.path.join(self.src, "program")
        self.run_command([*MPICC, source, "-o", program])
        self.file("data", "x")
        manifest = self.path("program.json")
        self.record(manifest, [program, self.src + "/data"], include=[self.src])
        _, out, err = self.step("%s %s/data thread" % (program, self.src), manifest=manifest)
        self.assertEqual(sorted(out.splitlines())[:4], ["after 0"] * 4, out + err)
        self.assertEqual([n for n in range(4) if "rank %d of 4 sum 4 provided 3\n" % n in out], [0, 1, 2, 3])
        self.assertIn("status 0\n", out)
        self.check_left_nothing(out)

    def test_tasks_without_mpi(self):
        _, out, err = self.step("%s -c 'print(1)'" % PYTHON, "--mpi=none")
        self.assertEqual(out.splitlines()[:5], ["1"] * 4 + ["status 0"])
        self.assertEqual(err.count("this is one of 4 tasks, but MPI takes it for the only one: under srun, give the option "
                                   "--mpi that fits this MPI (srun --mpi=pmi2 for MPICH); the program goes on natively\n"), 1)
        self.check_left_nothing(out)

    def test_a_task_that_dies_does_not_keep_the_others(self):
        script = self.write("die.py", "import os\nif os.environ['SLURM_PROCID'] == '1': os.kill(os.getpid(), 9)\nprint('end')\n")
        _, out, err = self.step("%s %s" % (PYTHON, script))
        self.assertEqual(out.splitlines()[:4], ["end"] * 3 + ["status 137"], err)
        left = sorted(l for l in out.splitlines() if l.startswith("left"))
        self.assertRegex(left[0], r"^left node1 /dev/shm/dlcache-\d+/1\.")  # an epilog's to remove
        self.assertEqual(left[1], "left node2")
