"""Recording where things go wrong: killed programs, full disks, crowds, and children that are somebody or somewhere else."""
import json
import os
import random

from harness import PROGS, PYTHON, Case, environment

# Notes names without end; says after each hundred how far it is.
ENDLESS = """\
import os, sys
for i in range(10000000):
    try:
        os.stat("%s/none-%07d" % (sys.argv[1], i))
    except OSError:
        pass
    if i % 100 == 99:
        os.write(1, b"%d\\n" % i)
"""


class Trouble(Case):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        self.spool = self.path("spool")
        os.mkdir(self.tree)
        os.mkdir(self.spool)
        self.manifest = self.path("m.json")

    def pilot(self, *command, status=0, env=None, spool=None, **kw):
        out = self.dlcache("record", "-o", self.manifest, "--spool", spool or self.spool, "--include", self.tree, "--",
                           *command, status=status, env=env, **kw)
        self.assertEqual(os.listdir(spool or self.spool), [])
        return out, self.entries()

    def entries(self):
        with open(self.manifest, encoding="utf-8") as f:
            self.head = json.load(f)
        return {e["path"][len(self.tree) + 1:]: e for e in self.head["entries"] if e["path"].startswith(self.tree + "/")}

    def test_killed_at_any_moment(self):
        """What a program was told is in the manifest, to the last name, whenever it is killed."""
        seed = int(os.environ.get("SEED", "20"))
        chance = random.Random(seed)
        for round_ in range(25):
            killer = ("import os, signal, subprocess, sys\np = subprocess.Popen([sys.executable, '-S', '-c', sys.argv[2], "
                      "sys.argv[1]], stdout=subprocess.PIPE, bufsize=0)\nwant = int(sys.argv[3])\ngot = b''\n"
                      "while len(got) < want:\n    got += p.stdout.read(want - len(got))\np.kill()\n"
                      "got += p.stdout.read()\np.wait()\nprint(got.decode().split()[-1])")
            out, entries = self.pilot(PYTHON, "-S", "-c", killer, self.tree, ENDLESS, str(chance.randrange(20, 1500)))
            told = int(out.stdout)
            with self.subTest(seed=seed, round=round_, told=told):
                for i in range(told + 1):
                    self.assertEqual(entries["none-%07d" % i]["kind"], "absent")
                # Of what came later a prefix: nothing is noted that was not asked, and no gap.
                last = max(int(n[5:]) for n in entries if n.startswith("none-"))
                self.assertEqual(len([n for n in entries if n.startswith("none-")]), last + 1)
                self.assertNotIn("damaged", out.stderr)
                self.assertNotIn("lost", out.stderr)

    def test_the_command_is_killed(self):
        out, entries = self.pilot(PYTHON, "-S", "-c", "import os, signal\n" + ENDLESS.replace(
            "os.write(1, b\"%d\\n\" % i)", "os.kill(os.getpid(), signal.SIGKILL)"), self.tree, status=137)
        self.assertEqual(len(entries), 100, out.stderr)
        self.assertEqual(self.head["exit_status"], 137)

    def test_a_full_spool(self):
        """The program goes on; what was noted until then is kept; and it is said how much is lost."""
        small = self.path("small")
        os.mkdir(small)
        self.run_command(["mount", "-t", "tmpfs", "-o", "size=1200k", "none", small])
        try:
            code = ENDLESS.replace("range(10000000)", "range(30000)")
            out, entries = self.pilot(PYTHON, "-S", "-c", code, self.tree, spool=small)
        finally:
            self.run_command(["umount", small])
        self.assertEqual(out.stdout.split()[-1], "29999")
        names = sorted(n for n in entries if n.startswith("none-"))
        self.assertGreater(len(names), 1000)
        self.assertEqual(names[-1], "none-%07d" % (len(names) - 1))
        self.assertIn("dlcache: %d notes were lost: there was no room for them (see --spool)\n" % (30000 - len(names)),
                      out.stderr)

    def test_a_spool_that_cannot_allocate(self):
        """File systems without fallocate: NFSv3, old Lustre; here ext2. All is noted there, too; by a crowd that grows one
        file at once; and where it is full, the program goes on."""
        image, small = self.path("image"), self.path("small")
        os.mkdir(small)
        with open(image, "wb") as f:
            f.truncate(8 << 20)
        self.run_command(["mkfs.ext2", "-q", "-m", "0", image])
        self.run_command(["mount", "-o", "loop", image, small])
        try:
            os.rmdir(small + "/lost+found")
            crowd = ("import os, sys\nfor k in range(8):\n    if os.fork() == 0:\n        for i in range(1500):\n"
                     "            os.path.exists(sys.argv[1] + '/none-%d-%04d' % (k, i))\n        os._exit(0)\n"
                     "print(sum(os.wait()[1] for k in range(8)))")
            out, entries = self.pilot(PYTHON, "-S", "-c", crowd, self.tree, spool=small)
            self.assertEqual(out.stdout, "0\n")
            self.assertEqual(len([n for n in entries if n.startswith("none-")]), 12000, out.stderr)
            self.assertNotIn("lost", out.stderr)
            self.assertNotIn("damaged", out.stderr)
            out, entries = self.pilot(PYTHON, "-S", "-c", ENDLESS.replace("range(10000000)", "range(200000)"), self.tree,
                                      spool=small)
        finally:
            self.run_command(["umount", small])
        self.assertEqual(out.stdout.split()[-1], "199999")
        names = sorted(n for n in entries if n.startswith("none-"))
        self.assertGreater(len(names), 10000)
        self.assertEqual(names[-1], "none-%07d" % (len(names) - 1))
        self.assertIn("dlcache: %d notes were lost: there was no room for them (see --spool)\n" % (200000 - len(names)),
                      out.stderr)

    def test_a_limit_of_files_sizes(self):
        """Growing a file beyond it is a signal that ends programs: none is sent for what we write."""
        self.write("tree/data", "x")
        script = 'ulimit -f %d; "$0" -c "$1" "$2"'
        code = ("import os, sys\nfor i in range(9000):\n    os.path.exists(sys.argv[1] + '/none-%05d' % i)\n"
                "print(open(sys.argv[1] + '/data').read())")
        for blocks in 0, 1, 1000:  # of 512 bytes: no file at all; the first chunk, and not the second
            out, entries = self.pilot("/bin/sh", "-c", script % blocks, PYTHON, code, self.tree)
            self.assertEqual(out.stdout, "x\n")
            self.assertEqual(len([n for n in entries if n.startswith("none-")]) > 1000, blocks == 1000, out.stderr)

    def test_a_spool_without_room_to_begin_with(self):
        small = self.path("small")
        os.mkdir(small)
        self.run_command(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small])
        try:
            out = self.dlcache("record", "--spool", small, "--", "/bin/touch", self.path("ran"), status=2)
            self.run_command(["mount", "-o", "remount,ro", small])
            readonly = self.dlcache("record", "--", "/bin/touch", self.path("ran"), status=2, env=environment(TMPDIR=small))
        finally:
            self.run_command(["umount", small])
        self.assertIn("No space left on device", out.stderr)
        self.assertEqual(readonly.stderr, "dlcache: record: cannot note there, and the command was not run (see --spool): "
                                          "%s: Read-only file system\n" % small)
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_a_spool_that_goes_away(self):
        """Somebody cleans up while the program runs: it runs on, unharmed."""
        code = ("import os, shutil, sys\nshutil.rmtree(os.environ['DLCACHE_RECORD'])\n" +
                ENDLESS.replace("range(10000000)", "range(20000)"))
        out = self.dlcache("record", "-o", self.manifest, "--spool", self.spool, "--", PYTHON, "-c", code, self.tree,
                           status=None)
        self.assertEqual(out.stdout.split()[-1], "19999")
        self.assertEqual(out.returncode, 2)
        self.assertIn("the notes of the command cannot be read", out.stderr)

    def test_a_crowd(self):
        """Three hundred processes at once, each with a name of its own, all there before the first may go on."""
        go = self.path("go")
        os.mkfifo(go)
        code = ("import os, subprocess, sys\ntree, go = sys.argv[1:]\nready, told = os.pipe()\n"
                "ps = [subprocess.Popen(['/bin/sh', '-c', 'echo >&%d; read x <\"$1\"; test -e \"$0/p%d\"; test -e \"$0/all\"; exit 0'"
                " % (told, i), tree, go], pass_fds=[told]) for i in range(300)]\n"
                "left = 300\nwhile left:\n    left -= len(os.read(ready, left))\n"
                "with open(go, 'w') as f:\n    f.write('go\\n' * 300)\n    f.flush()\n"
                "    print(sum(p.wait() for p in ps))")
        out, entries = self.pilot(PYTHON, "-c", code, self.tree, go)
        self.assertEqual(out.stdout, "0\n")
        self.assertEqual((entries["all"]["counts"]["stat"], entries["all"]["processes"]), (300, 300))
        for i in range(300):
            self.assertEqual(entries["p%d" % i]["processes"], 1)
        self.assertEqual(self.head["processes"], 301)

    def test_children_that_close_everything(self):
        self.write("tree/data", "x")
        code = ("import os, sys\nif os.fork() == 0:\n    os.closerange(0, 65536)\n"
                "    os.stat(sys.argv[1] + '/data')\n    os.execv('/bin/sh', ['sh', '-c', 'exec <\"$0\"', sys.argv[1] + '/data'])\nos.wait()")
        _, entries = self.pilot(PYTHON, "-c", code, self.tree)
        self.assertEqual(entries["data"]["counts"], {"stat": 1, "open": 1})

    def test_children_made_in_other_ways(self):
        """By calls that no handler sees, and left by those that clean up."""
        for way in ("vfork", "vfork-exec", "posix_spawn", "clone", "daemon", "close_range", "clearenv"):
            with self.subTest(way=way):
                self.write("tree/" + way, "x")
                out, entries = self.pilot(os.path.join(PROGS, "children"), way, self.tree)
                self.assertEqual(out.stdout, "looked\n")
                self.assertEqual((entries[way]["kind"], entries[way]["counts"]), ("data", {"stat": 1}))
                self.assertEqual((entries["none-" + way]["kind"], entries["none-" + way]["counts"]), ("absent", {"stat": 1}))
                self.assertNotIn("lost", out.stderr)
                self.assertNotIn("damaged", out.stderr)

    def test_another_root(self):
        """What a child sees in another root has other names outside: nothing wrong is noted of it."""
        self.write("tree/root/only-there", "x")
        self.write("tree/both", "x")
        code = ("import os, sys\ntop = sys.argv[1]\nif os.fork() == 0:\n    os.chroot(top + '/root')\n    os.chdir('/')\n"
                "    for p in '/only-there', '/none', top + '/both', 'only-there':\n        os.path.exists(p)\n"
                "    os.close(os.open('/only-there', 0))\n    os._exit(0)\nprint(os.wait()[1])\nos.path.exists(top + '/after')")
        out = self.dlcache("record", "-o", self.manifest, "--all", "--include", self.tree, "--", PYTHON, "-c", code, self.tree)
        entries = self.entries()
        self.assertEqual(out.stdout, "0\n")
        paths = {e["path"] for e in self.head["entries"]}
        self.assertEqual(paths & {"/only-there", "/none"}, set())
        self.assertNotIn("both", entries)
        self.assertNotIn("root/only-there", entries)
        self.assertEqual(entries["after"]["kind"], "absent")

    def test_a_cleared_environment(self):
        """Such children are not noted. That something was started there, their parent has noted."""
        self.write("tree/data", "x")
        out, entries = self.pilot("/usr/bin/env", "-i", "/bin/cat", self.tree + "/data")
        self.assertEqual(out.stdout, "x")
        self.assertNotIn("data", entries)
        self.assertIn("dlcache: not noted: 1 program that ran without the recorder:\ndlcache:   /usr/bin/cat\n", out.stderr)

    def test_another_user(self):
        """A child that became somebody else notes on in the file that it has; a program that it executes cannot make one
        in a directory of the first user's."""
        self.write("tree/data", "x")
        os.chmod(self.tmp, 0o755)
        code = ("import os, sys\nif os.fork() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
                "    os.stat(sys.argv[1] + '/became')\n    os._exit(0)\nos.wait()")
        _, entries = self.pilot(PYTHON, "-c", code.replace("os.stat(", "os.path.exists("), self.tree)
        self.assertEqual(entries["became"]["kind"], "absent")
        out, entries = self.pilot("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/cat",
                                  self.tree + "/data")
        self.assertEqual(out.stdout, "x")
        self.assertNotIn("data", entries)
        self.assertIn("dlcache: not noted: 1 program that ran without the recorder:\ndlcache:   /usr/bin/cat\n", out.stderr)

    def test_a_child_that_may_not_note_on(self):
        """One that needs more room than there is in the file that it shares, and may not open that: its own notes are
        lost, and none of its parent's."""
        code = ("import os, sys\ntree = sys.argv[1]\nif os.fork() == 0:\n    %s\n    for i in range(9000):\n"
                "        os.path.exists(tree + '/child-%%05d' %% i)\n    os._exit(0)\nprint(os.wait()[1])\n"
                "for i in range(9000):\n    os.path.exists(tree + '/parent-%%05d' %% i)")
        for become in "os.setgid(65534); os.setuid(65534)", "os.chdir('/proc/self'); os.chroot('fd')":
            with self.subTest(become=become):
                out, entries = self.pilot(PYTHON, "-c", code % become, self.tree)
                self.assertEqual(out.stdout, "0\n")
                self.assertEqual(len([n for n in entries if n.startswith("parent-")]), 9000, out.stderr)

    def test_other_name_spaces(self):
        self.write("tree/data", "x")
        _, entries = self.pilot("unshare", "--mount", "--pid", "--fork", "/bin/cat", self.tree + "/data")
        self.assertEqual(entries["data"]["counts"]["open"], 1)

    def test_a_child_that_outlives_the_command(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        script = '(read x <"$1"; test -e "$0/late") >/dev/null 2>&1 & exit 0'
        out, entries = self.pilot("/bin/sh", "-c", script, self.tree, fifo)
        self.assertIn("dlcache: 1 process of the command still runs: what it touches from now on\n"
                      "dlcache: is not noted\n", out.stderr)
        self.assertNotIn("late", entries)

    def test_a_static_program_that_writes(self):
        """Nobody sees what it does. Where names came or went, or contents changed, by the times, it is not frozen."""
        source = self.write("writes.c", "#include <fcntl.h>\n#include <unistd.h>\n"
                            "int main(int n, char **a) { for (int i = 1; i < n; i++) { int fd = open(a[i], O_CREAT | O_WRONLY, "
                            "0644); if (fd < 0 || write(fd, \"new\\n\", 4) != 4) return 1; close(fd); } return 0; }\n")
        static = self.path("tree/bin/writes")
        for name in "made", "changed", "quiet":
            self.write("tree/%s/old" % name, "old\n")
            os.utime(self.path("tree/%s/old" % name), (1, 1))
        os.mkdir(self.path("tree/bin"))
        self.run_command(["gcc", "-static", "-O1", "-o", static, source])
        read = "cat %s/made/old %s/changed/old %s/quiet/old" % (3 * (self.tree,))
        script = "%s %s/made/new %s/changed/old && %s" % (static, self.tree, self.tree, read)
        out, entries = self.pilot("/bin/sh", "-c", script)
        self.assertEqual(out.stdout, "old\nnew\nold\n")
        self.assertIn("dlcache: not noted: 1 program that ran without the recorder:\ndlcache:   %s\n" % static, out.stderr)
        self.assertIs(entries["made"]["volatile"], True)
        self.assertNotIn("changed/old", entries)
        # The same without one: what is as old as that is kept as it is.
        out, entries = self.pilot("/bin/sh", "-c", read)
        self.assertNotIn("volatile", str(entries))
        self.assertNotIn("not noted", out.stderr)
        self.assertEqual(entries["changed/old"]["kind"], "data")
        # Alone, as the command itself.
        out, _ = self.pilot(static, self.tree + "/quiet/more")
        self.assertIn("dlcache: no process noted anything.", out.stderr)

    def test_a_static_program_among_old_directories(self):
        """Directories that did not change are as they were: of Python's own not one is volatile."""
        source = self.write("nothing.c", "int main(void) { return 0; }\n")
        self.run_command(["gcc", "-static", "-o", self.path("nothing"), source])
        self.dlcache("record", "-o", self.manifest, "--spool", self.spool, "--include", "/usr/lib", "--", "/bin/sh", "-c",
                     '"$0" && exec "$1" -c "import json"', self.path("nothing"), PYTHON)
        self.entries()
        self.assertEqual([e["path"] for e in self.head["entries"] if "volatile" in e], [])
        self.assertGreater(len(self.head["entries"]), 20)
