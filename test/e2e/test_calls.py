"""Every reading call, in each of its forms, answered as the kernel answers; and the calls that change something."""
import glob
import os
import re
import subprocess
import unittest

from harness import BUILD, PYTHON, PROGS, STDLIB, TOP, Case, environment, glibc


class Tree(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree", "tree")
        os.mkdir(self.path("tree"))
        self.fill()

    def write(self, name, text="", mode=None):
        return super().write("tree/" + name if name.startswith("tree/") else name, text, mode)

    def fill(self):
        self.write("tree/a/f", "contents of f\n", 0o644)
        self.write("tree/a/untouched", "not in the pilot\n")
        self.write("tree/a/b/g", "")
        self.write("tree/a/b/c/h", "#!/bin/sh\necho h\n", 0o755)
        self.write("tree/a/b/secret", "s", 0o000)
        self.write("tree/a/" + os.fsdecode(b"\xff\n\""), "odd name")
        os.mkdir(self.root + "/empty")
        os.link(self.root + "/a/f", self.root + "/a/b/hard")
        os.mkfifo(self.root + "/a/b/fifo")
        for target, name in (("b", "to-b"), ("f", "to-f"), ("f/", "to-f-slash"), ("to-b/c/h", "far"),
                             ("nowhere", "dangling"), ("loop2", "loop1"), ("loop1", "loop2"),
                             (self.root + "/a/b", "absolute"), ("../" * 30 + "etc/passwd", "out")):
            os.symlink(target, self.root + "/a/" + name)

    # Whatever the file is, the pilot has looked at it, and read what can be read.
    PILOT = """
import os, stat, sys
for where, dirs, files in os.walk(sys.argv[1]):
    for name in dirs + files:
        path = os.path.join(where, name)
        if name in ('untouched', 'loop1', 'loop2'):
            continue
        os.lstat(path)
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                open(path, 'rb').read()
        except OSError:
            pass
"""

    PATHS = ["a", "a/", "a/f", "a/f/", "a/f/x", "a/none", "a/none/x", "a/untouched", "a/b/g", "a/b/c/h", "a/b/secret",
             "a/b/hard", "a/b/c", "a/b/c/..", "a/to-b", "a/to-b/", "a/to-b/g", "a/to-f", "a/to-f/", "a/to-f-slash",
             "a/far", "a/dangling", "a/loop1", "a/absolute/g", "a/out", "empty", "empty/x", "none", ".", "..", "",
             "a//b/./c/../../f", "a/" + os.fsdecode(b"\xff\n\""), "x" * 256, "x/" * 2100, "a/" + "y" * 255]

    def staged(self, root=None):
        manifest = self.path("m.json")
        self.record(manifest, [PYTHON, "-S", "-c", self.PILOT, root or self.root], include=[root or self.root])
        return self.stage(manifest)


class Calls(Tree):
    def compare(self, root, paths):
        calls = [PROGS + "/calls", root, *paths]
        d = self.staged()
        native = self.run_command(calls, cwd=root)
        served = self.run_command([d + "/run", *calls], cwd=root)
        if native.stdout != served.stdout:
            a, b = native.stdout.split("\n"), served.stdout.split("\n")
            at = next(i for i in range(len(a)) if a[i] != b[i])
            self.fail("natively:\n%s\nserved:\n%s" % ("\n".join(a[max(0, at - 6):at + 3]),
                                                      "\n".join(b[max(0, at - 6):at + 3])))
        self.assertEqual(served.stderr, native.stderr)
        return d

    def test_absolute(self):
        paths = [self.root + "/" + p for p in self.PATHS if "fifo" not in p]
        self.compare(self.root, paths)

    def test_relative(self):
        self.compare(self.root, self.PATHS)

    def test_through_a_symlink(self):
        os.symlink(self.root, self.path("link"))
        self.compare(self.path("link"), self.PATHS)

    def test_no_call_on_the_original(self):
        """What is known costs no call on the original, in no form of any call."""
        known = ["a", "a/f", "a/f/x", "a/none", "a/none/x", "a/b/g", "a/to-b/g", "a/to-f", "a/far", "a/absolute/g",
                 "a/dangling", "empty", "empty/x", "none"]
        d = self.staged()
        calls = [PROGS + "/calls", "-k", self.root, *(self.root + "/" + p for p in known)]
        _, native = self.strace(calls)
        self.assertGreater(len(self.touching(native, self.root)), 500)
        _, served = self.strace([d + "/run", *calls], what="%file,getdents64")
        served = [line for line in served if not line.startswith(("execve", "write(1<"))]
        # The kernel is asked for failures that depend on more than the path (O_DIRECTORY or O_NOFOLLOW on what is none,
        # a buffer of no size), by the C library inside itself (realpath that fails), and by chdir.
        kernels = re.compile(r'open(at)?\(.*O_(DIRECTORY|NOFOLLOW).* = -1 E(NOTDIR|LOOP)|open(at)?\(.*O_NOFOLLOW\|O_PATH\)|'
                             r'readlink(at)?\(.*, 0\) = |readlink(at)?\(.*"/proc/|'
                             r'readlink\(.* = -1 |readlink\(.*, 1023\) = |chdir\(|getcwd\('
                            + (r'|lstat\(|readlink\(.*, 4095\) = ' if glibc() < (2, 33) else ""))  # its realpath
        rest = [line for line in served if '"' + self.root in line and not kernels.match(line)]
        self.assertEqual([line for line in rest if d not in line], [])

    def test_descriptors_know_nothing_of_the_mirror(self):
        d = self.staged()
        code = """
import os, sys
root, d = sys.argv[1:]
fd = os.open(root + '/a', os.O_RDONLY | os.O_DIRECTORY)
print(os.readlink('/proc/self/fd/%d' % fd), os.path.samestat(os.fstat(fd), os.stat(root + '/a')))
print(sorted(os.listdir(fd)), sorted((e.name, e.inode(), e.is_file(), e.is_symlink()) for e in os.scandir(fd) if 'loop' not in e.name and e.name != 'to-f-slash'))
f = os.open('f', os.O_RDONLY, dir_fd=fd)
print(os.read(f, 100), os.readlink('/proc/self/fd/%d' % f), os.path.samestat(os.fstat(f), os.stat(root + '/a/f')))
copy = os.dup(f)
print(os.fstat(copy) == os.fstat(f), os.path.realpath('/dev/fd/%d' % copy))
os.fchdir(fd)
print(os.getcwd(), os.stat('to-b/g').st_ino == os.stat(root + '/a/b/g').st_ino)
print(os.stat('untouched', dir_fd=fd).st_size, os.stat('out', dir_fd=fd, follow_symlinks=False).st_size)
child = os.fork()
if child == 0:
    print('child', os.fstat(f).st_ino == os.stat(root + '/a/f').st_ino, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
        argv = [PYTHON, "-c", code, self.root, d]
        native = self.run_command(argv)
        served, lines = self.strace([d + "/run", *argv])
        self.assertEqual(served.stdout, native.stdout)
        self.assertNotIn(d, served.stdout)


class Changes(Tree):
    """A change through the shim goes to the kernel, and is seen by every process of the node at once."""

    def both(self, code, again=True):
        """Runs the code natively on one copy of the tree, and served on another: the same output, and the same tree."""
        outputs, trees = [], []
        for served in (False, True):
            root = self.path("served" if served else "native")
            subprocess.run(["cp", "-a", self.root, root], check=True)
            argv = [PYTHON, "-c", "import os, sys\nroot = sys.argv[1]\nos.chdir(root)\n" + code, root]
            d = self.staged(root) if served else None
            run = [d + "/run"] if served else []
            result = self.run_command(run + argv)
            outputs.append((result.stdout + result.stderr).replace(root, "ROOT"))
            # Another process of the node sees what this one left.
            look = self.run_command(run + ["find", root, "-printf", "%P %y %s %m %l\\n"])
            trees.append(sorted(line for line in look.stdout.split("\n")))
            real = self.run_command(["find", root, "-printf", "%P %y %s %m %l\\n"])
            self.assertEqual(trees[-1], sorted(real.stdout.split("\n")))
        self.assertEqual(outputs[0], outputs[1])
        strip = [[line for line in t if " l " not in line] for t in trees]
        self.assertEqual(strip[0], strip[1])
        return outputs[1]

    def test_write_and_read_back(self):
        self.both("""
print(open('a/f').read())
with open('a/f', 'a') as f: f.write('more')
print(open('a/f').read(), os.stat('a/f').st_size, os.stat('a/b/hard').st_size)
print(open('a/b/hard').read())
with open('a/none', 'w') as f: f.write('new')
print(open('a/none').read(), 'none' in os.listdir('a'))
""")

    def test_remove_and_make_again(self):
        self.both("""
os.unlink('a/b/g')
print(os.path.exists('a/b/g'), sorted(os.listdir('a/b')))
open('a/b/g', 'w').write('again')
print(open('a/b/g').read())
os.unlink('a/b/c/h'); os.rmdir('a/b/c')
print(os.path.exists('a/b/c'), os.path.exists('a/far'))
os.mkdir('a/b/c'); open('a/b/c/h2', 'w').write('2')
print(os.listdir('a/b/c'), os.path.exists('a/b/c/h'), open('a/to-b/c/h2').read())
""")

    def test_rename(self):
        self.both("""
open('a/f.tmp', 'w').write('replaced')
os.replace('a/f.tmp', 'a/f')
print(open('a/f').read(), open('a/to-f').read(), open('a/b/hard').read(), sorted(os.listdir('a')))
os.rename('a/b', 'moved')
print(os.path.exists('a/b/g'), os.path.exists('moved/g'), os.path.exists('a/to-b/g'), sorted(os.listdir('.')))
""")

    def test_attributes(self):
        self.both("""
os.chmod('a/f', 0o600); print(oct(os.stat('a/f').st_mode), oct(os.stat('a/b/hard').st_mode))
os.utime('a/b/g', (1, 2)); print(os.stat('a/b/g').st_mtime)
os.truncate('a/f', 3); print(os.stat('a/f').st_size, open('a/f').read())
os.symlink('f', 'a/new-link'); print(os.readlink('a/new-link'), open('a/new-link').read())
os.link('a/f', 'a/second'); print(os.stat('a/f').st_nlink)
os.chmod('a/b', 0o700); print(oct(os.stat('a/b').st_mode), os.path.exists('a/b/g'))
""")

    def test_names_that_come_by_other_ways(self):
        self.both("""
import ctypes, errno, socket, tempfile
s = socket.socket(socket.AF_UNIX); s.bind('a/socket')
print(os.path.exists('a/socket'), 'socket' in os.listdir('a'))
print(os.path.exists('a/spawned'))
pid = os.posix_spawn('/bin/echo', ['echo', 'x'], os.environ,
                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, 'a/spawned', os.O_WRONLY | os.O_CREAT, 0o644)])
os.waitpid(pid, 0)
print(os.path.exists('a/spawned'), open('a/spawned').read())
fd, name = tempfile.mkstemp(dir='a', prefix='t'); print(os.path.exists(name)); os.unlink(name); print(os.path.exists(name))
libc = ctypes.CDLL(None, use_errno=True)
name = ctypes.create_string_buffer(b'a/libcXXXXXX'); fd = libc.mkstemp(name); print(os.path.exists(name.value))
os.unlink(name.value)
os.mkfifo('a/pipe'); print(os.stat('a/pipe').st_mode)
libc.opendir.restype = ctypes.c_void_p
class dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_ulong), ('off', ctypes.c_long), ('reclen', ctypes.c_ushort), ('type', ctypes.c_ubyte),
                ('name', ctypes.c_char * 256)]
libc.readdir.restype = ctypes.POINTER(dirent)
d = ctypes.c_void_p(libc.opendir(b'a/b'))
def names():
    found = []
    while e := libc.readdir(d): found.append(e.contents.name)
    return sorted(found)
print(names())
open('a/b/more', 'w').close(); os.unlink('a/b/g')
libc.rewinddir(d)
print(names())
""")

    def test_below_a_descriptor(self):
        self.both("""
fd = os.open('a', os.O_RDONLY | os.O_DIRECTORY)
f = os.open('new', os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd); os.write(f, b'x'); os.close(f)
print(os.stat('new', dir_fd=fd).st_size, os.path.exists('a/new'))
os.mkdir('dir', dir_fd=fd); os.rename('new', 'dir/new', src_dir_fd=fd, dst_dir_fd=fd)
print(os.listdir('a/dir')); os.unlink('f', dir_fd=fd); print(os.path.exists('a/f'))
f = os.open('b/g', os.O_RDWR | os.O_TRUNC, dir_fd=fd); os.write(f, b'12'); print(os.stat('a/b/g').st_size)
""")

    def test_bytecode_into_a_frozen_directory(self):
        self.write("tree/a/module.py", "x = 1\n")
        os.mkdir(self.root + "/a/__pycache__")
        self.both("""
sys.path.insert(0, 'a')
import importlib, subprocess
sys.dont_write_bytecode = False
import module
print(module.x, [n.split('.')[0] for n in os.listdir('a/__pycache__')])
open('a/module.py', 'w').write('x = 22222\\n')
importlib.invalidate_caches()
print(subprocess.run([sys.executable, '-c', 'import sys; sys.path.insert(0, "a"); import module; print(module.x)'],
                     capture_output=True, text=True).stdout)
""")

    def test_seen_by_a_process_that_runs_already(self):
        d = self.staged()
        code = """
import os, sys
root = sys.argv[1]
print(os.path.exists(root + '/a/none'), os.path.exists(root + '/a/f'), flush=True)
sys.stdin.readline()
print(os.path.exists(root + '/a/none'), os.path.exists(root + '/a/f'), flush=True)
"""
        with subprocess.Popen([d + "/run", PYTHON, "-c", code, self.root], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, env=environment()) as p:
            self.assertEqual(p.stdout.readline(), "False True\n")
            self.run_command([d + "/run", "mv", self.root + "/a/f", self.root + "/a/none"])
            p.stdin.write("\n")
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), "True False\n")
        self.assertEqual(p.returncode, 0)


    def test_locks_are_the_originals(self):
        """A lock that a served process holds is seen by one that knows nothing of the stage, and the other way round."""
        d = self.staged()
        code = """
import fcntl, os, subprocess, sys
path, other = sys.argv[1:]
def try_it(how):
    r = subprocess.run([sys.executable, '-c', other, path, how], env={}, capture_output=True, text=True)
    return r.stdout.strip() + r.stderr.strip()
fd = os.open(path, os.O_RDONLY)
os.lseek(fd, 5, os.SEEK_SET)
print(try_it('flock'))
fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
print(try_it('flock'), os.read(fd, 4), os.get_inheritable(fd))
fcntl.flock(fd, fcntl.LOCK_UN)
fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
print(try_it('lockf'), os.readlink('/proc/self/fd/%d' % fd) == path, os.fstat(fd) == os.stat(path))
os.fchmod(fd, 0o640)
print(oct(os.stat(path).st_mode), oct(os.fstat(fd).st_mode))
os.utime(fd, (5, 6))
print(os.stat(path).st_mtime)
print(os.fstatvfs(os.open(path, os.O_RDONLY))[:3] == os.statvfs(path)[:3])
"""
        other = """
import fcntl, sys
f = open(sys.argv[1], 'r+')
try:
    (fcntl.flock if sys.argv[2] == 'flock' else fcntl.lockf)(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print('free')
except BlockingIOError:
    print('locked')
"""
        argv = [PYTHON, "-c", code, self.root + "/a/f", other]
        served = self.run_command([d + "/run", *argv])
        self.assertEqual(served.stdout.split(), "free locked b'nts ' False locked True True 0o100640 0o100640 6.0 True"
                         .replace("b'nts '", "b'nts '").split())


@unittest.skipIf(os.geteuid() != 0, "only root can become somebody else")
class Elsewhere(Tree):
    """A process that sees other files, or may see fewer, is served no more."""

    def same(self, code, *args):
        code = "import ctypes, os, sys\nroot = sys.argv[1]\nlibc = ctypes.CDLL(None)\n" + code
        d = self.staged()
        native = self.run_command([PYTHON, "-c", code, self.root, *args])
        served = self.run_command([d + "/run", PYTHON, "-c", code, self.root, *args])
        self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
        self.assertNotEqual(native.stdout, "")

    def test_another_user(self):
        os.chmod(self.tmp, 0o755)
        os.chmod(self.root + "/a/b", 0o700)
        self.same("""
print(os.path.exists(root + '/a/b/g'))
os.setresuid(65534, 65534, 0)
print(os.path.exists(root + '/a/b/g'), os.access(root + '/a/f', os.R_OK))
os.seteuid(0)
print(os.path.exists(root + '/a/b/g'))
""")

    def test_children_of_another_user(self):
        """What they cannot load is not asked of ld.so: it would complain."""
        os.chmod(self.tmp, 0o755)
        self.same("""
import subprocess
for user in (65534, None):
    r = subprocess.run([sys.executable, '-c', 'import json, os; print(json.__file__, os.geteuid())'], user=user,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(r.returncode, r.stdout)
pid = os.fork()
if pid == 0:
    os.setresuid(65534, 65534, 65534)
    os.execl('/bin/sh', 'sh', '-c', 'echo $0 "$1" $FOO', 'zero', 'one  two')
os.waitpid(pid, 0)
pid = os.fork()
if pid == 0:
    os.execle('/bin/sh', 'sh', '-c', 'echo "$0" $FOO', dict(os.environ, FOO='bar'))
os.waitpid(pid, 0)
libc.execlp.restype = ctypes.c_int
pid = os.fork()
if pid == 0:
    libc.execlp(b'sh', b'sh', b'-c', b'echo a "$1"', b'b', b'c d', None)
os.waitpid(pid, 0)
sys.stdout.flush()
""")

    def test_another_root(self):
        os.makedirs(self.root + "/jail" + self.root + "/a")
        self.same("""
fd = os.open(root + '/a/f', os.O_RDONLY)
st = os.fstat(fd)
os.chroot(root + '/jail')
print(os.path.exists(root + '/a'), os.path.exists(root + '/a/f'), os.fstat(fd) == st)
""")

    def test_modules_after_chroot(self):
        code = """
import os, sys
os.chroot('/proc/self/root' if len(sys.argv) < 2 else sys.argv[1])
import _ctypes, _queue
print(_ctypes.__file__, _queue.__file__)
"""
        root = self.path("root")
        os.makedirs(root + "/usr/lib")
        for name in ("usr/lib", "lib", "lib64"):
            os.makedirs(root + "/" + name, exist_ok=True)
        manifest = self.path("m.json")
        self.record(manifest, [PYTHON, "-c", code], include=["/usr"])
        d = self.stage(manifest)
        # Python's own directory is there under the other root as well, and what the modules need.
        self.run_command(["cp", "-a", STDLIB, root + STDLIB])
        for name in ("libffi.so.[0-9]", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"):
            for library in glob.glob("/lib/*-linux-gnu/" + name):
                os.makedirs(root + "/usr" + os.path.dirname(library), exist_ok=True)
                self.run_command(["cp", "-L", library, root + "/usr" + library])
        argv = [PYTHON, "-c", code, root]
        native = self.run_command(argv)
        served = self.run_command([d + "/run", *argv])
        self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))

    def test_another_mount(self):
        os.makedirs(self.root + "/other")
        self.write("tree/other/f", "another")
        self.same("""
assert libc.unshare(0x20000) == 0
assert libc.mount(b'none', b'/', None, 0x44000, None) == 0
print(open(root + '/a/f').read())
assert libc.mount((root + '/other').encode(), (root + '/a').encode(), None, 0x1000, None) == 0
print(open(root + '/a/f').read(), os.listdir(root + '/a'))
""")


class Mirror(Tree):
    """Whoever walks into the mirror by its name meets the mirror: above all, what is removed there is no original."""

    def originals(self):
        return self.run_command(["find", self.root, "-printf", "%P %y %s %T@ %l\\n"]).stdout

    def test_removing_a_stage_from_an_attached_program(self):
        py = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"
        by_fd = ("import os, sys\nd = sys.argv[1]\nfd = os.open(d, os.O_RDONLY)\n"
                 "for n in ('root', 'root' + %r):\n"
                 "    try:\n        f = os.open(n, os.O_RDONLY, dir_fd=fd)\n"
                 "        [os.unlink(x, dir_fd=f) for x in os.listdir(f)]\n    except OSError as e: print(e)\n"
                 % (self.root + "/a"))
        for command in (["rm", "-rf"], ["find", "-delete"], ["sh", "-c", 'cd "$0/root" && rm -rf *'],
                        [PYTHON, "-c", py], [PYTHON, "-c", by_fd],
                        ["sh", "-c", 'rm -rf "$0/root%s/a/b" "$0/root%s"' % (self.root, self.root)],
                        ["sh", "-c", 'for f in "$0/root%s/a/"*; do echo x >"$f"; : >>"$f"; done' % self.root]):
            d = self.staged()
            before = self.originals()
            argv = ["find", d, "-delete"] if command[0] == "find" else [*command, d]
            self.run_command([d + "/run", *argv], status=None)
            self.assertEqual(self.originals(), before, command)
            # What is left serves what is true, or nothing.
            if os.path.exists(d + "/run"):
                look = [PYTHON, "-c", "import sys; print(open(sys.argv[1] + '/a/f').read())", self.root]
                self.assertEqual(self.run_command([d + "/run", *look]).stdout, "contents of f\n\n", command)

    def test_unstage_from_an_attached_program(self):
        d = self.staged()
        before = self.originals()
        self.run_command([d + "/run", BUILD + "/dlcache", "unstage", d])
        self.assertFalse(os.path.exists(d))
        self.assertEqual(self.originals(), before)

    def test_a_descriptor_by_its_link(self):
        """/proc/self/fd/N stands for what N stands for."""
        d = self.staged()
        code = """
import os, sys
root = sys.argv[1]
fd = os.open(root + '/a/b/g', os.O_RDONLY)
for link in ('/proc/self/fd/%d', '/dev/fd/%d', '/proc/thread-self/fd/%d'):
    print(os.path.samestat(os.stat(link % fd), os.stat(root + '/a/b/g')), os.readlink(link % fd) == root + '/a/b/g')
w = os.open('/proc/self/fd/%d' % fd, os.O_WRONLY | os.O_TRUNC)
os.write(w, b'written')
print(open(root + '/a/b/g').read(), os.fstat(fd).st_size)
dir = os.open(root + '/a', os.O_RDONLY | os.O_DIRECTORY)
os.chdir('/proc/self/fd/%d' % dir)
print(os.getcwd() == root + '/a', os.path.exists('f'))
"""
        argv = [PYTHON, "-c", code, self.root]
        served = self.run_command([d + "/run", *argv])
        self.assertEqual(served.stdout, "True True\n" * 3 + "written 7\nTrue True\n")
        with open(self.root + "/a/b/g") as f:
            self.assertEqual(f.read(), "written")


class Surface(Case):
    def test_exports_are_the_table(self):
        with open(TOP + "/libdlcache/shim/symbols.def") as f:
            table = set(re.findall(r"^SYM\([^,]*, (\w+),", f.read(), re.M))
        self.assertGreater(len(table), 90)
        nm = self.run_command(["nm", "-D", "--defined-only", BUILD + "/libdlcache.so"])
        self.assertEqual({line.split()[2] for line in nm.stdout.splitlines()}, table)

    def test_audit_library_needs_nothing(self):
        read = self.run_command(["readelf", "-dW", BUILD + "/libdlcache-audit.so"])
        self.assertNotIn("NEEDED", read.stdout)
        nm = self.run_command(["nm", "-D", BUILD + "/libdlcache-audit.so"])
        self.assertEqual(sorted(line.split()[-2:] for line in nm.stdout.splitlines()),
                         [["T", "la_activity"], ["T", "la_objclose"], ["T", "la_objopen"], ["T", "la_objsearch"], ["T", "la_preinit"], ["T", "la_version"]])

    def test_the_preloaded_library_calls_nothing_that_it_may_not(self):
        nm = self.run_command(["nm", "-D", "--undefined-only", BUILD + "/libdlcache.so"])
        names = {line.split()[-1].split("@")[0] for line in nm.stdout.splitlines() if " U " in line}
        # malloc, free, realloc, strdup, qsort: for what scandir and realpath give to the caller.
        # One step, before the program has begun, and in its ranks alone, loads a library that is no guest (onestep.c).
        names -= {"dlopen", "dladdr", "sigaction", "sigprocmask", "raise", "strcpy", "strcat", "strspn"}
        self.assertEqual(names - {"__errno_location", "dlsym", "dlvsym", "_r_debug", "dlclose", "dl_iterate_phdr", "getpagesize", "strpbrk", "malloc", "free", "realloc", "strdup",
                                  "qsort", "getauxval", "memmem", "strstr",
                                  "dirfd", "environ", "fileno", "strchr", "strcmp", "strncmp", "strrchr", "__environ", "strcspn", "getxattr", "listxattr", "statfs", "statfs64", "statvfs", "statvfs64", "pathconf",
                                  "memchr", "memcmp", "memcpy", "memmove", "memset", "strlen", "strnlen"}, set())
