"""Recording through the real command: real programs, however they start their children and however they end."""
import json
import os
import re
import signal
import subprocess
import time

from harness import DLCACHE, MPIEXEC, PYTHON, Case, environment

# How a program may start another process, which then looks at argv[1].
WAYS = {
    "fork": "pid = os.fork()\nif pid == 0:\n    look()\n    os._exit(0)\nos.waitpid(pid, 0)",
    "thread": "import threading\nt = threading.Thread(target=look)\nt.start()\nt.join()",
    "fork in a thread": "import threading\ndef f():\n    pid = os.fork()\n    if pid == 0:\n        look()\n"
                        "        os._exit(0)\n    os.waitpid(pid, 0)\nt = threading.Thread(target=f)\nt.start()\n"
                        "t.join()",
    "subprocess": "import subprocess, sys\n"
                  "subprocess.run([sys.executable, __file__, '--look', sys.argv[1]], check=True)",
    "shell": "os.system('/bin/cat \"%s\" >/dev/null' % sys.argv[1])",
    "posix_spawn": "pid = os.posix_spawn('/bin/cat', ['cat', sys.argv[1]], os.environ)\nos.waitpid(pid, 0)",
    "exec": "os.execv('/bin/cat', ['cat', sys.argv[1]])",
    "exec chain": "os.execv('/bin/sh', ['sh', '-c', 'exec /usr/bin/env cat \"$0\"', sys.argv[1]])",
    "multiprocessing spawn": "pool('spawn')",
    "multiprocessing fork": "pool('fork')",
    "multiprocessing forkserver": "pool('forkserver')",
}
PROGRAM = """\
import os, sys
def look(path=None):
    with open(path or sys.argv[1], "rb") as f:
        f.read()
def pool(method):
    import multiprocessing
    p = multiprocessing.get_context(method).Process(target=look, args=(sys.argv[1],))
    p.start()
    p.join()
    assert p.exitcode == 0, p.exitcode
if __name__ == "__main__":
    if sys.argv[1] == "--look":
        look(sys.argv[2])
        sys.exit()
"""


def path_of(e):
    """The bytes of an entry's path."""
    if "path" in e:
        return os.fsencode(e["path"])
    return re.sub(rb"\\(x[0-9a-f]{2}|\\)", lambda m: b"\\" if m[1] == b"\\" else bytes([int(m[1][1:], 16)]),
                  e["path_escaped"].encode())


class Record(Case):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        self.spool = self.path("spool")
        os.mkdir(self.spool)
        os.mkdir(self.tree)
        self.manifest = self.path("m.json")

    def tearDown(self):
        self.assertEqual(os.listdir(self.spool), [], "something is left in the spool")

    def pilot(self, *command, status=0, env=None, extra=(), include=None, **kw):
        """Records; the result, and the entries below the tree by their paths below it."""
        args = ["record", "-o", self.manifest, "--spool", self.spool, *extra]
        for prefix in [self.tree] if include is None else include:
            args += ["--include", prefix]
        result = self.dlcache(*args, "--", *command, status=status, env=env, **kw)
        return result, self.entries()

    def entries(self):
        with open(self.manifest, encoding="utf-8") as f:
            self.head = json.load(f)
        top = os.fsencode(self.tree)
        paths = {path_of(e): e for e in self.head["entries"]}
        return {p[len(top) + 1:]: e for p, e in paths.items() if p.startswith(top + b"/") or p == top}


class Processes(Record):
    def test_however_a_process_starts(self):
        self.write("tree/data", "some data\n")
        for way, code in WAYS.items():
            with self.subTest(way=way):
                body = "".join("    %s\n" % line for line in code.split("\n"))
                program = self.write("tree/by %s.py" % way, PROGRAM + body)
                _, entries = self.pilot(PYTHON, program, self.tree + "/data")
                self.assertEqual(entries[b"data"]["kind"], "data", way)
                self.assertGreaterEqual(entries[b"data"]["counts"]["open"], 1, way)
                self.assertEqual(entries[b"data"]["processes"], 1, way)
                self.assertEqual(entries[b"by " + os.fsencode(way) + b".py"]["kind"], "module")
                # A child that executes nothing notes into its parent's file, and is counted with it.
                alone = way in ("thread", "fork", "fork in a thread", "multiprocessing fork")
                check = self.assertEqual if alone else self.assertGreaterEqual
                check(self.head["processes"], 1 if alone else 2, way)

    def test_processes_are_counted(self):
        self.write("tree/data", "x")
        script = "for i in 1 2 3; do /bin/cat %s/data; done; exec /bin/cat %s/data" % (self.tree, self.tree)
        result, entries = self.pilot("/bin/sh", "-c", script)
        self.assertEqual(result.stdout, "xxxx")
        self.assertEqual((entries[b"data"]["processes"], entries[b"data"]["counts"]["open"]), (4, 4))
        # The shell, three children, and what the shell became.
        self.assertEqual(self.head["processes"], 5)

    def test_a_killed_child_has_left_its_notes(self):
        self.write("tree/early", "x")
        code = ("import os, signal, sys\npid = os.fork()\nif pid == 0:\n    open(sys.argv[1] + '/early').close()\n"
                "    os.path.exists(sys.argv[1] + '/missing')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
                "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
        result, entries = self.pilot(PYTHON, "-c", code, self.tree)
        self.assertEqual(result.stdout, "-9\n")
        self.assertEqual(entries[b"early"]["counts"]["open"], 1)
        self.assertEqual(entries[b"missing"]["kind"], "absent")

    def test_ranks_of_mpi_are_merged(self):
        self.write("tree/both", "x")
        for rank in range(2):
            self.write("tree/rank%d" % rank, "x")
        command = 'cat "$0/both" "$0/rank$PMI_RANK"'
        _, entries = self.pilot(MPIEXEC, "-n", "2", "/bin/sh", "-c", command, self.tree)
        self.assertEqual(entries[b"both"]["processes"], 2)
        self.assertEqual(entries[b"both"]["counts"]["open"], 2)
        self.assertEqual(entries[b"both"]["ranks"], 2)
        for rank in (b"rank0", b"rank1"):
            e = entries[rank]
            self.assertEqual((e["processes"], e["ranks"], e["counts"]["open"]), (1, 1, 1))
        self.assertEqual((self.head["ranks"], self.head["hosts"]), (2, [os.uname().nodename]))
        self.assertEqual(self.head["host"], os.uname().nodename)

    def test_forked_children_of_a_rank_count_with_it(self):
        """They share their parent's file: nothing is lost of what they note at once, and they are of the same rank."""
        for name in "all", "0", "1":
            self.write("tree/" + name, "x")
        code = ("import os, sys\ntree = sys.argv[1]\nfor i in range(8):\n    if os.fork() == 0:\n"
                "        for k in range(50):\n            open(tree + '/all').close()\n"
                "            os.path.exists(tree + '/none%d-%d' % (i, k))\n"
                "        open(tree + '/' + os.environ['PMI_RANK']).close()\n        os._exit(0)\n"
                "for i in range(8):\n    assert os.wait()[1] == 0\n")
        _, entries = self.pilot(MPIEXEC, "-n", "2", PYTHON, "-c", code, self.tree)
        e = entries[b"all"]
        self.assertEqual((e["counts"]["open"], e["processes"], e["ranks"]), (800, 2, 2))
        self.assertEqual(len([p for p in entries if p.startswith(b"none")]), 400)
        for i in range(8):
            e = entries[b"none%d-49" % i]
            self.assertEqual((e["counts"]["stat"], e["processes"], e["ranks"]), (2, 2, 2))
        self.assertEqual((entries[b"0"]["counts"]["open"], entries[b"0"]["ranks"]), (8, 1))


class Status(Record):
    def test_the_exit_status_is_the_commands(self):
        for script, status in (("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137),
                               ("kill -TERM $$", 143), ("kill -SEGV $$", 139)):
            self.pilot("/bin/sh", "-c", script, status=status)
            self.assertEqual(self.head["exit_status"], status)

    def test_a_command_that_cannot_be_run(self):
        self.write("m.json", "an earlier one")
        self.write("tree/not-executable", "#!/bin/sh\n", 0o644)
        for command, status, text in (("no-such-command-at-all", 127, "command not found"),
                                      (self.tree + "/none", 127, "command not found"),
                                      (self.tree + "/not-executable", 126, "Permission denied"),
                                      (self.tree, 126, "Permission denied")):
            out = self.dlcache("record", "-o", self.manifest, "--spool", self.spool, "--", command, status=status)
            self.assertEqual(out.stderr, "dlcache: record: %s: %s\n" % (command, text))
            with open(self.manifest) as f:
                self.assertEqual(f.read(), "an earlier one")

    def test_signals_are_handed_on(self):
        code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(33))\n" \
               "print('ready', flush=True)\ntime.sleep(60)"
        proc = subprocess.Popen([DLCACHE, "record", "-o", self.manifest, "--spool", self.spool, "--", PYTHON, "-c",
                                 code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
                                start_new_session=True)
        try:
            self.assertEqual(proc.stdout.readline(), b"ready\n")
            proc.terminate()
            self.assertEqual(proc.wait(timeout=30), 33)
        finally:
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            proc.stdout.close()
            proc.wait()
        self.entries()
        self.assertEqual(self.head["exit_status"], 33)

    def refused(self, *args, text, env=None, **kw):
        ran = self.path("ran")
        out = self.dlcache("record", *args, "--", "/bin/sh", "-c", 'echo >"$0"', ran, status=2, env=env, **kw)
        self.assertEqual(out.stderr, text)
        self.assertFalse(os.path.exists(ran), "the command was run")

    def test_a_spool_that_cannot_be_written(self):
        nowhere = self.path("nowhere")
        text = "dlcache: record: cannot note there, and the command was not run (see --spool): %s: %s\n"
        self.refused("-o", self.manifest, "--spool", nowhere, text=text % (nowhere, "No such file or directory"))
        self.refused("-o", self.manifest, text=text % (nowhere, "No such file or directory"),
                     env=environment(TMPDIR=nowhere))
        self.refused("-o", self.manifest, "--spool", "/proc", text=text % ("/proc", "No such file or directory"))
        self.assertFalse(os.path.exists(self.manifest))

    def test_an_output_that_cannot_be_written(self):
        text = "dlcache: record: cannot write the manifest, and the command was not run: %s: %s\n"
        for output, why in ((self.path("no/m.json"), "No such file or directory"), (self.tree, "Is a directory"),
                            ("/proc/m.json", "No such file or directory")):
            self.refused("-o", output, "--spool", self.spool, text=text % (output, why))
        # Found out only when it is full.
        out = self.dlcache("record", "-o", "/dev/full", "--spool", self.spool, "--", "/bin/true", status=2)
        self.assertEqual(out.stderr, "dlcache: /dev/full: No space left on device\n")

    def test_wrong_usage(self):
        self.refused("--include", self.path("none"),
                     text="dlcache: record: --include %s: No such file or directory\n" % self.path("none"))
        for args, text in (([], "there is no command to run (see dlcache record --help)"),
                           (["--"], "there is no command to run (see dlcache record --help)"),
                           (["-o"], "a value is missing for the option: -o"),
                           (["--nonsense"], "unknown option (see dlcache record --help): --nonsense")):
            self.assertEqual(self.dlcache("record", *args, status=2).stderr, "dlcache: record: %s\n" % text)

    def test_the_output_of_the_command_is_its_own(self):
        result, _ = self.pilot("/bin/sh", "-c", "echo out; echo err >&2; cat; exit 3", status=3)
        self.assertEqual(result.stdout, "out\n")
        self.assertTrue(result.stderr.startswith("err\ndlcache: %s: " % self.manifest), result.stderr)
        out = self.dlcache("record", "-o", "-", "--spool", self.spool, "--", "/bin/true")
        self.assertEqual(json.loads(out.stdout)["command"], ["/bin/true"])


class Paths(Record):
    def test_what_was_looked_for_in_vain(self):
        self.write("tree/file", "x")
        code = ("import os, sys\nos.chdir(sys.argv[1])\n"
                "for p in 'none', 'none/below', 'file/below', './sub/../none2', 'file':\n    os.path.exists(p)\n"
                "os.access('none3', os.R_OK)\n"
                "try:\n    open('none4')\nexcept OSError:\n    pass")
        _, entries = self.pilot(PYTHON, "-c", code, self.tree)
        for name in (b"none", b"none3", b"none4"):
            self.assertEqual(entries[name]["kind"], "absent", name)
            self.assertNotIn("size", entries[name])
        self.assertEqual(entries[b"none"]["counts"], {"stat": 1})
        self.assertEqual(entries[b"none4"]["counts"], {"open": 1})
        self.assertEqual(entries[b"file"]["kind"], "data")
        self.assertNotIn("xxh3_128", entries[b"file"], "what was only looked at is not read")

    def test_what_is_not_there_is_not_looked_at_again_one_by_one(self):
        """Of names that were looked for in vain, by the hundred, their directory's list tells; what came meanwhile, or
        was there all the time, is seen."""
        os.makedirs(self.tree + "/lib")
        self.write("tree/lib/there", "x")
        code = ("import os, sys\nos.chdir(sys.argv[1])\n"
                "for i in range(300): os.path.exists(sys.argv[1] + '/lib/none%d' % i)\n"
                "open('lib/there').close()\nos.system('touch lib/none7')\n")
        collected = self.path("collected.json")
        env = environment(DLCACHE_RECORD=self.spool, LD_PRELOAD=os.path.dirname(DLCACHE) + "/libdlcache.so")
        self.run_command([PYTHON, "-S", "-c", code, self.tree], env=env)
        _, lines = self.strace([DLCACHE, "collect", self.spool, "-o", collected, "--include", self.tree])
        self.assertLess(len(self.touching(lines, self.tree + "/lib/none")), 40)
        for name in os.listdir(self.spool):
            os.unlink(os.path.join(self.spool, name))
        os.rename(collected, self.manifest)
        entries = self.entries()
        self.assertEqual({n for n in entries if n.startswith(b"lib/none")},
                         {b"lib/none%d" % i for i in range(300) if i != 7})
        self.assertEqual({e["kind"] for n, e in entries.items() if n.startswith(b"lib/none")}, {"absent"})
        self.assertEqual(entries[b"lib/there"]["kind"], "data")
        self.assertTrue(entries[b"lib"]["volatile"])

    def test_relative_paths_and_other_directories(self):
        self.write("tree/a/b/file", "x")
        self.write("tree/a/other", "x")
        os.symlink("a/b", self.tree + "/link")
        code = ("import os\nos.chdir('a')\nopen('b/file').close()\nos.chdir('b')\nopen('../other').close()\n"
                "fd = os.open('..', os.O_RDONLY)\nos.access('gone', 0, dir_fd=fd)\n"
                "os.chdir('../..')\nopen('link/file').close()\nos.fchdir(fd)\nos.path.exists('here')")
        _, entries = self.pilot(PYTHON, "-c", code, cwd=self.tree)
        self.assertEqual(entries[b"a/b/file"]["counts"]["open"], 2)
        self.assertEqual(entries[b"a/other"]["counts"]["open"], 1)
        self.assertEqual(entries[b"a/gone"]["kind"], "absent")
        self.assertEqual(entries[b"a/here"]["kind"], "absent")
        self.assertEqual((entries[b"link"]["kind"], entries[b"link"]["target"]), ("symlink", "a/b"))
        self.assertEqual(self.head["cwd"], self.tree)

    def test_hostile_names(self):
        names = [b"new\nline", b"\"quotes'", b"back\\slash", b"tab\t", b"\xff\xfe", b"\\xff", b"\xc3\xa9",
                 b"\xed\xa0\x80", b"-", b" ", b"x" * 255]
        top = os.fsencode(self.tree)
        for name in names:
            with open(top + b"/" + name, "wb") as f:
                f.write(name)
        code = ("import os, sys\ntop = os.fsencode(sys.argv[1])\n"
                "for n in os.listdir(top):\n    open(top + b'/' + n).close()\n    os.path.exists(top + b'/no ' + n)")
        _, entries = self.pilot(PYTHON, "-c", code, self.tree)
        for name in names:
            self.assertEqual(entries[name]["kind"], "data", name)
            self.assertEqual(entries[name]["counts"]["open"], 1, name)
            self.assertEqual(entries[name]["size"], len(name))
            if len(name) < 250:
                self.assertEqual(entries[b"no " + name]["kind"], "absent", name)
        self.assertEqual(entries[b""]["counts"]["list"], 1)
        # The lines are still one an entry.
        with open(self.manifest, "rb") as f:
            lines = f.read().split(b' "entries": [\n')[1].count(b"\n")
        self.assertEqual(lines, len(self.head["entries"]) + 1)

    def test_directories_that_are_written_in_are_volatile(self):
        for name in ("made", "renamed", "removed", "untouched", "made-dir"):
            self.write("tree/%s/old" % name, "x")
        code = ("import os, sys\nos.chdir(sys.argv[1])\nopen('made/new', 'w').close()\n"
                "os.rename('renamed/old', 'renamed/new')\nos.remove('removed/old')\nos.mkdir('made-dir/sub')\n"
                "open('untouched/old').close()\nos.listdir('untouched')")
        result, entries = self.pilot(PYTHON, "-c", code, self.tree)
        for name in (b"made", b"renamed", b"removed", b"made-dir", b"made-dir/sub"):
            self.assertIs(entries[name].get("volatile"), True, name)
        self.assertNotIn("volatile", entries[b"untouched"])
        self.assertNotIn(b"made/new", entries, "what the pilot wrote is not what later runs read")
        self.assertEqual(entries[b"untouched/old"]["counts"]["open"], 1)
        names = ("made", "made-dir", "made-dir/sub", "removed", "renamed")
        self.assertEqual(result.stderr.splitlines()[-7:], [
            "dlcache: 5 directories were written in: the file system is asked for new names:",
            *("dlcache:   %s/%s" % (self.tree, n) for n in names),
            "dlcache: caches there can be moved elsewhere: see doc/writers.md"])

    def test_the_first_volatile_directories_are_named(self):
        names = ["a\x1b[31m", "b", "c", "d", "e", "f", "g"]
        for name in names:
            self.write("tree/%s/old" % name, "x")
        code = "import sys\nfor n in sys.argv[2:]:\n    open('%s/%s/new' % (sys.argv[1], n), 'w').close()"
        last = "dlcache: caches there can be moved elsewhere: see doc/writers.md"
        result, entries = self.pilot(PYTHON, "-c", code, self.tree, *names)
        self.assertEqual(result.stderr.splitlines()[-8:], [
            "dlcache: 7 directories were written in: the file system is asked for new names:",
            *("dlcache:   %s/%s" % (self.tree, n) for n in ("a\\x1b[31m", "b", "c", "d", "e")),
            "dlcache:   and 2 more (\"volatile\" in %s)" % self.manifest, last])
        self.assertEqual(sum(e.get("volatile", False) for e in entries.values()), 7)
        result, _ = self.pilot(PYTHON, "-c", code, self.tree, "b")
        self.assertEqual(result.stderr.splitlines()[-3:], [
            "dlcache: 1 directory was written in: the file system is asked for new names:",
            "dlcache:   %s/b" % self.tree, last])
        result, _ = self.pilot(PYTHON, "-c", code, self.tree)
        self.assertNotIn("written in", result.stderr)
        self.assertNotIn("writers.md", result.stderr)

    def test_bytecode_is_written_once_and_then_read(self):
        self.write("tree/package/__init__.py", "import package.module\n")
        self.write("tree/package/module.py", "X = 1\n")
        env = environment(PYTHONPATH=self.tree)
        for _ in range(2):  # the first run writes it, the second reads it
            _, entries = self.pilot(PYTHON, "-c", "import package.module; print(package.module.X)", env=env)
            cached = [p for p in entries if re.fullmatch(rb"package/__pycache__/module\.cpython-\d+\.pyc", p)]
            self.assertEqual(len(cached), 1, sorted(entries))
            self.assertEqual(entries[cached[0]]["kind"], "bytecode")
            self.assertEqual(len(entries[cached[0]].get("xxh3_128", "")), 32)
            self.assertEqual([p for p, e in entries.items() if "volatile" in e], [])

    def told_of_bytecode(self, code, env, *args):
        """What record says of it, and the commands that it gives."""
        out, self.found = self.pilot(PYTHON, *args, "-c", code, env=env)
        lines = out.stderr.splitlines()
        first = next((i for i, line in enumerate(lines) if "for want of bytecode" in line), len(lines))
        return [line for line in lines[first:] if " -m " not in line], \
            [line[len("dlcache:   "):] for line in lines[first:] if " -m " in line]

    def test_modules_without_bytecode_are_named(self):
        """Where Python cannot keep it, every start compiles: somebody should know. The command given makes it."""
        for name in ("package/__init__", "package/module", "other"):
            self.write("tree/%s.py" % name, "X = 1\n")
        code = "import other, package.module"
        env = environment(PYTHONPATH=self.tree, PYTHONDONTWRITEBYTECODE=1)
        text = "dlcache: %s compiled at every start, for want of bytecode:"
        make = os.path.realpath(PYTHON) + " -m compileall -q " + self.tree
        self.assertEqual(self.told_of_bytecode(code, env), ([text % "3 Python modules are"], [make + "/package", make]))
        self.run_command([PYTHON, "-m", "compileall", "-q", self.tree + "/package"])
        self.assertEqual(self.told_of_bytecode(code, env), ([text % "1 Python module is"], [make]))
        self.run_command(make.split())
        self.assertEqual(self.told_of_bytecode(code, env), ([], []))
        # Optimised code is another file.
        optimised = make.replace(" -q", " -q -o 1")
        self.assertEqual(self.told_of_bytecode(code, env, "-O"),
                         ([text % "3 Python modules are"], [optimised + "/package", optimised]))
        self.run_command(optimised.split())
        self.assertEqual(self.told_of_bytecode(code, env, "-O"), ([], []))
        # A script is always compiled, and has none.
        script = self.write("tree/script.py", code)
        out, _ = self.pilot(PYTHON, script, env=env)
        self.assertNotIn("bytecode", out.stderr)

    def test_stale_bytecode_is_named(self):
        """Bytecode that Python does not take, because the source is not the one that it was made of."""
        names = ("by_time", "by_size", "cut", "good", "unchecked")
        for name in names:
            self.write("tree/%s.py" % name, "X = 1\n")
        self.run_command([PYTHON, "-m", "compileall", "-q", self.tree])
        self.run_command([PYTHON, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash",
                          self.tree + "/unchecked.py"])
        for name, time in (("by_time", 1000000000), ("unchecked", 1000000000)):
            os.utime(self.path("tree/%s.py" % name), (time, time))
        was = os.stat(self.path("tree/by_size.py"))
        self.write("tree/by_size.py", "X = 10\n")
        os.utime(self.path("tree/by_size.py"), ns=(was.st_atime_ns, was.st_mtime_ns))
        cache = self.path("tree/__pycache__/%s.cpython-%d%d.pyc")
        version = subprocess.run([PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], stdout=subprocess.PIPE,
                                 text=True, check=True).stdout.split()
        os.truncate(cache % ("cut", int(version[0]), int(version[1])), 10)
        code = "import " + ", ".join(names)
        env = environment(PYTHONPATH=self.tree, PYTHONDONTWRITEBYTECODE=1)
        make = os.path.realpath(PYTHON) + " -m compileall -q -f " + self.tree
        self.assertEqual(self.told_of_bytecode(code, env), (
            ["dlcache: 3 Python modules are compiled at every start, for want of bytecode:",
             "dlcache: (of 3 there is some, but not of the source as it is now)"], [make]))
        self.assertEqual(sorted(os.path.basename(p).split(b".")[0] for p, e in self.found.items() if e.get("stale")),
                         [b"by_size", b"by_time", b"cut"])
        # Those and no others were read: Python agrees.
        self.assertEqual(sorted(p for p in self.found if p.endswith(b".py") and "open" in self.found[p]["counts"]),
                         [b"by_size.py", b"by_time.py", b"cut.py"])
        show = self.dlcache("show", self.manifest).stdout
        self.assertIn("Python modules without bytecode: every process compiles them; this makes it\n"
                      "(of 3 there is some, but not of the source as it is now)\n        3  %s\n" % make, show)
        self.run_command(make.split())
        self.assertEqual(self.told_of_bytecode(code, env), ([], []))

    def test_what_is_told_fits_a_terminal(self):
        self.write("tree/data", "x")
        self.write("tree/old", "x")
        out, _ = self.pilot("/bin/sh", "-c", 'cat data; echo >new; echo >>old; mkfifo pipe; ls /proc/self/status /dev/null',
                            extra=["--exclude", "/usr"], cwd=self.tree)
        lines = out.stderr.splitlines()
        self.assertRegex(lines[0], r"^dlcache: %s: \d+ processes$" % re.escape(self.manifest))
        self.assertRegex(lines[1], r"^dlcache: kept: \d+ files? \([0-9.]+ k?B to stage\), \d+ absent names?$")
        self.assertRegex(lines[2], r"^dlcache:       \d+ director(y|ies), \d+ symlinks?$")
        self.assertRegex(out.stderr, r"dlcache: left out: \d+ on file systems of this node alone \(--include keeps\)\n")
        self.assertRegex(out.stderr, r"dlcache: left out: \d+ by --exclude\n")
        self.assertRegex(out.stderr, r"dlcache: left out: 2 that the program wrote\n")
        self.assertRegex(out.stderr, r"dlcache: left out: \d+ in /proc, /sys, /dev, /run or a temporary directory\n")
        for line in lines[1:]:
            if self.tree not in line:
                self.assertLessEqual(len(line), 80, line)

    def test_what_is_left_out_is_named(self):
        for name in ("kept", "left/a\x1b", "gone"):
            self.write("tree/" + name, "x")
        os.mkfifo(self.path("tree/pipe"))
        script = 'cat kept left/*; test -e /dev/null; test -e pipe; cat gone; rm gone; echo >new'
        result, _ = self.pilot("/bin/sh", "-c", script, extra=["-v", "--exclude", self.tree + "/left"], cwd=self.tree)
        named = [line for line in result.stderr.splitlines() if line.startswith("dlcache: left out (")]
        for why, path in (("excluded", self.tree + "/left/a\\x1b"), ("never", "/dev/null"), ("special", self.tree + "/pipe"),
                          ("gone", self.tree + "/gone"), ("written", self.tree + "/new"),
                          ("local", os.path.realpath("/bin/sh"))):
            self.assertIn("dlcache: left out (%s): %s" % (why, path), named)
        self.assertNotIn("dlcache: left out (", self.pilot("/bin/true")[0].stderr)
        # The lines are as many as the sums say.
        sums = re.findall(r"(?m)^dlcache: left out: (\d+) ", result.stderr)
        self.assertEqual(sum(map(int, sums)), len(named))

    def test_what_is_excluded(self):
        for name in ("kept/a", "left/a", "leftover/a"):
            self.write("tree/" + name, "x")
        command = ["/bin/cat", *(self.tree + n for n in ("/kept/a", "/left/a", "/left/none", "/leftover/a"))]
        result, entries = self.pilot(*command, status=1, extra=["--exclude", self.tree + "/left"])
        self.assertLessEqual({b"kept/a", b"leftover/a"}, set(entries))
        self.assertEqual([p for p in entries if p.startswith(b"left/")], [])
        self.assertEqual(self.head["policy"]["exclude"], [self.tree + "/left"])
        self.assertRegex(result.stderr, r"dlcache: left out: 2 by --exclude\n")

    def test_nothing_is_changed_for_the_program(self):
        code = "import os; print(sorted((k, v) for k, v in os.environ.items() if not k.startswith('DLCACHE')), " \
               "sorted(os.listdir('/proc/self/fd')), os.getcwd())"
        native = self.run_command([PYTHON, "-c", code])
        result, _ = self.pilot(PYTHON, "-c", code)
        mine = re.compile(r"\('(LD_PRELOAD|LD_AUDIT|GLIBC_TUNABLES)', '[^']*'\),? ?")
        self.assertEqual(mine.sub("", result.stdout), native.stdout)

    def test_a_child_that_outlives_the_command(self):
        self.write("tree/data", "x")
        script = '(sleep 2; cat "$0/data") >/dev/null 2>&1 & exit 0'
        start = time.monotonic()
        self.pilot("/bin/sh", "-c", script, self.tree)
        self.assertLess(time.monotonic() - start, 2)
