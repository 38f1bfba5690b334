"""Every entry point of the C library is decided: doc/surface.md against the shim's table and the library installed;
and the entry points that only a look at all of them brought to mind."""
import os
import re
import subprocess

from harness import BUILD, PYTHON, TOP, glibc
from test_calls import Tree

DECISIONS = {"served", "noted", "invalidates", "original", "passes"}
# Those that the other door alone serves: the dynamic loader's.
AUDITED = set()
# Where functions lived before the C library took them in (2.34): what is not there is in libc.so.6.
LIBRARIES = ("libc.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libanl.so.1")


def rows():
    """(names, decision, reason) of each line of the table."""
    with open(TOP + "/doc/surface.md") as f:
        lines = f.read().split("| entry points | decision |", 1)[1].splitlines()[2:]
    for line in lines:
        if line.startswith("|"):
            names, decision, reason = (cell.strip() for cell in line.strip("|").split(" | ", 2))
            yield re.findall(r"`(\w+)`", names), decision, reason.strip(" |")


def wrapped():
    with open(TOP + "/libdlcache/shim/symbols.def") as f:
        return re.findall(r"^SYM\([^,]*, (\w+),", f.read(), re.M)


def unrelated():
    with open(TOP + "/test/data/unrelated-symbols.txt") as f:
        return f.read().splitlines()


def twice(names):
    return sorted({n for n in names if names.count(n) > 1})


class Table(Tree):
    def test_rows(self):
        for names, decision, reason in rows():
            self.assertTrue(names, reason)
            self.assertIn(decision, DECISIONS, names)
            self.assertGreater(len(reason), 5, names)

    def test_wrapped_is_decided(self):
        decided = {name: decision for names, decision, _ in rows() for name in names}
        self.assertEqual([n for n in wrapped() if decided.get(n, "passes") == "passes"], [])
        self.assertEqual({n for n in decided if decided[n] != "passes"} - set(wrapped()), AUDITED)

    def test_nothing_twice(self):
        table = [name for names, _, _ in rows() for name in names]
        self.assertEqual(twice(table), [])
        self.assertEqual(twice(wrapped()), [])
        self.assertEqual(unrelated(), sorted(set(unrelated())))
        self.assertEqual(set(table) & set(unrelated()), set())

    def installed(self):
        """The names that the C library exports to programs, as the loader finds them here."""
        maps = self.run_command([PYTHON, "-c", "print(open('/proc/self/maps').read())"]).stdout
        where = os.path.dirname(re.search(r"(/\S*/libc\.so\.6|/\S*/libc-2\S*\.so)$", maps, re.M).group(1))
        names = set()
        for library in LIBRARIES:
            if os.path.exists(where + "/" + library):
                nm = self.run_command(["nm", "-D", "--defined-only", where + "/" + library])
                for line in nm.stdout.splitlines():
                    kind, name = line.split()[-2:]
                    name, _, version = name.partition("@")
                    # A: the names of versions. GLIBC_PRIVATE: for the parts of the C library themselves.
                    if kind != "A" and "PRIVATE" not in version:
                        names.add(name)
        return names

    def test_the_c_library_installed(self):
        installed = self.installed()
        self.assertGreater(len(installed), 2000)
        self.assertLess({"open", "pthread_create", "dlopen", "shm_open"}, installed)
        known = set(unrelated()) | {name for names, _, _ in rows() for name in names}
        self.assertEqual(sorted(installed - known), [], "decide them in doc/surface.md")


HEAD = r"""
import ctypes, fcntl, os, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
root = sys.argv[1]
os.chdir(root)
f = os.open(root + '/a/f', os.O_RDONLY)
d = os.open(root + '/a', os.O_RDONLY)
path = os.fsencode(root + '/a/f')
def call(name, *args):
    result = getattr(libc, name)(*args)
    return result, ctypes.get_errno() if result < 0 else 0
"""


class Rare(Tree):
    """Entry points that few programs call: natively on one copy of the tree, and served on another."""

    def fill(self):
        super().fill()
        os.unlink(self.root + "/a/out")  # the mirror is to have nothing from outside of the test

    def same(self, code, want):
        for served in (False, True):
            root = self.path("served" if served else "native")
            subprocess.run(["cp", "-a", self.root, root], check=True)
            run = [self.staged(root) + "/run"] if served else []
            result = self.run_command([*run, PYTHON, "-c", HEAD + code, root])
            self.assertEqual((result.stdout + result.stderr).replace(root, "ROOT"), want, served)
        return root

    def test_handles(self):
        self.same(r"""
def handle(*where):
    h = ctypes.create_string_buffer(struct.pack('Ii', 128, 0), 136)
    mount = ctypes.c_int()
    assert call('name_to_handle_at', where[0], where[1], h, ctypes.byref(mount), where[2]) == (0, 0)
    return h.raw, mount.value
by_path = handle(-100, path, 0)
print(handle(d, b'f', 0) == by_path, handle(f, b'', 0x1000) == by_path)
w = libc.open_by_handle_at(d, ctypes.create_string_buffer(by_path[0], 136), os.O_RDWR | os.O_TRUNC)
print(os.write(w, b'NEW'), os.stat(path).st_size, open(path).read())
""", "True True\n3 3 NEW\n")

    def test_fanotify(self):
        self.same(r"""
libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]
n = libc.fanotify_init(2, 0)
print(call('fanotify_mark', n, 1, 2, f, None), call('fanotify_mark', n, 1, 2, d, b'untouched'))
for name in ('f', 'untouched'):
    with open(root + '/a/' + name, 'a') as out:
        out.write('x')
    print(len(os.read(n, 4096)))
""", "(0, 0) (0, 0)\n24\n24\n")

    def test_copies_in_one_file_system(self):
        self.same("""
out = os.open(root + '/out', os.O_RDWR | os.O_CREAT)
print(os.lseek(f, 2, 0), os.copy_file_range(f, out, 5), os.lseek(f, 0, 1), os.pread(out, 9, 0))
print(os.readlink('/proc/self/fd/%d' % f))
""", "2 5 7 b'ntent'\nROOT/a/f\n")

    def test_ioctl(self):
        self.same(r"""
GET, SET, NODUMP = ctypes.c_ulong(0x80086601), ctypes.c_ulong(0x40086602), 0x40
flags = ctypes.c_long()
first = call('ioctl', f, GET, ctypes.byref(flags))
before = os.stat(path).st_ctime_ns
flags.value |= NODUMP
second = call('ioctl', f, SET, ctypes.byref(flags))
g = os.open(path, os.O_RDWR)
after = ctypes.c_long()
if first[0] == second[0] == 0:
    call('ioctl', g, GET, ctypes.byref(after))
    print(after.value & NODUMP, os.stat(path).st_ctime_ns > before)
else:  # a file system without them
    print(64 * (call('ioctl', g, GET, ctypes.byref(after)) == first), True)
print(call('ioctl', f, ctypes.c_ulong(0x541b), ctypes.byref(flags)), flags.value)  # FIONREAD
print(call('ioctl', f, ctypes.c_ulong(0x4020940d), ctypes.c_void_p(1))[0])  # FICLONERANGE of what is not readable
""", "64 True\n(0, 0) 14\n-1\n")

    def test_spawned_in_a_directory_of_the_mirror(self):
        self.same(r"""
actions = ctypes.create_string_buffer(512)
libc.posix_spawn_file_actions_init(actions)
print(libc.posix_spawn_file_actions_addfchdir_np(actions, d), flush=True)
pid = ctypes.c_int()
argv = (ctypes.c_char_p * 3)(b'/bin/readlink', b'/proc/self/cwd', None)
assert libc.posix_spawn(ctypes.byref(pid), argv[0], actions, None, argv, (ctypes.c_char_p * 1)(None)) == 0
print(os.waitpid(pid.value, 0)[1])
""", "0\nROOT/a\n0\n")

    def test_locks_by_the_other_name(self):
        self.same(r"""
lock = ctypes.create_string_buffer(struct.pack('hhqqi', fcntl.F_RDLCK, 0, 0, 0, 0), 32)
print(call('__fcntl', f, fcntl.F_SETLK, lock), flush=True)
other = '''
import fcntl, sys
with open(sys.argv[1], 'r+') as f:
    try:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print('free')
    except OSError:
        print('locked')
'''
subprocess.run([sys.executable, '-c', other, path])
""", "(0, 0)\nlocked\n")

    def test_syncing(self):
        """The original is synced, not node memory."""
        root = self.path("traced")
        subprocess.run(["cp", "-a", self.root, root], check=True)
        code = """
for name, fd in (('fsync', d), ('fdatasync', f), ('syncfs', os.open(root, os.O_RDONLY))):
    assert call(name, fd) == (0, 0) and call(name, -1) == (-1, 9)
"""
        _, lines = self.strace([self.staged(root) + "/run", PYTHON, "-c", HEAD + code, root],
                               what="fsync,fdatasync,syncfs")
        self.assertEqual([re.sub(r"\(\d+", "(", line).split(">")[0] for line in lines if " = 0" in line],
                         ["fsync(<%s/a" % root, "fdatasync(<%s/a/f" % root, "syncfs(<%s" % root])

    def test_written_by_the_c_library(self):
        self.same(r"""
libc.setmntent.restype = libc.pututline.restype = ctypes.c_void_p
with_mode = lambda mode: ctypes.c_void_p(libc.setmntent(path, mode))
m = with_mode(b'r')
libc.endmntent(m)
m = with_mode(b'a')
libc.fputs(b'xyz', m)
libc.endmntent(m)
print(os.stat(path).st_size)
""", "17\n")
        for code, size in ((r"libc.updwtmp(path, ctypes.create_string_buffer(384))", 384),
                           (r"""
entry = ctypes.create_string_buffer(384)
struct.pack_into('h', entry, 0, 1)
assert libc.utmpname(path) == 0
libc.setutent()
libc.pututline(entry)
libc.endutent()""", 384),
                           ("libc._IO_fopen.restype = ctypes.c_void_p\n"
                            "libc.fclose(ctypes.c_void_p(libc._IO_fopen(path, b'w')))", 0)):
            subprocess.run(["rm", "-rf", self.path("native"), self.path("served")], check=True)
            self.same("os.truncate(root + '/a/b/g', 0)\n" + code + "\nprint(os.stat(path).st_size // 384 * 384)",
                      "%d\n" % size)

    def test_mounted_the_new_way(self):
        self.addCleanup(subprocess.run, ["umount", "-lq", self.path("served", "a"), self.path("native", "a")],
                        stderr=subprocess.DEVNULL, check=False)
        self.same(r"""
def new(name, number, *args):  # of 2.36: before, there is the system call, and ours
    return call(name, *args) if hasattr(libc, name) else call('syscall', number, *args)
fs = new('fsopen', 430, b'tmpfs', 0)[0]
assert new('fsconfig', 431, fs, 6, None, None, 0) == (0, 0)
m = new('fsmount', 432, fs, 0, 0)[0]
print(new('move_mount', 429, m, b'', -100, os.fsencode(root + '/a'), 4))
print(os.listdir(root + '/a'), os.path.exists(path))
""", "(0, 0)\n[] False\n")

    def test_what_an_older_c_library_lacks(self):
        """Whoever looks for it there finds ours, which does what the newer one's does; also for ourselves."""
        code = r"""
room = ctypes.create_string_buffer(512)
def told(name, *args):
    libc_call = call(name, *args)
    return libc_call if libc_call != (0, 0) else struct.unpack_from('QQ', room)
def wanted(path, follow=True):
    try:
        st = os.stat(path, follow_symlinks=follow)
    except OSError as e:
        return -1, e.errno
    return st.st_dev, st.st_ino
def child(*args):
    pid = os.fork()
    if pid == 0:
        os._exit(call('execveat', *args)[1])
    return os.waitpid(pid, 0)[1]
def opened(name, *args):
    fd, error = call(name, *args)
    return os.fstat(fd).st_ino if fd >= 0 and name == 'open_tree' else 0 if fd >= 0 else -error
def made(name, *args):
    return call(name, *args), os.stat(root + '/made').st_mode, os.unlink(root + '/made')
def check(name, found, want):
    if not hasattr(libc, name):
        print(name, 'none')
    elif found() != want:
        print(name, 'wrong', found(), want)
    else:
        print(name, 'right')
sh = [b'/bin/sh', b'-c', b'exit 7']
argv, env = (ctypes.c_char_p * 4)(*sh, None), (ctypes.c_char_p * 1)(None)
n = 0
for where in ('/a/f', '/a/to-f', '/a/none', '/a/untouched', '/empty', '/../none'):
    p, b = root + where, os.fsencode(root + where)
    for suffix in ('', '64'):
        check('stat' + suffix, lambda: told('stat' + suffix, b, room), wanted(p))
        check('lstat' + suffix, lambda: told('lstat' + suffix, b, room), wanted(p, False))
        check('fstatat' + suffix, lambda: told('fstatat' + suffix, -100, b, room, 0x100), wanted(p, False))
for suffix in ('', '64'):
    check('fstat' + suffix, lambda: told('fstat' + suffix, f, room), wanted(f))
    check('fstatat' + suffix, lambda: told('fstatat' + suffix, d, b'f', room, 0), wanted(path))
    check('fstat' + suffix, lambda: told('fstat' + suffix, 9999, room), (-1, 9))
r = os.open(root, os.O_RDONLY)
check('mknod', lambda: made('mknod', os.fsencode(root + '/made'), 0o10600, ctypes.c_ulong(0)), ((0, 0), 0o10600, None))
check('mknodat', lambda: made('mknodat', r, b'made', 0o10600, ctypes.c_ulong(0)), ((0, 0), 0o10600, None))
check('mknod', lambda: call('mknod', os.fsencode(root + '/made'), 0o20600, ctypes.c_ulong(1 << 40)), (-1, 22))
check('execveat', lambda: child(-100, b'/bin/sh', argv, env, 0), 7 << 8)
check('execveat', lambda: child(-100, b'/none', argv, env, 0), 2 << 8)
check('open_tree', lambda: opened('open_tree', d, b'f', 0), os.stat(path).st_ino)
check('fspick', lambda: opened('fspick', -100, b'/proc', 0), 0)
check('move_mount', lambda: call('move_mount', -100, b'/none', -100, b'/none', 0), (-1, 2))
with open(path, 'a') as out:
    out.write('more')
assert call('statx', f, b'', 0x1000, 0x7ff, room) == (0, 0)
print(struct.unpack_from('Q', room, 40)[0])
"""
        subprocess.run(["cp", "-a", self.root, self.path("native")], check=True)
        native = self.run_command([PYTHON, "-c", HEAD + code, self.path("native")])
        served = self.run_command([self.staged(self.root) + "/run", PYTHON, "-c", HEAD + code, self.root])
        self.assertNotIn("wrong", native.stdout)
        self.assertEqual(served.stdout, native.stdout.replace(" none\n", " right\n"))
        self.assertIn("\n18\n", served.stdout)
        lacks = set(re.findall(r"(\w+) none", native.stdout))
        self.assertEqual("stat" in lacks, glibc() < (2, 33))

    def test_without_a_capability(self):
        os.chown(self.root + "/a/b", 1, 1)
        os.chmod(self.root + "/a/b", 0o700)
        self.same(r"""
print(os.path.exists(root + '/a/b/c/h'))
header = ctypes.create_string_buffer(struct.pack('Ii', 0x20080522, 0), 8)
print(call('capset', header, ctypes.create_string_buffer(24)), os.path.exists(root + '/a/b/c/h'))
""", "True\n(0, 0) False\n")

    def test_where_an_object_comes_from(self):
        """Its origin and its search directories: those of the original, though the loader has it from the mirror."""
        source = self.write("x.c", "int answer(void) { return 42; }\n")
        library = self.root + "/a/libx.so"
        self.run_command(["cc", "-shared", "-fPIC", "-Wl,-rpath,$ORIGIN/b", source, "-o", library])
        code = r"""
import ctypes, sys
libc = ctypes.CDLL(None)
x = ctypes.CDLL(sys.argv[1])
handle = ctypes.c_void_p(x._handle)
origin = ctypes.create_string_buffer(4096)
size = ctypes.create_string_buffer(16)
print(x.answer(), libc.dlinfo(handle, 6, origin), origin.value, libc.dlinfo(handle, 5, size))
info = ctypes.create_string_buffer(size.raw + b'\0' * 8192)
print(libc.dlinfo(handle, 4, info))
for i in range(ctypes.c_uint.from_buffer(info, 8).value):
    print(ctypes.string_at(ctypes.c_void_p.from_buffer(info, 16 + 16 * i).value))
try:
    x.nothing
except AttributeError as e:
    print(e)
print([line for line in open('/proc/self/maps') if 'libx' in line and '/dev/shm/' in line] != [], file=sys.stderr)
"""
        manifest = self.path("m.json")
        argv = [PYTHON, "-c", code, library]
        self.record(manifest, argv, include=[self.root])
        native = self.run_command(argv)
        served = self.run_command([self.stage(manifest) + "/run", *argv])
        self.assertEqual((native.stderr, served.stderr), ("False\n", "True\n"))
        self.assertEqual(served.stdout, native.stdout)
        self.assertIn("42 0 b'%s/a' 0\n0\nb'%s/a/b'\n" % (self.root, self.root), served.stdout)
