"""Threads, forks, daemons, closed and missing descriptors, small stacks: what programs do to themselves, natively and
served, with the same outcome."""
import os
import re
import shutil
import signal
import subprocess
import textwrap

from harness import PROGS, PYTHON, STDLIB, Case, environment, glibc

# Modules of the standard library that python has not imported when it starts: those of them that this one has.
MODULES = ("argparse ast asyncio bdb calendar cgitb cmd code codeop colorsys configparser contextvars copy "
           "csv ctypes curses datetime decimal difflib dis email.message fileinput filecmp fractions ftplib "
           "getopt gettext glob graphlib gzip hashlib hmac html.parser http.client http.server imaplib "
           "inspect ipaddress json lzma mailbox mimetypes netrc numbers optparse pdb pickletools platform "
           "plistlib poplib pprint profile queue random sched secrets shelve smtplib sqlite3 statistics "
           "string tarfile textwrap timeit tokenize tomllib trace symtable unittest.mock urllib.request "
           "uuid wave xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipapp zipfile zoneinfo").split()
HAS = "import importlib.util, sys\nprint(*filter(importlib.util.find_spec, sys.argv[1:]))"
MODULES = subprocess.run([PYTHON, "-c", HAS, *MODULES], stdout=subprocess.PIPE, text=True, check=True).stdout.split()

# What every script begins with. `load` imports and tells where from; `look` asks the file system.
PREAMBLE = """
import importlib, os, sys
MODULES = %r
LIB = %r
def load(name):
    return name, importlib.import_module(name).__file__
def look():
    names = sorted(os.listdir(LIB))
    st = os.stat(LIB + '/os.py')
    with open(LIB + '/os.py', 'rb') as f:
        size = len(f.read())
    return len(names), st.st_ino, st.st_size == size, os.path.exists(LIB + '/no such file')
""" % (MODULES, STDLIB)

SCRIPTS = {
    "64 threads import": """
        import threading
        barrier, found = threading.Barrier(64), []
        def work(i):
            barrier.wait()
            for name in MODULES[i % 8::8] + MODULES[i % 5::5]:
                found.append(load(name))
            found.append(look())
        threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(found), sorted(set(map(str, found))))
    """,
    "fork while threads import": """
        import logging, threading  # logging first: a fork while it is imported makes its handlers complain
        import warnings
        warnings.filterwarnings('ignore', category=DeprecationWarning)  # of this very fork, since Python 3.12
        stop = threading.Event()
        def work(i):
            while not stop.is_set():
                for name in MODULES[i:60:6]:
                    load(name)
                look()
        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for t in threads: t.start()
        results = []
        for i in range(24):
            pid = os.fork()
            if pid == 0:  # where importing is not safe: another thread of the parent may have held a lock
                if look()[2:] != (True, False):
                    os._exit(4)
                if i % 2:
                    os._exit(3)
                os.execv(sys.executable, [sys.executable, '-c', 'import os, wave; os._exit(3)'])
            results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        stop.set()
        for t in threads: t.join()
        print(results)
    """,
    "a daemon": """
        import time
        out, fresh = sys.argv[1], sys.argv[1] + '.new'
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.closerange(0, 4096)
            os.chdir('/')
            os.umask(0)
            os.open('/dev/null', os.O_RDWR), os.dup(0), os.dup(0)
            try:
                text = str([load(m) for m in MODULES]) + str(look()) + os.getcwd()
            except BaseException as e:
                text = repr(e)
            with open(fresh, 'w') as f:
                f.write(text)
            os.rename(fresh, out)
            os._exit(0)
        os.wait()
        for _ in range(6000):
            if os.path.exists(out):
                break
            time.sleep(0.01)
        print(open(out).read())
        os.remove(out)
    """,
    "closing what is open": """
        import ctypes
        libc = ctypes.CDLL(None)
        results = []
        def close_range():
            args = ctypes.c_uint(3), ctypes.c_uint(0xffffffff), 0
            if not hasattr(libc, 'close_range'):  # of 2.34
                return libc.syscall(436, *args)
            return libc.close_range(*args)
        ways = [lambda: os.closerange(3, 65536), close_range]
        if hasattr(libc, 'closefrom'):
            ways.append(lambda: libc.closefrom(3))
        for i, way in enumerate(ways):
            kept = os.open(LIB + '/os.py', os.O_RDONLY), os.open(LIB, os.O_RDONLY)
            way()
            results += [load(m) for m in MODULES[i::3]] + [look()]
            results += [os.listdir('/proc/self/fd') == ['0', '1', '2', '3']]
            fd = os.open(LIB + '/os.py', os.O_RDONLY)
            results += [fd, os.fstat(fd).st_ino, os.readlink('/proc/self/fd/%d' % fd)]
        print(results)
    """,
    "signals while importing": """
        import signal
        state = {'n': 0, 'wrong': 0}
        def handler(*_):
            state['n'] += 1
            state['wrong'] += look()[2:] != (True, False)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        found = [load(m) for m in MODULES]
        while state['n'] < 100:
            look()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(found, state['wrong'])
    """,
    "no descriptor left": """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        held, results = [], []
        try:
            while True:
                held.append(os.open(LIB + '/os.py', os.O_RDONLY))
        except OSError as e:
            results.append((len(held), held[-1], e.errno))
        for attempt in (lambda: load('tarfile'), lambda: os.listdir(LIB), lambda: open(LIB + '/os.py'),
                        lambda: os.stat(LIB + '/os.py').st_size, lambda: os.fstat(held[0]).st_ino,
                        lambda: os.path.exists(LIB + '/none'), lambda: os.scandir(held[0])):
            try:
                results.append(attempt())
            except Exception as e:
                results.append((type(e).__name__, getattr(e, 'errno', None)))
        for fd in held[:3]:
            os.close(fd)
        results += [load('tarfile'), look()]
        print(results)
    """,
    "children of children": """
        import subprocess
        code = 'import json, sys; print(json.__file__, sys.stdin.read().strip())'
        shell = 'cd / && echo deep | "$0" -c "$1"; exec "$0" -c "$1" </dev/null'
        fds = [os.open(LIB + '/os.py', os.O_RDONLY) for _ in range(3)]
        for close in (True, False):
            for way in ({}, {'start_new_session': True}, {'cwd': '/usr'}, {'preexec_fn': look}):
                print(subprocess.run(['/bin/sh', '-c', shell, sys.executable, code], close_fds=close, **way,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout)
        pid = os.posix_spawn(sys.executable, [sys.executable, '-c', code], dict(os.environ),
                             file_actions=[(os.POSIX_SPAWN_CLOSE, 0), (os.POSIX_SPAWN_OPEN, 0, '/dev/null', 0, 0)])
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """,
    "pools": """
        import multiprocessing
        def work(i):
            return [load(m) for m in MODULES[i::4]], look()
        if __name__ == '__main__':
            for method in ('fork', 'spawn', 'forkserver'):
                with multiprocessing.get_context(method).Pool(4) as pool:
                    print(method, pool.map(work, range(4), chunksize=1))
    """,
    "the stage goes away": """
        print('ready', flush=True)
        sys.stdin.readline()
        results = []
        for m in MODULES:
            results += [load(m), look()]
        import subprocess
        results.append(subprocess.run([sys.executable, '-c', 'import wave; print(wave.__file__)'],
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout)
        print(results)
    """,
}


class Scripts(Case):
    """Python's own library is staged, and frozen, whole: what a script imports and looks at."""

    def prepare(self, name):
        self.script = self.write("script.py", PREAMBLE + textwrap.dedent(SCRIPTS[name]))
        loader = self.write("pilot.py", PREAMBLE + "for m in MODULES:\n    load(m)\nlook()\n"
                            "import multiprocessing, multiprocessing.forkserver, multiprocessing.pool, resource, "
                            "signal, subprocess, threading\n")
        manifest = self.path("m.json")
        # Bytecode would be written by the first of several.
        self.env = environment(PYTHONDONTWRITEBYTECODE=1)
        self.record(manifest, [PYTHON, loader], include=[STDLIB], env=self.env)
        return self.stage(manifest)

    def both(self, name, *args):
        d = self.prepare(name)
        program = [PYTHON, self.script, *args]
        native = self.run_command(program, env=self.env)
        served = self.run_command([d + "/run", *program], env=self.env)
        self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
        self.assertEqual(native.stderr, "")
        return d, native.stdout

    def test_threads_import(self):
        d, out = self.both("64 threads import")
        self.assertIn("'wave'", out)
        program = [PYTHON, self.script]
        _, native = self.strace(program, env=self.env)
        result, served = self.strace([d + "/run", *program], env=self.env)
        self.assertEqual(result.stdout, out)
        self.assertEqual(self.touching(served, STDLIB), [])
        self.assertGreater(len(self.touching(native, STDLIB)), 1000)
        # A call that another thread's came between is two lines; how often is chance.
        native, served = ([line for line in lines if not line.startswith("<... ")] for lines in (native, served))
        # Nothing is asked in its stead: the rest is what is not staged, and asked natively as well; and, of each library
        # that is not, which file that is.
        elsewhere = [line for line in served if d not in line]
        which = [line for line in elsewhere if re.match(r'statx\(AT_FDCWD\S*, "/(lib.*\.so[.0-9]*)?"', line)]
        libraries = {m[1] for m in (re.match(r'openat\(.*"(/lib/.*\.so[.0-9]*)"', line) for line in elsewhere) if m}
        self.assertLess(len(which), 3 * len(libraries) + 5)
        self.assertLess(len(elsewhere) - len(which), len(native) - len(self.touching(native, STDLIB)) + 10)

    def test_fork_while_threads_import(self):
        self.assertEqual(self.both("fork while threads import")[1], str([3] * 24) + "\n")

    def test_a_daemon(self):
        _, out = self.both("a daemon", self.path("daemon.out"))
        self.assertIn("'wave'", out)
        self.assertTrue(out.endswith("True, False)/\n"), out[-200:])

    def test_closing_what_is_open(self):
        self.assertIn("'%s/os.py'" % STDLIB, self.both("closing what is open")[1])

    def test_signals_while_importing(self):
        self.assertTrue(self.both("signals while importing")[1].endswith(" 0\n"))

    def test_no_descriptor_left(self):
        out = self.both("no descriptor left")[1]
        self.assertIn("('OSError', 24)", out)
        self.assertIn("('tarfile', '%s/tarfile.py')" % STDLIB, out)

    def test_children_of_children(self):
        out = self.both("children of children")[1]
        self.assertEqual(out.count("%s/json/__init__.py deep" % STDLIB), 8)

    def test_pools(self):
        out = self.both("pools")[1]
        self.assertEqual([line.split()[0] for line in out.splitlines()], ["fork", "spawn", "forkserver"])
        self.assertEqual(len({line.split(None, 1)[1] for line in out.splitlines()}), 1)

    def start(self, command):
        p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=self.env, start_new_session=True)
        self.addCleanup(self.end, p)
        return p

    @staticmethod
    def end(p):
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()

    def test_the_stage_goes_away(self):
        d = self.prepare("the stage goes away")
        native = self.run_command([PYTHON, self.script], env=self.env).stdout
        running = [self.start([d + "/run", PYTHON, self.script]) for _ in range(8)]
        for p in running:
            self.assertEqual(p.stdout.readline(), b"ready\n")
        for p in running[:4]:  # these are at work when it goes, the others begin after it
            p.stdin.write(b"\n")
            p.stdin.flush()
        self.run_command(["rm", "-rf", d])
        self.assertFalse(os.path.exists(d))
        for p in running[4:]:
            p.stdin.write(b"\n")
            p.stdin.flush()
        for p in running:
            out, err = p.communicate(timeout=120)
            self.assertEqual((p.returncode, err), (0, b""))
            self.assertEqual("ready\n" + out.decode(), native)


class Programs(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        self.write("tree/f", "contents of f\n")
        self.write("tree/b/g", "contents of g\n")
        os.symlink("f", self.root + "/to-f")
        self.threads = PROGS + "/threads"

    def served(self, way, *args):
        """The outputs of the program natively and served."""
        program = [self.threads, way, self.root, *args]
        self.record(self.path("m.json"), [self.threads, "small", self.root], include=[self.root])
        d = self.stage(self.path("m.json"))
        native, served = self.run_command(program), self.run_command([d + "/run", *program])
        self.assertEqual((native.stderr, served.stderr), ("", ""))
        return native.stdout, served.stdout

    def same(self, way, *args, text=""):
        native, served = self.served(way, *args)
        self.assertEqual(native, text + "done\n")
        self.assertEqual(served, native)

    def test_canceled_at_a_point(self):
        self.same("deferred", text="320 of 320 canceled, 0 descriptors more\n")

    def test_an_open_that_is_served_is_such_a_point(self):
        self.same("polling", text="320 of 320 canceled, 0 descriptors more\n")

    def test_canceled_anywhere(self):
        self.same("asynchronous", text="320 of 320 canceled, 0 descriptors more\n")

    def test_signal_handlers(self):
        self.same("signals", text="0 handlers failed\n")

    def test_vfork_in_threads(self):
        self.same("vfork", shutil.which("true"), text="0 descriptors more\n")

    def test_a_handler_has_little_stack(self):
        self.same("handler")

    def test_small_stacks(self):
        self.same("small")

    def test_a_long_directory(self):
        """Its path takes more than what is kept free for one at first."""
        deep = os.path.join(self.root, *["d" * 200] * 7)
        os.makedirs(deep)
        for name in ("f", "b", "to-f"):
            os.rename(os.path.join(self.root, name), os.path.join(deep, name))
        self.root = deep
        self.same("small")
        self.served("stack")

    def test_no_descriptor_left(self):
        native, served = self.served("full")
        # The one answer that differs, and doc/how-it-works.md says so: an absence needs no descriptor.
        self.assertIn("open none: Too many open files\n", native)
        told = native.replace("open none: Too many open files", "open none: No such file or directory")
        self.assertEqual(served, told)
        self.assertIn("opendir: Too many open files\n", served)

    def test_no_call_needs_much_stack(self):
        needed = [line.split() for line in self.served("stack")[1].splitlines() if line != "done"]
        self.assertGreater(len(needed), 50)
        # An older realpath has two paths of PATH_MAX on its stack.
        more = {"fopen": 8 << 10, "statvfs": 8 << 10, "realpath": 8 << 10 if glibc() >= (2, 34) else 12 << 10}
        self.assertEqual([(name, n) for name, n in needed if int(n) > more.get(name, 4 << 10)], [])
