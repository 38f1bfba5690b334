"""What the end-to-end tests share: a scratch directory that goes away, the command, stages, and counting system calls.

Everything is run for real: the kernel, MPI, strace. BUILD names the folder with the products; Debian's own python3 is
the program under test."""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
PROGS = os.path.join(BUILD, "progs")
DLCACHE = os.path.join(BUILD, "dlcache")
PYTHON = "/usr/bin/python3"
STDLIB = subprocess.run([PYTHON, "-c", "import os; print(os.path.dirname(os.__file__))"], stdout=subprocess.PIPE,
                        text=True, check=True).stdout.strip()  # "/usr/lib/python3.11"
MPICC = os.environ.get("MPICC", "mpicc.mpich").split()
MPIEXEC = os.environ.get("MPIEXEC", "mpiexec.mpich")
SHM = "/dev/shm"

# What would change what is tested, or is left over from whoever runs the tests.
UNWANTED = re.compile(r"^(DLCACHE_|LD_|PYTHON|PMI|PMIX|OMPI|SLURM|PBS|LSB|FLUX|GLIBC_TUNABLES|VIRTUAL_ENV)")


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not UNWANTED.match(k)}
    # Leaks are the units' and valgrind's to find: here processes are traced, and MPI never frees everything.
    env["ASAN_OPTIONS"] = "detect_leaks=0:verify_asan_link_order=0"
    env.update({k: str(v) for k, v in more.items() if v is not None})
    return env


def glibc():
    """The C library's version, two numbers."""
    return tuple(int(n) for n in os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")[:2])


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="dlcache-test.")
        self.addCleanup(self.sweep)
        # Stages of one test are in a place of its own: tests can run beside a user's own stages.
        self.place = tempfile.mkdtemp(prefix="dlcache-test.", dir=SHM)

    def sweep(self):
        for path in (self.tmp, self.place):
            subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(path, ignore_errors=True)
            self.assertFalse(os.path.exists(path), path)

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def write(self, name, text="", mode=None):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        if mode is not None:
            os.chmod(path, mode)
        return path

    def run_command(self, argv, env=None, status=0, timeout=120, **kw):
        """Runs argv to its end and asserts its exit status. Its process group ends with it, whatever happens."""
        proc = subprocess.Popen(argv, env=environment() if env is None else env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True, **kw)
        try:
            out, err = proc.communicate(timeout=timeout)
        finally:
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        result = subprocess.CompletedProcess(argv, proc.returncode, os.fsdecode(out), os.fsdecode(err))
        if status is not None:
            self.assertEqual(result.returncode, status,
                             "%s\nstdout: %s\nstderr: %s" % (argv, result.stdout[-3000:], result.stderr[-3000:]))
        return result

    def dlcache(self, *args, status=0, **kw):
        return self.run_command([DLCACHE, *args], status=status, **kw)

    def record(self, manifest, command, include=(), status=0, env=None, extra=()):
        args = ["record", "-o", manifest, *extra]
        for prefix in include:
            args += ["--include", prefix]
        return self.dlcache(*args, "--", *command, status=status, env=env)

    def stage(self, manifest, ranks=1, args=(), env=None, status=0):
        """Stages with `ranks` ranks of MPI; the directory."""
        command = [DLCACHE, "stage", "--dir", self.place, *args, manifest]
        if ranks:
            command = [MPIEXEC, "-n", str(ranks), *command]
        result = self.run_command(command, env=env, status=status)
        if status != 0:
            return result
        lines = result.stdout.splitlines()
        self.assertEqual(len(lines), 1, result.stdout + result.stderr)
        self.assertTrue(os.path.isdir(lines[0]), lines)
        return lines[0]

    def strace(self, argv, env=None, what="%file,getdents64", status=0, timeout=300, exports=(), **kw):
        """Runs argv under strace: (result, its lines, all processes', descriptors shown with their paths). `exports`:
        "NAME=VALUE", for argv alone."""
        log = self.path("strace.%d" % len(os.listdir(self.tmp)))
        result = self.run_command(["strace", "-f", "-y", "-qq", "-e", "signal=none", "-e", "trace=" + what,
                                   "-s", "4096", "-o", log, *(a for e in exports for a in ("-E", e)), *argv],
                                  env=env, status=status, timeout=timeout, **kw)
        with open(log, errors="surrogateescape") as f:
            return result, self.calls(f)

    @staticmethod
    def calls(lines):
        """strace's lines without the process's number; one that another process's has cut in two is one again."""
        begun, whole = {}, []
        for line in lines:
            pid, _, call = line.rstrip("\n").partition(" ")
            call = call.lstrip()
            if call.endswith(" <unfinished ...>"):
                begun[pid] = call[:-len(" <unfinished ...>")]
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>", call)
            if resumed and pid in begun:
                call = begun.pop(pid) + call[resumed.end():]
            whole.append(call)
        return whole + list(begun.values())

    @staticmethod
    def touching(lines, *prefixes):
        """Those of strace's lines that name a path below one of the prefixes: as an argument, or a descriptor's."""
        spots = ["\"" + p for p in prefixes] + ["<" + p for p in prefixes]
        return [line for line in lines if any(s in line.rsplit(" = ", 1)[0] for s in spots)]


def main():
    """Runs all test_*.py beside this file; the last line is the plain count."""
    names = sys.argv[1:]
    loader = unittest.TestLoader()
    if names:
        suite = loader.loadTestsFromNames(names)
    else:
        suite = loader.discover(os.path.dirname(os.path.abspath(__file__)))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    line = "%d passed, %d failed" % (result.testsRun - failed - skipped, failed)
    print(line + (", %d skipped" % skipped if skipped else ""))
    return 1 if failed or skipped or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
