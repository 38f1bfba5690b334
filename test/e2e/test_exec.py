"""Programs and scripts executed from the stage: what they see of it is what they see natively."""
import os
import re
import shutil
import subprocess
import unittest

from harness import PROGS, PYTHON, Case, environment, glibc


class Exec(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        os.makedirs(self.root + "/bin")
        shutil.copy(PROGS + "/who", self.root + "/bin/who")
        os.symlink("who", self.root + "/bin/alias")
        who = self.root + "/bin/who"
        self.write("tree/bin/script", "#! %s  one argument \nwhatever\n" % who, 0o755)
        self.write("tree/bin/plain", "#!%s\n" % who, 0o755)
        self.write("tree/bin/a-name-that-is-longer-than-fifteen", "#!%s\n" % who, 0o755)
        self.write("tree/bin/nobody", "#!%s/bin/none\n" % self.root, 0o755)
        self.write("tree/bin/nested", "#!%s/bin/plain x\n" % self.root, 0o755)
        self.write("tree/bin/no-line", "echo a shell runs this: $0 $1\n", 0o755)
        # Their interpreters are of the node alone: below no prefix of the manifest's.
        os.mkdir(self.path("node"))
        shutil.copy(PROGS + "/who", self.path("node", "who"))
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "progs", "who.c")
        self.run_command(["cc", "-static", "-o", self.path("node", "fixed"), source])
        self.write("tree/bin/local", "#!%s one argument\n" % self.path("node", "who"), 0o755)
        self.write("tree/bin/shell", "#!/bin/sh\necho $0 $1 $2; cat /proc/$$/comm; tr '\\0' ' ' </proc/$$/cmdline\n", 0o755)
        self.write("tree/bin/fixed", "#!%s\n" % self.path("node", "fixed"), 0o755)
        self.names = ["who", "alias", "script", "plain", "a-name-that-is-longer-than-fifteen", "nobody", "nested",
                      "no-line", "local", "shell", "fixed"]
        self.manifest = self.path("m.json")
        pilot = "for p in %s; do $p a b >/dev/null 2>&1; done" % " ".join(self.root + "/bin/" + n for n in self.names)
        self.record(self.manifest, ["sh", "-c", pilot + "; true"], include=[self.root])
        self.d = self.stage(self.manifest)
        self.env = environment(PATH=self.root + "/bin:/usr/local/bin:/usr/bin:/bin", FOO="bar")

    def same(self, argv, served=None, **kw):
        native = self.run_command(argv, env=self.env, status=None, **kw)
        run = self.run_command(served or [self.d + "/run", *argv], env=self.env, status=None, **kw)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (native.returncode, native.stdout, native.stderr))
        return native

    def test_the_launcher(self):
        for name in self.names:
            if name in ("nobody", "no-line"): # natively this test would have to be the shell
                continue
            native = self.same([self.root + "/bin/" + name, "x", "y z", ""])
            self.assertNotEqual(native.stdout, "")
            self.same(["bin/" + name, "x"], cwd=self.root)
            self.same(["./../tree/bin/" + name], cwd=self.root)
        native = self.same(["who", "found on the PATH"])
        self.assertIn("argv[1] found on the PATH", native.stdout)
        self.same(["script", "found on the PATH"])

    def test_every_function(self):
        code = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
root, names = sys.argv[1], sys.argv[2:]
def arr(*a): return (ctypes.c_char_p * (len(a) + 1))(*[x.encode() for x in a], None)
env = arr(*['%s=%s' % kv for kv in os.environ.items()])
os.chdir(root)
def execveat(*args):  # of 2.34: before, there is the system call, and ours
    if hasattr(libc, 'execveat'):
        return libc.execveat(*args)
    return libc.syscall({'x86_64': 322, 'aarch64': 281}[os.uname().machine], *args)
def child(f, *args):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        f(*args)
        print('errno', ctypes.get_errno(), flush=True)
        os._exit(9)
    print('status', os.waitpid(pid, 0)[1])
for name in names:
    for path in (root + '/bin/' + name, 'bin/' + name):
        p = path.encode()
        print(path)
        child(libc.execve, p, arr(name, 'a', 'b c'), env)
        child(libc.execv, p, arr(name, 'a'))
        child(libc.execvp, p, arr(name, 'a'))
        child(libc.execvpe, p, arr(name, 'a'), env)
        child(libc.execl, p, name.encode(), b'a', None)
        child(libc.execle, p, name.encode(), b'a', None, env)
        child(execveat, -100, p, arr(name, 'a'), env, 0)
        pid = ctypes.c_int()
        rc = libc.posix_spawn(ctypes.byref(pid), p, None, None, arr(name, 'a'), env)
        print('spawn', rc, rc or os.waitpid(pid.value, 0)[1])
    child(libc.execvp, name.encode(), arr('other name', 'a'))
    child(libc.execlp, name.encode(), name.encode(), b'a', None)
    rc = libc.posix_spawnp(ctypes.byref(pid), name.encode(), None, None, arr(name, 'a'), env)
    print('spawnp', rc, rc or os.waitpid(pid.value, 0)[1])
    # Without the variables that attach it: natively, and right.
    child(libc.execve, p, arr(name, 'a'), arr('BARE=1'))
    sys.stdout.flush()
"""
        self.same([PYTHON, "-c", code, self.root, *self.names, "none"])

    def test_no_call_on_the_original(self):
        names = ("who", "alias", "plain", "script", "local", "shell")
        for name in (*(self.root + "/bin/" + n for n in names), *("bin/" + n for n in names)):
            _, lines = self.strace([self.d + "/run", name], env=self.env, cwd=self.root)
            self.assertEqual([line for line in lines if not line.startswith("getcwd(") and
                              re.search(r'[(,] ?"(%s|bin/)' % self.root, line.split(", [")[0])], [], name)
        _, lines = self.strace([self.d + "/run", PYTHON, "-S", "-c",
                                "import os; os.execvp('alias', ['alias'])"], env=self.env)
        executed = [line for line in lines if line.startswith("execve(") and "/bin/alias" in line]
        self.assertEqual([re.match(r'execve\("([^"]*)"', line)[1] for line in executed],
                         [self.d + "/root" + self.root + "/bin/alias"])

    def test_few_programs_do_this(self):
        executes = PROGS + "/executes"
        where = self.path("where")
        os.mkdir(where)
        for name in ("who", "plain", "local", "shell"):
            for path in (self.root + "/bin/" + name, "../tree/bin/" + name):
                for n in ("10", "3000", "10000", "100000"):
                    self.same([executes, "arguments", path, n], cwd=where)
                    self.same([executes, "variables", path, n], cwd=where)
                for way in ("unreadable", "actions", "lists"):
                    self.same([executes, way, path], cwd=where)
            self.same([executes, "actions", name], cwd=where)
        for stale in ("1stale", "2stale", "012345", "", "1", "x" * 100):
            for path in (self.root + "/bin/who", "../tree/bin/who", "../tree/bin/plain", self.root + "/bin/fixed"):
                native, served = (self.run_command([*run, executes, "stale", path, "DLCACHE_COMM=" + stale],
                                                   env=self.env, cwd=where) for run in ([], [self.d + "/run"]))
                # A statically linked program has it in its environment.
                told = native.stdout if "fixed" in path else re.sub("\nDLCACHE_COMM=.*", "", native.stdout)
                self.assertEqual(served.stdout, told, (path, stale))
        env, self.env = self.env, {k: self.env[k] for k in ("PATH", "ASAN_OPTIONS")}
        for path in ("/bin/true", "/none", self.root + "/bin/who", self.root + "/bin/shell", "../tree/bin/plain"):
            run = [executes, "handler", path]
            # Natively an older C library's own functions take more than there is.
            if glibc() >= (2, 34) or self.run_command(run, env=self.env, cwd=where, status=None).returncode != -11:
                self.same(run, cwd=where)
        self.env = env

    def test_a_long_directory(self):
        """From one whose path takes more than the stack should, it is done natively."""
        deep = os.path.join(self.root, *["d" * 200] * 7)
        shutil.copytree(self.root + "/bin", deep + "/bin", symlinks=True)
        for name in ("who", "plain", "shell"):
            self.record(self.manifest, [deep + "/bin/" + name], include=[self.root])
            self.d = self.stage(self.manifest)
            for path in ("bin/" + name, deep + "/bin/" + name):
                self.same([path, "x"], cwd=deep)
                self.same(["sh", "-c", path + " x"], cwd=deep)
            _, lines = self.strace([self.d + "/run", "sh", "-c", "exec bin/" + name], env=self.env, cwd=deep)
            self.assertTrue(any(line.startswith('execve("bin/%s"' % name) for line in lines), name)

    def test_the_environment_that_others_see(self):
        """Who takes an environment from /proc, and starts something with it, starts that and no script."""
        self.write("tree/bin/again", "#!/bin/sh\nxargs -0 -a /proc/$$/environ sh -c 'exec env -i \"$@\" %s/bin/who' sh\n"
                   "exit $?\n" % self.root, 0o755)
        self.record(self.manifest, [self.root + "/bin/again"], include=[self.root])
        self.d = self.stage(self.manifest)
        shown = self.same([self.root + "/bin/again"]).stdout
        self.assertIn("comm who\nexecfn %s/bin/who\n" % self.root, shown)
        self.same(["bin/again"], cwd=self.root)

    def test_a_long_title(self):
        """Perl writes $0 over its arguments and the environment behind them, as far as they are one piece."""
        self.write("tree/bin/title", "#!/usr/bin/perl\n$0 = 'x' x 200; open F, '</proc/self/cmdline'; print <F>;\n", 0o755)
        self.record(self.manifest, [self.root + "/bin/title"], include=[self.root])
        self.d = self.stage(self.manifest)
        env, self.env = self.env, {"PATH": self.env["PATH"], "ROOM": "x" * 300}
        self.assertEqual(self.same([self.root + "/bin/title"]).stdout.rstrip("\0"), "x" * 200)
        self.env = dict(self.env, LD_PRELOAD=self.d + "/lib/libdlcache.so", DLCACHE_STAGE=self.d)
        self.assertEqual(self.run_command([self.root + "/bin/title"], env=self.env).stdout.rstrip("\0"), "x" * 200)
        self.env = env

    def test_an_interpreter_that_somebody_waits_at(self):
        fifo = self.path("node", "fifo")
        os.mkfifo(fifo, 0o755)
        self.write("tree/bin/waits", "#!%s\n" % fifo, 0o755)
        self.record(self.manifest, ["sh", "-c", self.root + "/bin/waits; true"], include=[self.root])
        self.d = self.stage(self.manifest)
        with subprocess.Popen(["sh", "-c", 'echo came >"$0"', fifo], stderr=subprocess.DEVNULL) as writer:
            self.same(["sh", "-c", self.root + "/bin/waits; bin/waits"], cwd=self.root)
            self.assertIsNone(writer.poll()) # nobody has opened it
            with open(fifo, encoding="ascii") as f:
                self.assertEqual(f.read(), "came\n")

    @unittest.skipIf(os.geteuid() != 0, "only root can become another user")
    def test_another_user_with_capabilities(self):
        """What root may read until it executes, the child may not: no library of the stage is asked for."""
        for path in ("/bin/true", self.root + "/bin/who"):
            self.same(["setpriv", "--reuid=65534", "--clear-groups", path])

    def test_a_changed_program_is_the_new_one(self):
        self.write("tree/new", "#!/bin/sh\necho new\n", 0o755)
        self.run_command([self.d + "/run", "mv", self.root + "/new", self.root + "/bin/plain"])
        out = self.run_command([self.d + "/run", self.root + "/bin/plain"])
        self.assertEqual(out.stdout, "new\n")

    @unittest.skipIf(os.geteuid() != 0, "only root can set these")
    def test_set_id_is_native(self):
        os.chown(self.root + "/bin/who", 65534, 65534)
        os.chmod(self.root + "/bin/who", 0o6755)
        d = self.stage(self.manifest)
        _, lines = self.strace([d + "/run", self.root + "/bin/who"], env=self.env)
        self.assertIn('execve("%s/bin/who"' % self.root, "\n".join(lines))

    def test_origin(self):
        """$ORIGIN of a program that is executed from the stage is the directory that it was."""
        self.write("lib.c", "int answer(void) { return 42; }\n")
        self.write("main.c", "#include <stdio.h>\nint answer(void);\n"
                             "int main(void) { printf(\"%d\\n\", answer()); return 0; }\n")
        for tag in ("--disable-new-dtags", "--enable-new-dtags"):
            prefix = self.path("prefix" + tag)
            os.makedirs(prefix + "/bin")
            os.makedirs(prefix + "/lib")
            self.run_command(["cc", "-shared", "-fPIC", "-o", prefix + "/lib/libanswer.so", self.path("lib.c")])
            self.run_command(["cc", "-o", prefix + "/bin/main", self.path("main.c"), "-L" + prefix + "/lib", "-lanswer",
                              "-Wl,%s,-rpath,$ORIGIN/../lib" % tag])
            manifest = self.path("o.json")
            self.record(manifest, [prefix + "/bin/main"], include=[prefix])
            d = self.stage(manifest)
            served, lines = self.strace([d + "/run", prefix + "/bin/main"])
            self.assertEqual(served.stdout, "42\n")
            self.assertEqual([line for line in lines if '"%s' % prefix in line.split(", [")[0]], [])
            # The library is changed, and then gone: it is found, and missed, as natively.
            run = [d + "/run"]
            self.run_command([*run, "mv", prefix + "/lib/libanswer.so", prefix + "/lib/libother.so"])
            self.run_command([*run, "ln", "-s", "libother.so", prefix + "/lib/libanswer.so"])
            self.assertEqual(self.run_command([*run, prefix + "/bin/main"]).stdout, "42\n")
            self.run_command([*run, "rm", prefix + "/lib/libanswer.so"])
            native = self.run_command([prefix + "/bin/main"], status=127)
            served = self.run_command([*run, prefix + "/bin/main"], status=127)
            self.assertEqual(served.stderr, native.stderr)

    def test_a_real_program(self):
        manifest = self.path("p.json")
        code = "import sys, os, json; print(sys.executable, sys.argv, os.readlink('/proc/self/exe'), json.__file__)"
        self.record(manifest, [PYTHON, "-c", code], include=["/usr"])
        d = self.stage(manifest)
        native = self.run_command([PYTHON, "-c", code, "x"])
        served, lines = self.strace([d + "/run", PYTHON, "-c", code, "x"])
        self.assertEqual(served.stdout, native.stdout)
        self.assertEqual([line for line in lines if line.startswith('execve("%s"' % PYTHON)], [])
