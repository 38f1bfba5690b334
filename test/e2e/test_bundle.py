"""Bundles: a tar archive of an environment, served as if it were unpacked at a prefix."""
import io
import lzma
import os
import random
import shutil
import subprocess
import tarfile

from harness import MPIEXEC, PYTHON, environment
from staging import StageCase

CHUNK = 4 << 20

# Every name below a directory, with all that is to be the same as natively. A directory's size is its file system's.
LOOK = r"""
import hashlib, os, stat, sys
links = {}
for where, dirs, files in os.walk(os.fsencode(sys.argv[1])):
    dirs.sort()
    for path in [where] + [os.path.join(where, n) for n in sorted(dirs + files) if not os.path.isdir(os.path.join(where, n))
                           or os.path.islink(os.path.join(where, n))]:
        st = os.lstat(path)
        directory = stat.S_ISDIR(st.st_mode)
        print(path, oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, None if directory else st.st_size,
              None if directory and path == where == os.fsencode(sys.argv[1]) else st.st_mtime_ns)
        if st.st_nlink > 1 and not directory:
            links.setdefault(st.st_ino, []).append(path)
        if stat.S_ISLNK(st.st_mode):
            print(os.readlink(path))
        if stat.S_ISREG(st.st_mode):
            with open(path, "rb") as f:
                assert os.fstat(f.fileno())[:4] == st[:4]
                print(hashlib.sha256(f.read()).hexdigest())
    with os.scandir(where) as entries:
        for e in entries:
            assert e.inode() == os.lstat(e.path).st_ino, e.path
            assert e.stat(follow_symlinks=False).st_dev == os.lstat(where).st_dev
print(sorted(sorted(v) for v in links.values()))
"""


class Bundle(StageCase):
    def setUp(self):
        super().setUp()
        self.at = os.path.join(self.src, "sw", "env")   # not there
        self.tree = self.path("tree")
        os.mkdir(self.tree)

    def put(self, name, data=b"", mode=0o644, mtime=None):
        path = os.path.join(os.fsencode(self.tree), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        if mtime:
            os.utime(path, ns=mtime)
        return path

    def fill(self):
        rnd = random.Random(5)
        self.put("bin/tool", b"#!/bin/sh\necho \"tool: $0 $*\"\n", 0o755)
        self.put("lib/big", rnd.randbytes(CHUNK + 4321))
        self.put("lib/empty")
        self.put("lib/old", b"old\n", 0o640, (5, 1_000_000_007_123_456_789))
        self.put("lib/" + "n" * 255 + "/" + "m" * 200, b"long\n")
        self.put(b"lib/\xff\xfe not utf-8", b"bytes\n")
        self.put("lib/ünïcode", b"u\n")
        os.mkdir(os.path.join(self.tree, "void"))
        os.chmod(os.path.join(self.tree, "void"), 0o2750)
        os.link(os.path.join(self.tree, "lib/old"), os.path.join(self.tree, "bin/hard"))
        os.symlink("../lib/old", os.path.join(self.tree, "bin/link"))
        os.symlink("nowhere", os.path.join(self.tree, "bin/dangling"))
        os.symlink(self.at + "/lib", os.path.join(self.tree, "absolute"))
        os.symlink(b"t\xff" + b"x" * 150, os.path.join(os.fsencode(self.tree), b"odd"))
        sparse = self.put("lib/sparse", b"begin")
        with open(sparse, "r+b") as f:
            f.seek(CHUNK + 77)
            f.write(b"middle")
            f.truncate(2 * CHUNK + 1)

    def tar(self, *options, name="env.tar", members=(".",)):
        archive = self.path(name)
        self.run_command(["tar", "-C", self.tree, "-caf", archive, *options, *members])
        return archive

    def members(self, *members, name="env.tar", **kw):
        """An archive of exactly these: (name, bytes) or a TarInfo."""
        archive = self.path(name)
        with tarfile.open(archive, "w", **kw) as t:
            for m in members:
                if isinstance(m, tuple):
                    info = tarfile.TarInfo(m[0])
                    info.size = len(m[1])
                    t.addfile(info, io.BytesIO(m[1]))
                else:
                    t.addfile(m)
        return archive

    @staticmethod
    def member(name, kind, link="", mode=0o755):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, link, mode
        return info

    def bundle(self, archive, ranks=0, args=(), at=None, status=0):
        command = self.command("x", ranks, args=["--bundle", archive, "--at", at or self.at, *args])[:-1]
        result = self.run_command(command, status=status)
        return (result.stdout.strip(), result.stderr) if status == 0 else result

    def refused(self, archive, status=2, **kw):
        result = self.bundle(archive, status=status, **kw)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.names(), [])
        return result.stderr

    def looked(self, *launcher):
        return self.run_command([*launcher, PYTHON, "-c", LOOK, self.at]).stdout

    def natively(self, archive):
        os.makedirs(self.at)
        self.run_command(["tar", "-C", self.at, "--numeric-owner", "-p", "-xf", archive])
        seen = self.looked()
        shutil.rmtree(os.path.dirname(self.at))
        return seen

    # --- the same as unpacked ---

    def test_it_is_as_if_it_were_unpacked(self):
        self.fill()
        for name, options, ranks in (("gnu.tar", ["--format=gnu"], 0), ("pax.tar.zst", ["--format=pax"], 3),
                                     ("gnu.tar.gz", ["--format=gnu", "-S"], 0), ("pax.tar.xz", ["--format=pax", "-S"], 0),
                                     ("old.tar.bz2", ["--format=gnu", "--owner=7", "--group=8"], 0),
                                     ("s0.tar", ["--format=pax", "-S", "--sparse-version=0.1"], 0)):
            with self.subTest(name):
                archive = self.tar(*options, name=name)
                native = self.natively(archive)
                self.assertGreater(len(native.splitlines()), 25)
                d, said = self.bundle(archive, ranks=ranks)
                self.assertEqual(self.looked(d + "/run"), native)
                self.assertRegex(said, r"staged 8 files, ")
                self.assertNotIn("warning", said)
                self.dlcache("unstage", d)

    def test_the_prefix_that_is_there_is_hidden(self):
        self.put("inside", b"inside\n")
        archive = self.tar(members=("inside",))
        os.makedirs(self.at)
        self.file("sw/env/outside", "outside\n")
        self.file("sw/beside", "beside\n")
        st = os.stat(self.at)
        d, _ = self.bundle(archive)
        script = "ls -A %s; cat %s/outside; cat %s/beside; stat -c '%%d %%i %%a' %s; cd %s && pwd" % (
            self.at, self.at, os.path.dirname(self.at), self.at, self.at)
        result = self.run_command([d + "/run", "sh", "-c", script])
        self.assertEqual(result.stdout.splitlines(), ["inside", "beside", "%d %d 755" % (st.st_dev, st.st_ino), self.at])
        self.assertIn("outside: No such file", result.stderr)

    def test_directories_that_the_archive_lacks(self):
        archive = self.members(("./a/b/c", b"c\n"), ("/x", b"x\n"), ("a//./b/d", b"d\n"))
        d, _ = self.bundle(archive)
        result = self.run_command([d + "/run", "sh", "-c", "cd / && find %s -printf '%%y %%m %%n %%P\\n' | sort; cat %s/x" %
                                   (self.at, self.at)])
        self.assertEqual(result.stdout, "d 755 2 a/b\nd 755 3 \nd 755 3 a\nf 644 1 a/b/c\nf 644 1 a/b/d\nf 644 1 x\nx\n")

    def test_stripped_directories(self):
        archive = self.members(self.member("top", tarfile.DIRTYPE), ("top/sub/a", b"a\n"),
                               self.member("top/sub/b", tarfile.LNKTYPE, "top/sub/a"), ("alone", b"alone\n"))
        d, _ = self.bundle(archive, args=["--strip", "1"])
        result = self.run_command([d + "/run", "sh", "-c", "find %s -type f -printf '%%P\\n' | sort; cat %s/sub/b" %
                                   (self.at, self.at)])
        self.assertEqual(result.stdout, "sub/a\nsub/b\na\n")

    def test_of_duplicates_the_last_one_holds(self):
        archive = self.members(("a", b"first"), self.member("b", tarfile.LNKTYPE, "a"), ("a", b"second"),
                               ("link", b"file"), self.member("link", tarfile.SYMTYPE, "a"),
                               self.member("dir", tarfile.DIRTYPE), ("dir", b"file now"), ("file", b"f"),
                               self.member("file", tarfile.DIRTYPE), ("file/in", b"in"))
        d, said = self.bundle(archive)
        self.assertNotIn("warning", said)
        native = self.natively(archive)
        self.assertEqual(self.looked(d + "/run"), native)

    # --- programs ---

    def test_programs_scripts_and_shared_objects_run_from_there(self):
        source = self.write("inner.c", "int inner(void) { return 42; }\n")
        lib = os.path.join(self.tree, "lib")
        os.makedirs(lib)
        os.mkdir(os.path.join(self.tree, "bin"))
        self.run_command(["gcc", "-shared", "-fPIC", source, "-o", lib + "/libinner.so"])
        source = self.write("prog.c", "#include <stdio.h>\nint inner(void);\nint main(void) { printf(\"%d\\n\", inner()); "
                            "return 0; }\n")
        self.run_command(["gcc", source, "-L" + lib, "-linner", "-Wl,-rpath,$ORIGIN/../lib", "-o",
                          os.path.join(self.tree, "bin/prog")])
        self.put("bin/script", b"#!%s/bin/python -I\nimport sys\nprint(sys.argv[0], sys.prefix)\n" % os.fsencode(self.at), 0o755)
        # As venv --copies makes it, and a package with extensions.
        shutil.copy(os.path.realpath(PYTHON), os.path.join(self.tree, "bin/python"))
        self.put("pyvenv.cfg", b"home = /usr/bin\ninclude-system-site-packages = false\n")
        numpy = self.run_command([PYTHON, "-c", "import numpy; print(numpy.__path__[0])"]).stdout.strip()
        version = self.run_command([PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"]).stdout.strip()
        shutil.copytree(numpy, os.path.join(lib, version, "site-packages/numpy"),
                        ignore=shutil.ignore_patterns("tests", "__pycache__"))
        d, _ = self.bundle(self.tar(name="env.tar.gz"))
        result, lines = self.strace([d + "/run", self.at + "/bin/prog"])
        self.assertEqual(result.stdout, "42\n")
        self.assertEqual([l for l in self.touching(lines, self.at) if not l.startswith("execve")], [])
        code = "import sys, numpy, os; print(sys.prefix, numpy.__file__, numpy.dot([1, 2], [3, 4]), os.readlink('/proc/self/exe'))"
        result, lines = self.strace([d + "/run", self.at + "/bin/python", "-c", code])
        self.assertEqual(result.stdout, "%s %s/lib/%s/site-packages/numpy/__init__.py 11 %s/bin/python\n" %
                         (self.at, self.at, version, self.at))
        self.assertEqual([l for l in self.touching(lines, self.at) if not l.startswith(("execve", "mkdir"))], [])
        path = self.at + "/bin:/usr/bin:/bin"
        result = self.run_command([d + "/run", "script"], env=environment(PATH=path))
        self.assertEqual(result.stdout, "%s/bin/script %s\n" % (self.at, self.at))

    def test_what_is_asked_of_the_file_system_itself(self):
        self.put("file", b"text\n")
        d, _ = self.bundle(self.tar())
        script = "ls -l %s/file >/dev/null && cp -a %s/file %s && cat %s/copy; stat -f -c %%T %s; echo x 2>&- >%s/new || echo no" % (
            self.at, self.at, self.path("copy"), self.tmp, self.at, self.at)
        result = self.run_command([d + "/run", "sh", "-c", script])
        kind = self.run_command(["stat", "-f", "-c", "%T", self.src]).stdout
        self.assertEqual(result.stdout, "text\n" + kind + "no\n")

    # --- packed ---

    def test_a_packed_bundle_is_the_stage_that_the_bundle_is(self):
        self.fill()
        archive = self.tar()
        direct, _ = self.bundle(archive)
        seen = self.looked(direct + "/run")
        image = self.path("image")
        said = self.dlcache("pack", "-o", image, "--bundle", archive, "--at", self.at).stderr
        self.assertRegex(said, r"packed 8 files, .*, \d+ names in 6 frozen directories")
        packed, said = self.staged(image)
        self.assertEqual(packed, direct)
        self.assertIn("(it was there already)", said)
        self.dlcache("unstage", direct)
        packed, said = self.staged(image, ranks=3)
        self.assertNotIn("warning", said)
        self.assertEqual(self.looked(packed + "/run"), seen)

    def test_whatever_is_mounted_above_the_prefix(self):
        self.put("a", b"a\n")
        archive, out = self.tar(), self.path("out")
        script = """
            mount -t tmpfs none "$1"
            test $PMI_RANK = 0 || mount -t tmpfs none "%s"
            "$0" stage --dir "$1" --bundle "$2" --at "$3" >$4.stage.$PMI_RANK
            D=$(cat $4.stage.0)
            { $D/run cat "$3/a"; $D/run stat -c %%d "$3" "$3/a"; stat -c %%d "%s"; } >$4.$PMI_RANK""" % (self.src, self.src)
        result = self.run_command([MPIEXEC, "-n", "2", "unshare", "-m", "sh", "-ec", script, self.command("x")[0], self.place,
                                   archive, self.at, out])
        self.assertNotIn("warning", result.stderr)
        devices = []
        for rank in range(2):
            with open("%s.%d" % (out, rank)) as f:
                text, top, file, above = f.read().splitlines()
            self.assertEqual([text, top, file], ["a", above, above])
            devices.append(above)
        self.assertNotEqual(*devices)

    def test_another_archive_is_another_stage(self):
        one, two = (self.members(("a", text), name=name) for name, text in (("1.tar", b"one"), ("2.tar", b"two")))
        first, _ = self.bundle(one)
        second, _ = self.bundle(two)
        self.assertNotEqual(first, second)
        self.assertEqual(self.bundle(one)[0], first)
        self.assertEqual(self.served(second, self.at + "/a"), "two")

    # --- what is left out, or refused ---

    def test_what_is_no_file_is_left_out(self):
        archive = self.members(("ok", b"ok\n"), self.member("null", tarfile.CHRTYPE), self.member("fifo", tarfile.FIFOTYPE),
                               self.member("gone", tarfile.LNKTYPE, "nothing"), self.member("out", tarfile.SYMTYPE, "/etc"),
                               ("out/passwd", b"mine\n"), ("ok/below", b"x"), ("d/x", b"x"), ("d", b"x"),
                               ("n" * 300, b"x"), self.member("empty", tarfile.SYMTYPE, ""))
        d, said = self.bundle(archive)
        warned = [line.split(": ", 4)[3:] for line in said.splitlines() if "warning" in line]
        self.assertEqual([w[0][:10] + "|" + w[1] for w in warned], [
            "null|it is a device, a FIFO or a socket; it is left out",
            "fifo|it is a device, a FIFO or a socket; it is left out",
            "gone|it is a link to what is not there; it is left out",
            "out/passwd|it lies behind a symlink; it is left out",
            "ok/below|it lies below what is no directory; it is left out",
            "d|there is a directory of that name, which is not empty; it is left out",
            "nnnnnnnnnn|a part of its name is too long; it is left out",
            "empty|it is a symlink to nowhere; it is left out"])
        listed = self.run_command([d + "/run", "ls", self.at]).stdout.split()
        self.assertEqual(listed, ["d", "ok", "out"])
        self.dlcache("unstage", d)
        self.assertIn("null: it is a device", self.refused(archive, args=["--strict"]))

    def test_names_that_climb(self):
        for name in ("../x", "a/../../x", "a/..", "/../x", ".."):
            said = self.refused(self.members(("a/fine", b"fine"), (name, b"x")))
            self.assertIn('%s: a name with ".." in it' % name, said)
        archive = self.members(("a", b"a"), self.member("b", tarfile.LNKTYPE, "../a"))
        self.assertIn("link to what is not there", self.bundle(archive)[1])

    def test_truncated_and_damaged_archives(self):
        self.fill()
        with open(self.tar("--format=pax"), "rb") as f:
            plain = f.read()
        packed = lzma.compress(plain, preset=0)
        cut = self.path("cut.tar")
        for whole in (plain, packed):
            for size in (0, 1, 100, 512, 700, len(whole) // 3, len(whole) // 2, len(whole) - 10240, len(whole) - 1):
                with open(cut, "wb") as f:
                    f.write(whole[:size])
                said = self.refused(cut, ranks=3 if size == 700 else 0, status=None if size == 700 else 2)
                self.assertIn("cut.tar", said)
        rnd = random.Random(9)
        for _ in range(10):
            wrong = bytearray(packed)
            wrong[rnd.randrange(20, len(wrong) - 8)] ^= 1 << rnd.randrange(8)
            with open(cut, "wb") as f:
                f.write(wrong)
            result = self.bundle(cut, status=None)
            self.assertIn(result.returncode, (1, 2))
            self.assertEqual(self.names(), [])

    def test_a_size_of_more_than_the_archive_holds(self):
        info = tarfile.TarInfo("huge")
        info.size = 9 << 40
        archive = self.path("huge.tar")
        with open(archive, "wb") as f:
            f.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
        result = self.bundle(archive, status=None)
        # An older libarchive believes it; then there is no room.
        self.assertIn("huge.tar" if result.returncode == 2 else "has room for", result.stderr)
        self.assertIn(result.returncode, (1, 2))
        self.assertEqual((result.stdout, self.names()), ("", []))

    def test_no_archive(self):
        self.assertIn("No such file", self.refused(self.path("gone.tar")))
        self.assertIn("is no regular file", self.refused(self.tmp))
        os.mkfifo(self.path("fifo.tar"))
        self.assertIn("is no regular file", self.refused(self.path("fifo.tar")))
        self.assertIn("nrecognized archive format", self.refused(self.write("text", "not an archive\n" * 1000)))
        self.assertIn("is empty", self.refused(self.members()))

    def test_a_place_that_is_too_small_has_no_stage(self):
        self.fill()
        result = self.in_private("mkdir -p $2 && mount -t tmpfs -o size=1m tmpfs $2 && $0 stage --dir $2 --bundle $1 "
                                 "--at %s; status=$?; ls -A $2/dlcache-*; exit $status" % self.at,
                                 self.tar(), self.path("small"), status=1)
        self.assertEqual(result.stdout, "")
        self.assertIn("small", result.stderr)

    def test_for_another_user_everything_is_his(self):
        self.put("a", b"a", 0o600)
        self.put("locked", b"locked", 0o200)
        archive = self.tar("--owner=7", "--group=8")
        os.chmod(archive, 0o644)
        os.chmod(self.tmp, 0o755)
        os.chmod(self.place, 0o1777)
        result = self.run_command(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
                                   'D=$(%s) && $D/run stat -c "%%u %%g %%a" %s/a && $D/run cat %s/a; $D/run cat %s/locked; %s unstage $D'
                                   % (" ".join(self.command("x", args=["--bundle", archive, "--at", self.at])[:-1]), self.at,
                                      self.at, self.at, self.command("x")[0])], status=None)
        self.assertEqual(result.stdout, "65534 65534 600\na", result.stderr)
        self.assertIn("locked: ", result.stderr)

    def test_wrong_usage(self):
        archive = self.members(("a", b"a"))
        for args, message in ((["--bundle", archive], "belong together"), (["--at", "/x"], "belong together"),
                              (["--strip", "1", "m.json"], "belong together"),
                              (["--bundle", archive, "--at", "x"], "a path from / on is wanted"),
                              (["--bundle", archive, "--at", "/a/../b"], "a path from / on is wanted"),
                              (["--bundle", archive, "--at", "/"], "that is everything"),
                              (["--bundle", archive, "--at", "//./"], "that is everything"),
                              (["--bundle", archive, "--at", "/etc/passwd"], "is no directory"),
                              (["--bundle", archive, "--at", "/etc/passwd/x"], "is no directory"),
                              (["--bundle", archive, "--at", "/x", "--strip", "x"], "no number of directories"),
                              (["--bundle", archive, "--at", "/x", "m.json"], "a bundle")):
            for verb in ("stage", "pack"):
                more = ["-o", self.path("image")] if verb == "pack" else ["--dir", self.place]
                said = self.dlcache(verb, *more, *args, status=2).stderr
                if not (verb == "pack" and args[-1] == "m.json"):
                    self.assertIn(message, said)
        self.assertEqual(self.names(), [])

    def test_only_who_reads_an_archive_looks_for_its_library(self):
        needed = subprocess.run(["readelf", "-d", os.path.dirname(self.command("x")[0]) + "/dlcache-stage"],
                                stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertNotIn("libarchive", needed)
        self.put("a", b"a")
        archive = self.tar()
        _, lines = self.strace(self.command("x", ranks=3, args=["--bundle", archive, "--at", self.at])[:-1], what="openat")
        self.assertEqual(len({l for l in lines if "libarchive.so" in l and "= -1" not in l}), 1)
