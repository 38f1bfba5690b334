"""LD_PRELOAD alone: the program is executed once more, attached; it sees of that what it would see natively: two
variables. Where that could not be so, it is not done."""
import ctypes
import glob
import os
import re
import resource
import shutil
import signal
import sys
import unittest

from harness import DLCACHE, MPIEXEC, PROGS, PYTHON, Case, environment

ADDED = re.compile(r"(LD_AUDIT|GLIBC_TUNABLES)=.*\n")
LOADER = next(iter(glob.glob("/lib64/ld-linux-x86-64.so.2") + glob.glob("/lib/ld-linux-aarch64.so.1")))


class Restart(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        self.library = self.write("tree/lib/libx.so")
        self.compile(self.library, "int answer(void) { return 42; }\n")
        started = self.root + "/bin/started"
        os.makedirs(self.root + "/bin")
        shutil.copy(PROGS + "/started", started)
        os.symlink("started", self.root + "/bin/alias")
        self.write("tree/bin/script", "#! %s  one argument \nwhatever\n" % started, 0o755)
        self.write("tree/bin/plain", "#!%s\n" % started, 0o755)
        self.write("tree/bin/a-name-that-is-longer-than-fifteen", "#!%s\n" % started, 0o755)
        self.write("tree/bin/nested", "#!%s/bin/plain x\n" % self.root, 0o755)
        self.names = ["started", "alias", "script", "plain", "a-name-that-is-longer-than-fifteen"]
        self.manifest = self.path("m.json")
        pilot = "for p in %s; do $p load %s >/dev/null; done" % (
            " ".join(self.root + "/bin/" + n for n in self.names), self.library)
        self.record(self.manifest, ["sh", "-c", pilot], include=[self.root])
        self.d = self.stage(self.manifest)
        self.shim = self.d + "/lib/libdlcache.so"
        self.env = environment(PATH=self.root + "/bin:/usr/local/bin:/usr/bin:/bin", FOO="bar")
        # Nothing of it is held.
        self.other = self.path("other")
        shutil.copytree(self.root, self.other, symlinks=True)
        for name in self.names[2:]:
            text = self.read(self.other + "/bin/" + name).replace(self.root, self.other)
            self.write("other/bin/" + name, text, 0o755)

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8") as f:
            return f.read()

    def compile(self, path, text, *flags):
        source = self.write(os.path.basename(path) + ".c", text)
        self.run_command(["cc", *(flags or ("-shared", "-fPIC")), "-o", path, source, "-pthread"])
        return path

    def preload(self, *more, **variables):
        return dict(self.env, LD_PRELOAD=":".join([self.shim, *more]), DLCACHE_STAGE=self.d, **variables)

    def same(self, argv, env=None, **kw):
        """argv prints its environment, natively and preloaded: but for what attaches it, the same."""
        ours = {"LD_PRELOAD": self.shim, "DLCACHE_STAGE": self.d} if env is None else env
        # Natively it has the variables, too, without what they mean.
        with_them = dict(self.env, **ours)
        native = self.run_command(argv, env=dict(with_them, DLCACHE_DISABLE="1"), status=None, **kw)
        served = self.run_command(argv, env=dict(with_them, DLCACHE_DISABLE="0"), status=None, **kw)
        self.assertIn("LD_PRELOAD=" + self.shim, native.stdout)
        expected = native.stdout.replace("DLCACHE_DISABLE=1", "DLCACHE_DISABLE=0")
        self.assertEqual(ADDED.sub("", served.stdout), expected)
        self.assertEqual((served.returncode, served.stderr), (native.returncode, native.stderr))
        self.assertIn("LD_AUDIT=%s/lib/libdlcache-audit.so\n" % self.d, served.stdout)
        return served

    # --- it is the same process ---
    def test_names_and_arguments(self):
        for root in (self.root, self.other):
            for name in self.names:
                self.same([root + "/bin/" + name, "x", "y z", ""])
                self.same(["bin/" + name, "x"], cwd=root)
                self.same(["./" + name], cwd=root + "/bin")
                self.same(["../bin//" + name], cwd=root + "/lib")
        for name in self.names:
            served = self.same([name, "found on the PATH"], env={
                "LD_PRELOAD": self.shim, "DLCACHE_STAGE": self.d, "PATH": self.root + "/bin"})
            self.assertIn("found on the PATH", served.stdout)
            self.assertIn("/proc/self/comm %s\n" % name[:15], served.stdout)
        served = self.same(["another name", "x"], executable=self.root + "/bin/started")
        self.assertIn("argv[0] another name\n", served.stdout)
        self.same(["another name", "x"], executable=self.other + "/bin/script")

    def test_what_is_inherited(self):
        program = self.other + "/bin/started"
        readable = self.write("readable", "0123456789")

        def odd():
            signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGCHLD, signal.SIGRTMIN})
            for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2):
                signal.signal(s, signal.SIG_IGN)
            os.umask(0o027)
            os.nice(3)
            resource.setrlimit(resource.RLIMIT_CORE, (12345, 54321))
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 22))
            os.chdir("/usr")
            os.sched_setaffinity(0, {0})
            signal.alarm(1000)
            libc = ctypes.CDLL(None)
            libc.personality(0x0040000)            # no address space randomization
            libc.prctl(1, int(signal.SIGHUP), 0, 0, 0)  # when the parent dies
            libc.prctl(38, 1, 0, 0, 0)                  # no new privileges
            fd = os.open(readable, os.O_RDONLY)
            os.lseek(fd, 7, os.SEEK_SET)
            os.dup2(fd, 30)
            os.dup2(os.pipe()[0], 31)
            os.dup2(os.open("/", os.O_RDONLY), 200)
            os.kill(os.getpid(), signal.SIGUSR1)        # blocked: pending

        served = self.same([program], preexec_fn=odd, close_fds=False)
        for line in ("fd 30: flags 0 8000, mode 100644, at 7", "fd 31: flags 0 0, mode 10600, at -1",
                     "umask 27, nice 3", "limit 4: 12345 54321", "/proc/self/cwd -> /usr", "NoNewPrivs:\t1",
                     "death signal 1,", "timer 1"):
            self.assertIn(line, served.stdout)
        for signals in ("ShdPnd", "SigBlk"):
            self.assertTrue(int(re.search(signals + r":\t(\w+)", served.stdout)[1], 16) & 1 << signal.SIGUSR1 - 1)
        served = self.same(["sh", "-c", 'read -r x; exec "$0" 3<%s' % readable, program])
        self.assertIn("fd 3: flags 0 8000, mode 100644, at 0", served.stdout)

    def test_closed_standard_descriptors(self):
        out = self.path("out")
        for closed in ((0,), (1,), (2,), (0, 1, 2)):
            def close(closed=closed):
                for fd in closed:
                    os.close(fd)
            texts = []
            for off in "10":
                env = self.preload(OUT=out, DLCACHE_DISABLE=off)
                self.run_command([self.other + "/bin/started"], env=env, preexec_fn=close)
                texts.append(self.read(out).replace("DLCACHE_DISABLE=" + off, ""))
                os.unlink(out)
            self.assertEqual(ADDED.sub("", texts[1]), texts[0])
            self.assertIn("LD_AUDIT=", texts[1])
            for fd in closed:
                self.assertNotIn("\nfd %d:" % fd, texts[1])

    def test_variables_that_are_there(self):
        """Other libraries stay, in their order; ours is put before other auditors, and what is tuned stays."""
        nothing = self.compile(self.path("libnothing.so"), "int nothing;\n")
        auditor = self.compile(self.path("libauditor.so"), "unsigned la_version(unsigned v) { return v; }\n"
                               "unsigned la_objopen(void *map, long id, void *cookie) { return 0; }\n")
        preload = nothing + " " + self.shim
        env = self.run_command([self.root + "/bin/started"], env=dict(
            self.env, LD_PRELOAD=preload, DLCACHE_STAGE=self.d + "/", LD_AUDIT=auditor,
            GLIBC_TUNABLES="glibc.malloc.check=0")).stdout
        self.assertIn("\nLD_PRELOAD=%s\n" % preload, env)
        self.assertIn("\nDLCACHE_STAGE=%s/\n" % self.d, env)
        self.assertIn("\nLD_AUDIT=%s/lib/libdlcache-audit.so:%s\n" % (self.d, auditor), env)
        self.assertRegex(env, "\nGLIBC_TUNABLES=(glibc.rtld.optional_static_tls=[0-9]+:)?glibc.malloc.check=0\n")

    # --- it is worth it ---
    def test_later_objects_come_from_the_mirror(self):
        for argv in ([self.root + "/bin/started"], [self.other + "/bin/started"], [self.root + "/bin/script"],
                     ["sh", "-c", 'started "$@"', "sh"], ["env", "plain"]):
            argv = [*argv, "load", self.library]
            self.assertEqual(self.run_command(argv, env=self.preload()).stderr, "mirror\n", argv)
            # Without a second start, too: what dlopen is asked for by its path needs no auditing.
            self.assertEqual(self.run_command(argv, env=self.preload(DLCACHE_AUDIT="off")).stderr, "mirror\n", argv)

    def test_python(self):
        code = """#!%s -S
import os, sys
print(sys.argv, sys.executable, sys.flags.no_site, open('/proc/self/comm').read(), os.readlink('/proc/self/exe'))
print([(k, os.environ[k]) for k in os.environ if k.split('_')[0] not in ('LD', 'GLIBC', 'DLCACHE')])
print(os.getcwd(), sys.stdin.read())
print('LD_AUDIT' in os.environ, file=sys.stderr)
""" % PYTHON
        app = self.write("app.py", code, 0o755)
        shell = self.write("app.sh", "#!/bin/sh\n%s app.py from the shell; ./app.py; exec %s -S app.py\n" % (
            PYTHON, PYTHON), 0o755)
        for argv in ([PYTHON, "app.py", "a b"], [app, "c"], ["./app.py"], ["env", "-u", "FOO", app],
                     ["sh", "-c", "./app.py; true"], [shell], ["./app.sh"]):
            native = self.run_command(argv, env=self.env, cwd=self.tmp)
            served = self.run_command(argv, env=self.preload(), cwd=self.tmp)
            self.assertEqual(served.stdout, native.stdout)
            self.assertEqual(set(native.stderr.split()), {"False"})
            self.assertEqual(set(served.stderr.split()), {"True"})

    def test_ranks_of_mpi(self):
        """What their launcher has given them by descriptors and variables is there still."""
        env = self.preload(DLCACHE_LOG="1")
        result = self.run_command([MPIEXEC, "-n", "3", DLCACHE, "stage", "--dir", self.place, "--json", self.manifest],
                                  env=env)
        self.assertEqual(result.stdout.count(self.place), 1, result.stdout)
        self.assertNotIn("is not started again", result.stderr)

    @unittest.skipIf(os.geteuid() != 0, "only root can mount")
    def test_in_another_mount_name_space(self):
        """Served in part, and started again as well."""
        code = 'mount -t tmpfs none "$1"/lib; shift; exec "$@"'
        variables = ["%s=%s" % (k, v) for k, v in self.preload(DLCACHE_LOG="1").items() if k[:3] in ("LD_", "DLC")]
        result = self.run_command(["unshare", "-m", "sh", "-ec", code, "sh", self.root, "env", *variables,
                                   self.root + "/bin/started", "x"], env=self.env)
        self.assertIn("LD_AUDIT=%s/lib/libdlcache-audit.so\n" % self.d, result.stdout)
        self.assertIn("not below %s/lib" % self.root, result.stderr)

    # --- once ---
    def starts(self, argv, status=0, text="", env=(), **kw):
        """How often constructors run in what argv starts: those of libraries that come after ours run before it."""
        log = self.path("starts")
        counter = self.path("libcounter.so")
        if not os.path.exists(counter) or text:
            self.compile(counter, """#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <pthread.h>
#include <sys/stat.h>
%s
static __attribute__((constructor)) void count(void)
{
    const int fd = open("%s", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (write(fd, "x", 1) != 1)
        abort();
    close(fd);
    more();
}
""" % (text or "static void more(void) {}", log))
        open(log, "w", encoding="utf-8").close()
        result = self.run_command(argv, env=self.preload(counter, DLCACHE_LOG="1", **dict(env)), status=status, **kw)
        return len(self.read(log)), result

    def test_once(self):
        program = self.root + "/bin/started"
        self.assertEqual(self.starts([program])[0], 2)
        self.assertEqual(self.starts([self.root + "/bin/script"])[0], 2)
        # The shell twice; what it starts is attached by its environment.
        self.assertEqual(self.starts(["sh", "-c", "started; plain; true"])[0], 4)
        self.assertEqual(self.starts([program], env={"DLCACHE_AUDIT": "off"})[0], 1)
        self.assertEqual(self.starts([self.d + "/run", program])[0], 1)
        # Even where somebody takes out again what attached it.
        unset = 'static void more(void) { unsetenv("LD_AUDIT"); }'
        count, result = self.starts([program], text=unset)
        self.assertEqual(count, 2)
        self.assertNotIn("LD_AUDIT", result.stdout)
        self.assertIn("\nexecfn %s\n" % program, result.stdout)
        # A script from the stage, and a constructor that makes another environment: it is put right in both.
        _, result = self.starts([self.root + "/bin/plain"],
                                text='static void more(void) { setenv("ANOTHER", "one", 1); }')
        self.assertIn("\nANOTHER=one\n", result.stdout)
        self.assertNotIn("DLCACHE_COMM", result.stdout)
        self.assertIn("/proc/self/comm plain\n", result.stdout)
        # Even where ld.so does not load it.
        os.chmod(self.d + "/lib", 0o700)
        os.rename(self.d + "/lib/libdlcache-audit.so", self.d + "/lib/gone")
        self.assertEqual(self.starts([program])[0], 2)

    # --- not at all ---
    def refused(self, argv, why, starts=1, **kw):
        count, result = self.starts(argv, **kw)
        self.assertEqual(count, starts, argv)
        self.assertIn("is not started again, for " + why + "\n", result.stderr)
        return result

    def test_not_what_was_executed(self):
        self.refused([LOADER, self.root + "/bin/started"], "it was started through ld.so")
        self.refused([self.root + "/bin/nested"], "it is not what was executed")
        copy = self.path("copy")
        for how, why in (("unlink", "it is not what was executed"), ("none", "it cannot be executed any more")):
            shutil.copy(PROGS + "/started", copy)
            change = "unlink(\"%s\")" % copy if how == "unlink" else "chmod(\"%s\", 0644)" % copy
            result = self.refused([copy, "x"], why, text="static void more(void) { if (%s) abort(); }" % change)
            self.assertIn("argv[1] x\n", result.stdout)
        code = "import os; os.execve(os.open(%r, os.O_RDONLY), ['x'], %r)" % (
            self.root + "/bin/started", self.preload(DLCACHE_LOG="1"))
        result = self.run_command([PYTHON, "-c", code], env=self.env)
        self.assertIn("for it was executed by a descriptor\n", result.stderr)

    def test_an_environment_that_was_changed(self):
        for change in ('unsetenv("FOO")', 'setenv("FOO", "baz", 1)'):
            result = self.refused([self.root + "/bin/started"], "its environment was changed already",
                                  text="static void more(void) { %s; }" % change)
            self.assertNotIn("FOO=bar", result.stdout)

    def test_threads(self):
        thread = """static void *sleeps(void *p) { pause(); return p; }
static void more(void) { pthread_t t; if (pthread_create(&t, NULL, sleeps, NULL)) abort(); }"""
        self.refused([self.root + "/bin/started"], "it has threads already", text=thread)

    def test_a_sanitizer(self):
        program = self.compile(self.path("sanitized"), "int main(void) { return 0; }\n", "-fsanitize=address")
        runtime = self.run_command(["cc", "-print-file-name=libasan.so"]).stdout.strip()
        env = self.preload(DLCACHE_LOG="1", ASAN_OPTIONS="detect_leaks=0")
        env["LD_PRELOAD"] = os.path.realpath(runtime) + ":" + self.shim
        result = self.run_command([program], env=env)
        self.assertIn("is not started again, for it has a sanitizer\n", result.stderr)

    def test_traced(self):
        program = self.root + "/bin/started"
        env = self.preload(DLCACHE_LOG="1")
        exports = ["%s=%s" % (k, env[k]) for k in ("LD_PRELOAD", "DLCACHE_STAGE", "DLCACHE_LOG")]
        result, lines = self.strace([program], what="execve", env=self.env, exports=exports)
        self.assertEqual(len(lines), 1)
        self.assertIn("for it is traced\n", result.stderr)
        result = self.run_command(["gdb", "-nx", "-batch", "-ex", "set startup-with-shell off",
                                   *(a for e in exports for a in ("-ex", "set environment " + e.replace("=", " ", 1))),
                                   "-ex", "break main", "-ex", "run", "-ex", "info symbol stat", "-ex", "continue",
                                   program], env=dict(self.env, DEBUGINFOD_URLS="", HOME=self.tmp))
        self.assertIn("Breakpoint 1, main", result.stdout)
        self.assertIn(self.shim, result.stdout)
        self.assertIn("argv[0] " + program, result.stdout)
        self.assertIn("exited normally", result.stdout)
        self.assertNotIn("executing new program", result.stdout)
        self.assertIn("for it is traced\n", result.stderr)

    def test_valgrind(self):
        tool = (glob.glob("/usr/lib*/valgrind/memcheck-a[mr][dm]64-linux") +
                glob.glob("/usr/lib/*/valgrind/memcheck-a[mr][dm]64-linux"))[0]
        # Its launcher, as every program, would be started again, and hand on what attaches it.
        result = self.run_command([tool, "-q", "--error-exitcode=9", self.root + "/bin/started", "load", self.library],
                                  env=self.preload(DLCACHE_LOG="1", VALGRIND_LAUNCHER="/usr/bin/valgrind"))
        self.assertIn("argv[1] load\n", result.stdout)
        self.assertIn("is not started again, for it runs under valgrind\n", result.stderr)
        self.assertTrue(result.stderr.endswith("\noriginal\n"), result.stderr)

    @unittest.skipIf(os.geteuid() != 0, "only root can set these")
    def test_set_id(self):
        program = self.path("set-id")
        shutil.copy(PROGS + "/started", program)
        os.chmod(program, 0o4755)
        os.chmod(self.tmp, 0o711)
        for argv in ([program], [self.root + "/bin/started"]):
            result = self.run_command(argv, env=self.preload(DLCACHE_LOG="1"), user=65534, group=65534, extra_groups=[],
                                      status=None)
            self.assertEqual(result.returncode, 0)
            self.assertNotIn("LD_AUDIT", result.stdout)

    def test_a_stage_that_is_not_used(self):
        program = self.other + "/bin/started"
        os.chmod(self.d, 0o755)
        count, result = self.starts([program])
        self.assertEqual(count, 1)
        self.assertNotIn("LD_AUDIT", result.stdout)
        os.chmod(self.d, 0o700)
        # Auditing does not work there (2), or was not tried (0).
        for audit in (2, 0, 1):
            with open(self.d + "/state", "r+b") as f:
                f.seek(124)
                f.write(audit.to_bytes(4, sys.byteorder))
            count, result = self.starts([program])
            self.assertEqual((count, "LD_AUDIT" in result.stdout), (2, True) if audit == 1 else (1, False))
        # The shim from elsewhere is not what an attached program has: it stays, and serves.
        env = self.preload(DLCACHE_LOG="1")
        env["LD_PRELOAD"] = shutil.copy(self.shim, self.path("libdlcache.so"))
        result = self.run_command([program], env=env)
        self.assertNotIn("LD_AUDIT", result.stdout)
