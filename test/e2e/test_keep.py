"""Whose a stage is, how long it stays, and how much room all of them take."""
import os
import subprocess
import time

from harness import BUILD, environment
from staging import StageCase

NOBODY = 65534


def in_job(number, **more):
    """The environment of a task of a job."""
    return environment(SLURM_JOB_ID=number, SLURM_STEP_ID=0, **more)


def in_epilog(number):
    return environment(SLURM_JOB_ID=number, SLURM_SCRIPT_CONTEXT="epilog_slurmd")


class Keep(StageCase):
    def of_job(self, number, manifest, *args):
        result = self.run_command(self.command(manifest, args=args), env=in_job(number))
        return result.stdout.strip(), result.stderr

    def test_a_stage_is_its_jobs(self):
        manifest = self.manifest([self.file("f", "x")])
        one, _ = self.of_job(7, manifest)
        two, said = self.of_job(8, manifest)
        self.assertEqual(os.path.basename(one).partition(".")[0], "7")
        self.assertEqual(os.path.basename(two).partition(".")[0], "8")
        self.assertNotIn("already", said)
        with open(one + "/about") as f:
            self.assertRegex(f.read(), r"^job Slurm 7\nbytes [1-9][0-9]+\n$")

    def test_a_kept_one_is_the_next_jobs_too(self):
        manifest = self.manifest([self.file("f", "x")])
        one, _ = self.of_job(7, manifest, "--keep")
        self.assertRegex(os.path.basename(one), r"^[0-9a-f]{16}$")
        two, said = self.of_job(8, manifest, "--keep")
        self.assertEqual(two, one)
        self.assertIn("(it was there already)", said)
        with open(one + "/about") as f:
            self.assertRegex(f.read(), r"^bytes [1-9][0-9]+\n$")
        self.dlcache("unstage", "--stale", "--dir", self.place, env=in_epilog(7))
        self.assertEqual(self.names(), [os.path.basename(one)])

    def test_the_last_stage_takes_its_directory_along(self):
        one, _ = self.of_job(7, self.manifest([self.file("f", "x")]))
        two, _ = self.of_job(7, self.manifest([self.file("g", "y")]))
        self.dlcache("unstage", "--here", one)
        self.assertEqual(os.listdir(self.place), [os.path.basename(self.parent)])
        self.dlcache("unstage", "--here", two)
        self.assertEqual(os.listdir(self.place), [])

    def test_in_an_epilog_the_ending_jobs_stages_go(self):
        manifest = self.manifest([self.file("f", "x")])
        self.of_job(7, manifest)
        other, _ = self.of_job(77, manifest)
        kept, _ = self.of_job(7, manifest, "--keep")
        os.mkdir(self.parent + "/.interrupted.abcdef")
        result = self.dlcache("unstage", "--stale", "--dir", self.place, env=in_epilog(7))
        self.assertEqual(result.stderr, "dlcache: 2 stages removed\n")
        self.assertEqual(self.names(), sorted(map(os.path.basename, (other, kept))))

    def test_of_an_unknown_manager_nothing_is_removed(self):
        env = environment(COBALT_JOBID=7)
        d = self.run_command(self.command(self.manifest([self.file("f", "x")])), env=env).stdout.strip()
        result = self.dlcache("unstage", "--stale", "--dir", self.place)
        self.assertEqual(result.stderr, "dlcache: unstage: 1 stage left alone: whether the job is over cannot be told\n"
                                        "dlcache: 0 stages removed\n")
        self.assertTrue(os.path.isdir(d))

    def test_a_manager_that_does_not_answer_leaves_it(self):
        d, _ = self.of_job(7, self.manifest([self.file("f", "x")]))
        # There is no squeue on this PATH, or none that can reach a controller.
        result = self.dlcache("unstage", "--stale", "--dir", self.place,
                              env=environment(PATH=BUILD, SLURM_CONF="/nowhere"))
        self.assertIn("1 stage left alone", result.stderr)
        self.assertTrue(os.path.isdir(d))

    def as_nobody(self, *argv, env=None):
        os.chmod(self.tmp, 0o755)
        os.chmod(self.place, 0o1777)
        bin_ = self.path("bin")
        if not os.path.isdir(bin_):
            os.mkdir(bin_)
            for name in ("dlcache", "dlcache-stage", "dlcache-mpi.so", "dlcache-run", "libdlcache.so",
                         "libdlcache-audit.so"):
                subprocess.run(["cp", os.path.join(BUILD, name), bin_], check=True)
        user = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
        return self.run_command([*user, bin_ + "/dlcache", *argv], env=env)

    def test_an_epilog_of_root_removes_users_stages(self):
        manifest = self.manifest([self.file("f", "x")])
        for job in (7, 8):
            self.as_nobody("stage", "--dir", self.place, manifest, env=in_job(job))
        theirs = self.place + "/dlcache-%d" % NOBODY
        self.assertEqual(len(os.listdir(theirs)), 2)
        self.dlcache("unstage", "--stale", "--dir", self.place, env=in_epilog(7))
        self.assertEqual([n.partition(".")[0] for n in os.listdir(theirs)], ["8"])
        self.dlcache("unstage", "--stale", "--dir", self.place, env=in_epilog(8))
        self.assertFalse(os.path.exists(theirs))

    def test_an_epilog_of_root_follows_no_trick(self):
        treasure = self.path("treasure")
        os.makedirs(treasure + "/7.0123456789abcdef/root")
        for name in ("about", "index", "run"):
            with open(treasure + "/7.0123456789abcdef/" + name, "w") as f:
                f.write("job Slurm 7\n")
        tricks = {
            "dlcache-65534": lambda p: os.symlink(treasure, p),
            "dlcache-65533": lambda p: (os.mkdir(p, 0o700), os.chown(p, 65532, 65532),
                                        os.symlink(treasure + "/7.0123456789abcdef", p + "/7.0")),
            "dlcache-65532": lambda p: (os.mkdir(p, 0o700), os.chown(p, 65532, 65532),
                                        os.symlink(treasure + "/7.0123456789abcdef", p + "/7.0"),
                                        os.mkdir(p + "/7.1", 0o700), os.chown(p + "/7.1", 65532, 65532),
                                        os.symlink(treasure, p + "/7.1/root"),
                                        os.symlink(treasure + "/7.0123456789abcdef/about", p + "/7.1/about"),
                                        os.symlink(treasure, p + "/.left.abcdef")),
            "dlcache-0x": lambda p: os.mkdir(p), "dlcache-": lambda p: os.mkdir(p), "dlcache-1": lambda p: open(p, "w").close(),
        }
        for name, make in tricks.items():
            make(os.path.join(self.place, name))
        self.dlcache("unstage", "--stale", "--dir", self.place, env=in_epilog(7))
        self.assertEqual(sorted(os.listdir(treasure + "/7.0123456789abcdef")), ["about", "index", "root", "run"])

    def test_wrong_usage(self):
        for args in (["--all", "--stale"], ["--stale", "/x"], ["--all", "/x"], ["--dir", "/x", "/y"], ["/x", "/y"]):
            self.assertIn("either one stage, or --all, or --stale", self.dlcache("unstage", *args, status=2).stderr)


class Room(StageCase):
    SIZE = 20 << 20

    def big(self, name, job=None, keep=True, limit=None, status=0):
        manifest = self.manifest([self.file(name, os.urandom(self.SIZE))], name=name + ".json")
        args = (["--keep"] if keep else []) + (["--max-bytes", limit] if limit else [])
        result = self.run_command(self.command(manifest, args=args), env=in_job(job or 1), status=status)
        return result.stdout.strip(), result.stderr

    def test_kept_stages_give_way_the_oldest_first(self):
        a, _ = self.big("a")
        b, _ = self.big("b")
        os.utime(b, (1, 1))  # staged long ago
        self.assertEqual(len(self.names()), 2)
        c, _ = self.big("c", limit="60M")
        self.assertEqual(self.names(), sorted(map(os.path.basename, (a, c))))
        self.assertFalse(os.path.exists(b))

    def test_what_is_used_and_what_is_a_jobs_stays(self):
        mine, _ = self.big("mine", keep=False)
        used, _ = self.big("used")
        proc = self.start([used + "/run", "sleep", "100"])
        self.until(lambda: used in open("/proc/%d/maps" % proc.pid).read())
        d, said = self.big("more", limit="60M", status=1)
        self.assertEqual(d, "")
        self.assertRegex(said, r"^dlcache: stage: %s: the stage takes 2\d\.\d MB, other stages of yours [45]\d\.\d MB, and "
                               r"--max-bytes allows 60\.0 MB\n$" % self.parent)
        self.assertEqual(self.names(), sorted(map(os.path.basename, (mine, used))))
        proc.kill()
        proc.wait()
        d, _ = self.big("more", limit="60M")
        self.assertEqual(self.names(), sorted(map(os.path.basename, (mine, d))))

    def test_one_that_is_too_large_makes_nobody_go(self):
        a, _ = self.big("a")
        _, said = self.big("b", limit="2M", status=1)
        self.assertIn("--max-bytes allows 2.0 MB", said)
        self.assertEqual(self.names(), [os.path.basename(a)])

    def test_sizes(self):
        for text in ("x", "-1", "0", "", "1X", "1MM", "nan", "1e30", "inf"):
            result = self.dlcache("stage", "--max-bytes=" + text, "m", status=2)
            self.assertEqual(result.stderr, "dlcache: stage: --max-bytes %s: that is no number of bytes\n" % text)
        for text in ("40000000", "40000k", "40M", "0.04GB"):
            self.big("a" + text, limit=text)

    def test_reuse_is_a_use(self):
        a, _ = self.big("a")
        os.utime(a, (1, 1))
        manifest = self.path("a.json")
        again = self.run_command(self.command(manifest, args=["--keep"]), env=in_job(2))
        self.assertIn("already", again.stderr)
        self.assertGreater(os.stat(a).st_mtime, time.time() - 100)
