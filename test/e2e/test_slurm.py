"""A real Slurm of several nodes (test/lab/lab): what a batch script writes, and how the stager starts itself."""
import os
import re
import shlex

from harness import BUILD, DLCACHE, TOP, environment
from staging import StageCase

LAB = os.path.join(TOP, "test", "lab", "lab")
SHARED = "/media/shared"
# Said of each node at the end: what is left in its memory.
LEFT = "srun --overlap -N $SLURM_JOB_NUM_NODES -n $SLURM_JOB_NUM_NODES --ntasks-per-node=1 --mem=0 " \
       "sh -c 'echo left $(hostname) $(find /dev/shm -mindepth 2)'"


class LabCase(StageCase):
    def lab(self, nodes, script, status=0, env=None):
        """Runs a shell script on the login node of a lab."""
        full = environment(PATH="%s:%s" % (BUILD, os.environ["PATH"]), **(env or {}))
        return self.run_command([LAB, "with", str(nodes), "--", "sh", "-c", script], env=full, status=status)

    def job(self, nodes, options, script, env=None):
        """A batch job of its own lab: (exit status of the job, standard output, standard error)."""
        path = self.write("job.sh", "#!/bin/bash\n%s\n" % script, 0o755)
        out = self.lab(nodes, "sbatch -W -Q %s -o %s/out -e %s/err %s; echo status $?; cat %s/out; echo ====; cat %s/err" %
                       (options, SHARED, SHARED, path, SHARED, SHARED), env=env).stdout
        head, err = out.split("====\n")
        status, _, text = head.partition("\n")
        return int(status.split()[1]), text, err

    def app(self):
        self.data = self.file("sw/data", "the data\n")
        return self.manifest([self.data])


class Slurm(LabCase):
    def production(self, more=""):
        """A script that stages, runs two tasks a node, and cleans up."""
        return "\n".join([
            "D=$(dlcache stage %s -v) || exit" % self.app(), "echo D $D",
            "srun --overlap -N $SLURM_JOB_NUM_NODES -n $((2 * SLURM_JOB_NUM_NODES)) $D/run cat %s /proc/self/maps |"
            " grep -o -e 'the data' -e 'libdlcache.so' | sort | uniq -c" % self.data,
            more, "dlcache unstage $D || exit", LEFT])

    def check_production(self, nodes, options, env=None):
        status, out, err = self.job(nodes, options, self.production(), env)
        self.assertEqual(status, 0, out + err)
        self.assertRegex(out, r"(?m)^D /dev/shm/dlcache-%d/1\.[0-9a-f]{16}$" % os.getuid())
        self.assertRegex(out, r"(?m)^ *%d the data$" % (2 * nodes))
        self.assertRegex(out, r"(?m)^ *[1-9][0-9]* libdlcache.so$")
        left = sorted(line for line in out.splitlines() if line.startswith("left"))
        self.assertEqual(left, ["left node%d" % (i + 1) for i in range(nodes)])
        self.assertIn("dlcache: stage: by way of Slurm: srun --nodes=%d --ntasks=%d " % (nodes, nodes), err)
        self.assertRegex(err, r"dlcache: staged 1 files, 0.0 MB, \d+ names on %d nodes? in" % nodes)
        return out, err

    def test_a_batch_script_stages_on_every_node(self):
        self.check_production(4, "-N4 --ntasks-per-node=2")

    def test_whatever_tasks_the_job_asked_for(self):
        self.check_production(3, "-N3 -n 12 --ntasks-per-node=4 --cpus-per-task=2 --mem-per-cpu=100")

    def test_an_exclusive_job_given_by_tasks_alone(self):
        self.check_production(2, "-n 16 --exclusive")

    def test_one_node(self):
        self.check_production(1, "-N1 -n 2")

    def test_what_the_environment_asks_of_srun_is_not_for_the_stager(self):
        more = {"SLURM_LABELIO": "1", "SLURM_STDOUTMODE": SHARED + "/elsewhere", "SLURM_CPU_BIND": "verbose"}
        exports = "".join("export %s=%s\n" % item for item in more.items())
        status, out, err = self.job(2, "-N2 --export=NONE", "export PATH=%s:$PATH\n%sD=$(dlcache stage %s) && ls $D" % (
            BUILD, exports, self.app()))
        self.assertEqual((status, out.split()), (0, ["about", "index", "lib", "root", "run", "state"]), err)

    def test_the_scripts_input_is_its_own(self):
        lines = self.file("lines", "one\ntwo\nthree\n")
        status, out, err = self.job(2, "-N2", "while read -r line; do echo $line; D=$(dlcache stage %s); done <%s" % (
            self.app(), lines))
        self.assertEqual((status, out), (0, "one\ntwo\nthree\n"), err)
        self.assertEqual(err.count("(it was there already)"), 2, err)

    def test_started_by_srun_or_mpiexec_it_is_a_rank(self):
        status, out, err = self.job(2, "-N2 -n4", "srun dlcache stage -v %s; mpiexec.mpich dlcache stage %s" % (
            2 * (self.app(),)))
        self.assertEqual(status, 0, err)
        self.assertEqual(len(out.split()), 2, out + err)
        self.assertNotIn("by way of", err)
        self.assertEqual(len(re.findall(r"staged .* on 2 nodes", err)), 2, err)

    def test_an_interactive_allocation(self):
        script = self.write("script", "D=$(dlcache stage %s) && echo $D && dlcache unstage $D && %s" % (self.app(), LEFT))
        out = self.lab(2, "salloc -Q -N2 sh %s" % script).stdout
        self.assertEqual(sorted(out.splitlines())[1:], ["left node1", "left node2"], out)

    def test_tasks_without_mpi_are_refused_and_the_option_named(self):
        status, out, err = self.job(2, "-N2", "export SLURM_MPI_TYPE=none\ndlcache stage %s; echo status $?\n%s" % (
            self.app(), LEFT))
        self.assertEqual(status, 0)
        self.assertIn("status 2", out)
        self.assertIn("this is one of 2 tasks, but MPI takes it for the only one: under srun, give the option --mpi that "
                      "fits this MPI (srun --mpi=pmi2 for MPICH)", err)
        self.assertEqual(sorted(l for l in out.splitlines() if l.startswith("left")), ["left node1", "left node2"])

    def test_a_step_of_one_task_says_so(self):
        status, out, err = self.job(2, "-N2", "srun -N1 -n1 dlcache stage %s" % self.app())
        self.assertEqual((status, len(out.split())), (0, 1), err)
        self.assertIn("warning: this step of the job has one task: it is done on this node alone", err)

    def test_a_failure_on_one_node_is_everybodys(self):
        script = "srun -N1 -n1 -w node2 sh -c 'touch /dev/shm/dlcache-0'\ndlcache stage %s; echo status $?\n%s" % (
            self.app(), LEFT)
        status, out, err = self.job(2, "-N2", script)
        self.assertIn("status 1", out)
        self.assertIn("/dev/shm/dlcache-0 is not a directory (on node2)", err)
        self.assertEqual(sorted(l for l in out.splitlines() if l.startswith("left")), ["left node1", "left node2"])


class Killed(LabCase):
    """A rank that is killed half-way: all end, soon, and nothing is left that looks like a stage."""

    def test_a_rank_that_is_killed(self):
        manifest = self.manifest([self.sparse("big", 3000)])
        # The killer sits on node2: as soon as something is being laid down there.
        killer = self.write("killer", """until [ -n "$(ls -d /dev/shm/dlcache-*/.*/root/var 2>/dev/null)" ]; do :; done
            for pid in $(pgrep -f 'dlcache-stage .*m.json'); do
                [ "$(readlink /proc/$pid/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ] && kill -KILL $pid
            done; echo killed""")
        status, out, err = self.job(2, "-N2", "srun --overlap -N1 -n1 -w node2 sh %s & sleep 1; SECONDS=0; "
                                    "D=$(dlcache stage %s); echo status $? D $D; [ $SECONDS -lt 30 ] && echo soon; wait; "
                                    "srun -N2 -n2 sh -c 'find /dev/shm -name index'" % (killer, manifest))
        self.assertIn("killed", out)
        self.assertRegex(out, r"(?m)^status [1-9][0-9]* D$")
        self.assertIn("soon", out)
        self.assertNotIn("index", out)


class Sbcast(LabCase):
    """Slurm's own broadcast of a packed image."""

    def image(self):
        manifest = self.app()
        image = self.path("image")
        self.dlcache("pack", "-o", image, manifest)
        return image

    def test_an_image_by_sbcast(self):
        status, out, err = self.job(3, "-N3", """D=$(dlcache stage -v --sbcast %s) || exit
            srun $D/run sh -c 'cat %s; grep -c libdlcache.so /proc/self/maps' | sort | uniq -c | grep -c . ; ls -A /dev/shm
            dlcache unstage $D; %s""" % (self.image(), self.data, LEFT))
        self.assertEqual(status, 0, out + err)
        self.assertEqual(out.splitlines()[:2], ["2", "dlcache-%d" % os.getuid()], out)
        self.assertEqual(sorted(l for l in out.splitlines() if l.startswith("left")), ["left node%d" % n for n in (1, 2, 3)])
        self.assertIn("dlcache: stage: sbcast ", err)
        self.assertRegex(err, r"dlcache: staged 1 files, 0\.0 MB, \d+ names on 3 nodes by sbcast in")

    def test_what_changed_since_it_was_packed_is_refused(self):
        image = self.image()
        self.file("sw/data", "changed\n")
        status, out, err = self.job(2, "-N2", "dlcache stage --sbcast %s; echo status $?; "
                                    "D=$(dlcache stage --sbcast --no-check %s); srun -N1 $D/run cat %s; %s" % (
                                        image, image, self.data, LEFT))
        self.assertIn("status 2", out)
        self.assertIn("warning: %s has other contents now" % self.data, err)
        self.assertIn("pack it anew, or give --no-check", err)
        self.assertIn("the data", out)

    def test_one_node_without_room(self):
        status, out, err = self.job(2, "-N2", "srun -N1 -n1 -w node2 touch /dev/shm/dlcache-0; "
                                    "dlcache stage --sbcast %s; echo status $?; srun ls -A /dev/shm" % self.image())
        self.assertIn("status 1", out)
        self.assertIn("/dev/shm/dlcache-0 is not a directory", err)
        self.assertEqual(out.split("status 1\n")[1], "dlcache-0\n", out)

    def test_only_in_a_jobs_script(self):
        result = self.dlcache("stage", "--sbcast", self.image(), status=2)
        self.assertIn("--sbcast is for a Slurm job's script", result.stderr)


class Stale(LabCase):
    """Stages whose job ended without removing them."""

    def test_an_epilog_removes_what_a_cancelled_job_left(self):
        epilog = self.write("epilog.sh", "#!/bin/sh\nexec %s unstage --stale 2>>%s/epilog.$(hostname)\n" % (
            DLCACHE, SHARED), 0o755)
        job = self.write("job.sh", "#!/bin/bash\ndlcache stage %s && touch %s/staged && sleep 1000\n" % (self.app(), SHARED),
                         0o755)
        out = self.lab(2, """
            sbatch -Q -N2 -o /dev/null -e /dev/null %s
            until [ -e %s/staged ]; do sleep 0.1; done
            echo while $(srun -Q -N2 sh -c 'echo $(ls /dev/shm/dlcache-*)')
            scancel 1; until [ -z "$(squeue -h -j 1 2>/dev/null)" ]; do sleep 0.1; done
            echo after $(srun -Q -N2 sh -c 'ls -A /dev/shm')
            cat %s/epilog.node*""" % (job, SHARED, SHARED), env={"LAB_EPILOG": epilog}).stdout
        self.assertRegex(out, r"(?m)^while 1\.[0-9a-f]{16} 1\.[0-9a-f]{16}$")
        self.assertRegex(out, r"(?m)^after$")
        self.assertEqual(out.count("dlcache: 1 stage removed"), 2, out)

    def test_slurm_is_asked_whether_a_job_is_over(self):
        job = self.write("job.sh", "#!/bin/bash\ndlcache stage %s && touch %s/staged.$SLURM_JOB_ID && $1\n" % (
            self.app(), SHARED), 0o755)
        out = self.lab(1, """
            sbatch -Q -W -N1 -o /dev/null -e /dev/null %s true
            sbatch -Q -N1 -o /dev/null -e /dev/null %s 'sleep 1000'
            until [ -e %s/staged.2 ]; do sleep 0.1; done
            srun -Q -N1 sh -c 'ls /dev/shm/dlcache-*; dlcache unstage --stale; ls /dev/shm/dlcache-*' 2>&1
            scancel 2""" % (job, job, SHARED)).stdout.splitlines()
        self.assertEqual(sorted(n.partition(".")[0] for n in out), ["1", "2", "2", "dlcache: 1 stage removed"], out)


class Hosts(StageCase):
    def test_a_file_of_hosts(self):
        hosts = self.write("hosts", "localhost:4\n# a comment\nlocalhost\n")
        result = self.dlcache("stage", "-v", "--hosts", hosts, "--dir", self.place, self.manifest([self.file("a", "a")]))
        self.assertIn("by way of a file of hosts: %s -f %s -n 1 -ppn 1 " % ("mpiexec.mpich", shlex.quote(hosts)),
                      result.stderr)
        self.assertTrue(os.path.isfile(result.stdout.strip() + "/index"))

    def test_the_hosts_of_other_managers(self):
        hosts = self.write("hosts", "localhost\nlocalhost\n")
        manifest = self.manifest([self.file("a", "a")])
        for manager, env in (("PBS", {"PBS_JOBID": "7.x", "PBS_NODEFILE": hosts, "PBS_ENVIRONMENT": "PBS_BATCH"}),
                             ("LSF", {"LSB_JOBID": "7", "LSB_DJOB_HOSTFILE": hosts})):
            result = self.dlcache("stage", "-v", "--dir", self.place, manifest, env=environment(**env))
            self.assertIn("by way of %s: mpiexec.mpich -n 1 -ppn 1 " % manager, result.stderr)
            self.assertRegex(result.stdout, r"/7(_x)?\.[0-9a-f]{16}$")
            self.dlcache("unstage", result.stdout.strip(), env=environment(**env))
            self.assertEqual(self.names(), [])

    def test_the_scripts_input_is_its_own(self):
        hosts = self.write("hosts", "localhost\n")
        script = self.write("script", "while read -r line; do echo $line; \"$@\" >/dev/null; done")
        lines = self.write("lines", "one\ntwo\nthree\n")
        result = self.run_command(["sh", "-c", "exec sh \"$@\" <%s" % lines, "sh", script,
                                   *self.command(self.manifest([self.file("a", "a")]), args=("--hosts", hosts))])
        self.assertEqual(result.stdout, "one\ntwo\nthree\n")

    def test_what_cannot_be_started_is_refused(self):
        manifest = self.manifest([self.file("a", "a")])
        jobs = [
            ({"SLURM_JOB_ID": "1", "SLURM_HET_SIZE": "2"}, "in a heterogeneous job, start it with srun --het-group"),
            ({"SLURM_JOB_ID": "1"}, "SLURM_JOB_NUM_NODES"),
            ({"PBS_JOBID": "1", "PBS_NODEFILE": "/nowhere/x"}, "/nowhere/x, which PBS_NODEFILE names, cannot be read"),
            ({"FLUX_URI": "local:///nowhere/x"}, "Flux does not tell how many nodes there are: start it with flux run"),
        ]
        for env, message in jobs:
            result = self.dlcache("stage", "--dir", self.place, manifest, env=environment(**env), status=2)
            self.assertIn(message, result.stderr)
            self.assertEqual(result.stdout, "")
        result = self.dlcache("stage", "--hosts", self.path("none"), manifest, status=2)
        self.assertIn("no host can be read from it", result.stderr)

    def test_in_an_epilog_nothing_is_started(self):
        env = environment(SLURM_JOB_ID="1", SLURM_JOB_NUM_NODES="2", SLURM_SCRIPT_CONTEXT="epilog_slurmd")
        result = self.dlcache("unstage", "-v", self.parent + "/1.0", env=env, status=1)
        self.assertIn("it runs here", result.stderr)


class Lab(StageCase):
    def below(self, top):
        """{pid: command} of all that descends from a process."""
        parents, names = {}, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as f:
                    name, _, rest = f.read().partition("(")[2].rpartition(")")
            except OSError:
                continue
            parents[int(pid)], names[int(pid)] = int(rest.split()[1]), name
        found, more = {}, {top}
        while more:
            more = {pid for pid, parent in parents.items() if parent in more}
            found.update((pid, names[pid]) for pid in more)
        return found

    def test_nothing_outlives_a_lab_that_is_killed(self):
        lab = self.start([LAB, "with", "2", "--", "sh", "-c", "sleep 1000 & echo up; wait"])
        self.assertEqual(lab.stdout.readline(), "up\n")
        alive = self.below(lab.pid)
        for name in ("slurmctld", "slurmd", "munged"):
            self.assertIn(name, alive.values())
        lab.kill()
        self.until(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in alive))
        self.assertFalse(os.path.exists(SHARED))
