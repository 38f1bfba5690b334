"""Random calls on random trees, from a seed: natively on one copy, served on another; every line must be the same.

More of it, by hand or in `make check-long`: DIFFER_CALLS=1000000 (in all) DIFFER_SEED=1000 (the first)."""
import os
import subprocess
import unittest

from harness import BUILD, DLCACHE, MPIEXEC, PROGS, Case, environment

DIFFER = os.path.join(PROGS, "differ")
CALLS = int(os.environ.get("DIFFER_CALLS", "60000"))
FIRST = int(os.environ.get("DIFFER_SEED", "1"))
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


class Differ(Case):
    USER = []

    def setUp(self):
        super().setUp()
        # "native" and "served" are of the same length: links and their sizes are equal.
        for name in ("native", "served"):
            os.mkdir(self.path(name))
        for path in (self.tmp, self.place, self.path("native"), self.path("served")):
            os.chmod(path, 0o755)
            if self.USER:
                os.chown(path, 65534, 65534)

    def run_as(self, argv, **kw):
        return self.run_command(self.USER + argv, cwd="/", **kw)

    def trees(self, seeds):
        """Both copies of the seeds' trees, all of them in one stage: its directory."""
        for side in ("native", "served"):
            for seed in seeds:
                self.run_as([DIFFER, "-t", str(seed), self.path(side, str(seed), "t")])
        manifest = self.path("m.json")
        served = self.path("served")
        self.run_as([DLCACHE, "record", "-o", manifest, "--include", served, "--", DIFFER, "-p", served])
        result = self.run_as([MPIEXEC, "-n", "1", DLCACHE, "stage", "--dir", self.place, manifest])
        return result.stdout.strip()

    def lines(self, run, side, seed, count, *options):
        argv = [DIFFER, *options, str(seed), str(count), self.path(side, str(seed), "t")]
        # A sequence in which a call hangs says so by its last line.
        result = self.run_as(run + argv, timeout=60 + count // 500)
        return result.stdout.split("\n")

    def compare(self, d, seed, count, *options):
        native = self.lines([], "native", seed, count, *options)
        served = self.lines([d + "/run"], "served", seed, count, *options)
        self.assertGreater(len(native), count)
        if native == served:
            return
        at = next(i for i, (a, b) in enumerate(zip(native + [""], served + [""])) if a != b)
        here = [lines[at] if at < len(lines) else "(end)" for lines in (native, served)]
        self.fail("seed %d, differ %s: after\n%s\nnatively:\n%s\nserved:\n%s" % (
            seed, " ".join(options), "\n".join(native[max(0, at - 12):at]), *here))

    def sequences(self, share, length, *options):
        """That share of all calls, in sequences of that length, each on a tree of its own."""
        seeds = range(FIRST, FIRST + max(1, round(CALLS * share / length)))
        for start in range(0, len(seeds), 20):
            some = seeds[start:start + 20]
            d = self.trees(some)
            for seed in some:
                with self.subTest(seed=seed, options=options):
                    self.compare(d, seed, length, *options)
            for path in (self.path("native"), self.path("served")):
                subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
                subprocess.run(["find", path, "-mindepth", "1", "-delete"], check=True)
            self.run_as([DLCACHE, "unstage", d])

    def test_reading(self):
        self.sequences(0.25, 5000)

    def test_writing(self):
        self.sequences(0.25, 1500, "-w")

    def test_reading_costs_few_calls_on_the_original(self):
        d = self.trees([FIRST])
        counts = []
        for run, side in ([], "native"), ([d + "/run"], "served"):
            root = self.path(side, str(FIRST), "t")
            argv = self.USER + run + [DIFFER, "-g", str(FIRST), "3000", root]
            _, lines = self.strace(argv)
            counts.append(len([line for line in self.touching(lines, root)
                               if not line.startswith(("execve", "getcwd", "chdir"))]))
        self.assertGreater(counts[0], 2000)
        self.assertLess(counts[1], counts[0] * 0.45, counts)

    def test_writing_and_reading_at_once(self):
        d = self.trees([FIRST])
        for run, side in ([], "native"), ([d + "/run"], "served"):
            argv = [DIFFER, "-r", str(FIRST), str(max(20, min(2000, CALLS // 600))), self.path(side, str(FIRST), "t")]
            result = self.run_as(run + argv, status=None, timeout=600)
            self.assertEqual(result.stdout.split(",")[1:], [" 0 wrong\n"], result.stdout + result.stderr)
            self.assertEqual(result.returncode, 0)


@unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
class DifferAsSomebodyElse(Differ):
    """To root nothing is unreadable."""
    USER = NOBODY


if __name__ == "__main__":
    unittest.main()
