"""The rules inside the user's process: no heap, no lock, no descriptor; errno; signals, threads, fork, vfork."""
import os

from harness import PROGS, Case


class Rules(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        self.write("tree/f", "contents of f\n")
        self.write("tree/b/g", "contents of g\n")
        os.symlink("f", self.root + "/to-f")
        self.program = [PROGS + "/rules", self.root]

    def test_the_same_natively_recorded_and_served(self):
        native = self.run_command(self.program)
        self.assertEqual(native.stdout.splitlines()[-2], "done")
        manifest = self.path("m.json")
        recorded = self.record(manifest, self.program, include=[self.root])
        self.assertEqual(recorded.stdout, native.stdout)
        d = self.stage(manifest)
        served = self.run_command([d + "/run", *self.program])
        self.assertEqual((served.stdout, served.stderr), (native.stdout, ""))
        _, lines = self.strace([d + "/run", *self.program])
        # It was served, not passed on: only what asks for a current directory, or changes it, names the tree itself; and
        # ".." leads out of it.
        names = [line for line in lines if '"%s/' % self.root in line and not line.startswith(("chdir", "getcwd"))
                 and '/.."' not in line]
        self.assertEqual(names, [])
