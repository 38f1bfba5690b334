"""dlcache doctor: what is wrong with a machine, and what to look at in a manifest."""
import os
import re

from harness import DLCACHE, PYTHON, Case


class Doctor(Case):
    def test_this_machine(self):
        out = self.dlcache("doctor").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in out], ["ok"] * 7, out)
        for word in ("libdlcache.so", "libdlcache-audit.so", "dlcache-run", "dlcache-stage", "dlcache-mpi.so", "glibc",
                     "/dev/shm"):
            self.assertEqual(sum(word in line for line in out), 1, word)

    def test_a_place_that_is_none(self):
        said = self.dlcache("doctor", "--dir", self.place + ":" + self.path("none"), status=1)
        self.assertRegex(said.stdout, r"(?m)^ok +%s: [0-9.]+ GB free$" % re.escape(self.place))
        self.assertRegex(said.stdout, r"(?m)^WRONG +%s: No such file or directory$" % re.escape(self.path("none")))

    def test_noexec(self):
        script = 'mount -t tmpfs -o noexec none "$1"; "$0" doctor --dir "$1"'
        said = self.run_command(["unshare", "-m", "sh", "-c", script, DLCACHE, self.place], status=1)
        self.assertIn("mounted noexec", said.stdout)

    def test_a_manifest(self):
        source = self.write("static.c", "int main(void) { return 0; }\n")
        self.write("tree/data", "x") # well before the pilot, which else would seem to have made it
        self.run_command(["cc", "-static", "-o", self.path("tree", "alone"), source])
        code = ("import os, subprocess, sys; r = sys.argv[1]; open(r + '/data').close(); "
                "os.mkdir(r + '/out') if not os.path.exists(r + '/out') else 0; open(r + '/out/log', 'w').close(); "
                "os.stat(r + '/alone'); subprocess.run([r + '/alone'])")
        manifest = self.path("m.json")
        self.record(manifest, [PYTHON, "-c", code, self.path("tree")], include=[self.path("tree")])
        os.unlink(self.path("tree", "data"))
        out = self.dlcache("doctor", manifest).stdout
        self.assertRegex(out, r"(?m)^look  statically linked.*\n +%s/alone$" % self.path("tree"))
        self.assertRegex(out, r"(?m)^look  written in by the pilot.*\n(?: .*\n)* +%s/out$" % self.path("tree"))
        self.assertRegex(out, r"(?m)^look  in the manifest, and gone\n +%s/data$" % self.path("tree"))
        self.assertEqual(self.dlcache("doctor", self.path("none.json"), status=2).stdout, "")
