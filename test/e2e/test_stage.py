"""Staging for real: ranks and simulated nodes, places, leftovers, reuse, trouble half-way.

A simulated node is a rank in a mount name space of its own with a tmpfs of its own on the place: the stager tells
nodes apart by the place's device number."""
import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time
import unittest

from harness import BUILD, DLCACHE, MPICC, MPIEXEC, environment
from staging import StageCase

NOBODY = 65534
PARTS = ("dlcache", "dlcache-stage", "dlcache-mpi.so", "dlcache-run", "libdlcache.so", "libdlcache-audit.so")


class Ranks(StageCase):
    def test_numbers_of_ranks(self):
        path = self.file("f", "one\n")
        manifest = self.manifest([path])
        for ranks in (0, 1, 2, 4):
            d, said = self.staged(manifest, ranks=ranks)
            self.assertRegex(said, r"^dlcache: staged 1 files, 0\.0 MB, 5 names on 1 node in [0-9.]+ s\n$")
            self.assertEqual(os.path.dirname(d), self.parent)
            self.assertEqual(self.names(), [os.path.basename(d)])
            with open(path, "w") as f:
                f.write("two\n")  # as another node would
            self.assertEqual(self.served(d, path), "one\n")
            with open(path, "w") as f:
                f.write("one\n")
            self.dlcache("unstage", d)
        self.assertEqual(self.names(), [])

    def test_two_nodes(self):
        path = self.file("f", "one\n")
        served = self.path("served")
        answers = self.nodes(self.manifest([path]), self.place, ranks=3,
                             after='DLCACHE_LOG=1 $D/run cat %s >%s.$RANK 2>&1; test -s $D/root%s' %
                             (path, served, path))
        self.assertEqual([a[0] for a in answers], [0, 0, 0])
        self.assertRegex(answers[0][1], r"^%s/[0-9a-f]{16}\n$" % re.escape(self.parent))
        self.assertIn(" on 3 nodes in ", answers[0][2])
        self.assertEqual([a[1:] for a in answers[1:]], [("", ""), ("", "")])
        for rank in range(3):
            with open("%s.%d" % (served, rank)) as f:
                self.assertEqual(f.read(), "one\n")

    def test_one_place_for_all_nodes(self):
        manifest = self.manifest([self.file("f", "one\n")])
        x, y = self.place + "/x", self.place + "/y"
        both = 'mkdir "$1/y"; test $RANK = 1 || mkdir "$1/x"'
        answers = self.nodes(manifest, x + ":" + y, both, after='test -f "$D/index"')
        self.assertEqual([a[0] for a in answers], [0, 0])
        self.assertTrue(answers[0][1].startswith(y + "/dlcache-"), answers)

    def test_a_place_for_code_on_all_nodes(self):
        manifest = self.manifest([self.file("f", "one\n")])
        x, y = self.place + "/x", self.place + "/y"
        both = 'mkdir "$1/x" "$1/y"; test $RANK = 0 || mount -t tmpfs -o noexec none "$1/x"'
        answers = self.nodes(manifest, x + ":" + y, both, after='test -f "$D/index"')
        self.assertEqual([a[0] for a in answers], [0, 0])
        self.assertTrue(answers[0][1].startswith(y + "/dlcache-"), answers)
        self.assertNotIn("noexec", answers[0][2])

    def test_no_place_for_all_nodes(self):
        manifest = self.manifest([self.file("f", "one\n")])
        answers = self.nodes(manifest, self.place + "/0:" + self.place + "/1", 'mkdir "$1/$RANK"')
        self.assertEqual([a[0] for a in answers], [1, 1])
        self.assertEqual([a[1] for a in answers], ["", ""])
        self.assertRegex(answers[0][2], r"^dlcache: stage: there is no place for a stage: .*No such file.*\n$")

    def test_a_symlink_that_leads_elsewhere(self):
        manifest = self.manifest([self.file("f", "one\n")])
        answers = self.nodes(manifest, self.place + "/x",
                             'mkdir "$1/0" "$1/1"; ln -s $RANK "$1/x"')
        self.assertEqual([a[0] for a in answers], [1, 1])
        self.assertRegex(answers[0][2], r"/1/dlcache-\d+ is .*/0/dlcache-\d+ on the first node\n")

    def test_one_node_is_full(self):
        manifest = self.manifest([self.file("f", b"x" * (3 << 20))])
        answers = self.nodes(manifest, self.place,
                             'test $RANK = 0 || mount -o remount,size=1m "$1"',
                             after='test -z "$(ls -A "$1"/dlcache-*)"')
        self.assertEqual([a[0] for a in answers], [1, 1])
        self.assertRegex(answers[0][2], r"^dlcache: stage: .* has room for 1\.0 MB, and the stage takes \d+\.\d MB "
                         r"\(on \S+\)\n$")

    def test_a_rank_is_killed(self):
        manifest = self.big()
        proc, pids = self.half_way(manifest, ranks=4)
        started = time.monotonic()
        os.kill(pids[-1], signal.SIGKILL)
        self.go_on(pids)
        out, _ = self.assert_ends(proc)
        self.assertLess(time.monotonic() - started, 5)
        self.assertNotEqual(proc.returncode, 0)
        self.assertNotIn(self.place, out)  # mpiexec has its own to say
        self.until(lambda: not self.ranks(manifest))
        d, _ = self.staged(manifest, ranks=2)
        self.assertEqual(self.names(), [os.path.basename(d)])

    def test_an_error_of_mpi_ends_all(self):
        source = self.write("break.c", """
            #include <mpi.h>
            int MPI_Iallreduce(const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                               MPI_Request *request)
            {
                static int calls;
                int rank;
                MPI_Comm_rank(comm, &rank);
                if (rank == 1 && ++calls == 5)
                    MPI_Comm_call_errhandler(comm, MPI_ERR_INTERN);
                return PMPI_Iallreduce(from, to, n, type, op, comm, request);
            }""")
        library = self.path("break.so")
        self.run_command([*MPICC, "-shared", "-fPIC", source, "-o", library])
        manifest = self.manifest([self.file("f", "one\n")])
        preload = environment(LD_PRELOAD=library, ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0")
        result = self.run_command(self.command(manifest, ranks=2), env=preload, status=None, timeout=20)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"(?m)^dlcache: stage: MPI: \S.*$")


class Leftovers(StageCase):
    def test_a_killed_one_is_swept(self):
        manifest = self.big()
        proc, pids = self.half_way(manifest)
        os.kill(pids[0], signal.SIGKILL)
        self.assert_ends(proc)
        self.assertEqual(proc.returncode, -signal.SIGKILL)
        self.assertEqual(len(self.temporary()), 1)
        os.makedirs(self.parent + "/.trash.x.1/root/a")
        os.chmod(self.parent + "/.trash.x.1/root", 0o555)
        with open(self.parent + "/.probe.abcdef", "w"):
            pass
        os.symlink("/etc", self.parent + "/.x.abcdef")
        d, _ = self.staged(manifest)
        self.assertEqual(self.names(), [os.path.basename(d)])
        self.assertTrue(os.path.exists("/etc/passwd"))

    def test_mpiexec_is_ended(self):
        manifest = self.big()
        proc, pids = self.half_way(manifest, ranks=2)
        proc.send_signal(signal.SIGTERM)
        self.go_on(pids)
        self.assert_ends(proc)
        self.until(lambda: not self.ranks(manifest))
        d, _ = self.staged(manifest)
        self.assertEqual(self.names(), [os.path.basename(d)])

    def test_nobody_takes_what_is_being_laid_down(self):
        manifest = self.big()
        proc, pids = self.half_way(manifest)
        said = self.dlcache("unstage", "--all", "--dir", self.place)
        self.assertEqual(said.stderr, "dlcache: 0 stages removed\n")
        other = self.manifest([self.file("other", "x")], name="other.json")
        d, _ = self.staged(other)
        self.assertEqual(len(self.temporary()), 1)
        self.go_on(pids)
        out, err = self.assert_ends(proc)
        self.assertEqual(proc.returncode, 0, err)
        self.assertEqual(self.names(), sorted([os.path.basename(out.strip()), os.path.basename(d)]))
        said = self.dlcache("unstage", "--all", "--dir", self.place)
        self.assertEqual((said.stderr, self.names()), ("dlcache: 2 stages removed\n", []))

    def interrupt_slowed(self, call, when, number=signal.SIGTERM, delay=3, pack=False):
        """Every such system call takes `delay` seconds (`pack`: an image is staged, and the first one of each thread);
        the signal comes when `when` is true."""
        manifest = self.manifest([self.file("f%d" % i, "one\n") for i in range(20)])
        if pack:
            image = self.path("image")
            self.dlcache("pack", "-o", image, manifest)
            manifest, delayed = image, "%d:when=1" % (delay * 1000000)
        else:
            delayed = str(delay * 1000000)
        proc = self.start(["strace", "-f", "-qq", "-o", self.path("log"), "-e", "trace=" + call,
                           "-e", "inject=%s:delay_enter=%s" % (call, delayed), *self.command(manifest)])
        pid = self.until(lambda: self.ranks(manifest))[0]
        self.until(when)
        time.sleep(0.3)
        self.assertIsNone(proc.poll())
        started = time.monotonic()
        os.kill(pid, number)
        out, _ = self.assert_ends(proc)
        self.assertLess(time.monotonic() - started, delay + 1)
        self.assertEqual((proc.returncode, out, self.names()), (-number, "", []))

    def test_nothing_is_left_of_what_fails_early(self):
        other = self.path("other")
        os.mkdir(other)
        staged = self.manifest([self.file("f", "one\n")])
        # mpiexec's status is that of all ranks together: 2 of the one that reads, 1 of the others.
        for manifest, ranks, status in ((self.path("none"), 0, 2), (self.path("none"), 3, 3), (staged, 0, 0),
                                        (staged, 3, 0)):
            self.run_command(self.command(manifest, ranks=ranks, places=other + ":" + self.place), status=status)
            self.assertEqual(os.listdir(self.place), [])
            if not status: # in the first place that will do
                self.dlcache("unstage", "--all", "--dir", other)
            self.assertEqual(os.listdir(other), [])

    def test_signals_half_way(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.interrupt_slowed("utimensat", self.temporary, number, delay=1)

    def test_a_signal_while_files_are_looked_at(self):
        def looks():
            with open(self.path("log")) as f:
                return self.src + "/f" in f.read()
        self.interrupt_slowed("statx", looks)

    def test_a_signal_while_a_slow_file_is_read(self):
        self.interrupt_slowed("sendfile", self.temporary)

    def test_a_signal_while_a_slow_image_is_read(self):
        self.interrupt_slowed("pread64", self.temporary, pack=True)


class Reuse(StageCase):
    quiet = True
    AGAIN = "(it was there already)"

    def test_the_same_again(self):
        path = self.file("f", "one\n")
        manifest = self.manifest([path])
        d, said = self.staged(manifest)
        self.assertNotIn(self.AGAIN, said)
        again, said = self.staged(manifest, ranks=2)
        self.assertEqual(again, d)
        self.assertIn(self.AGAIN, said)
        # A change through an attached process: the stage is laid down anew, under another name if that changed it.
        self.run_command([d + "/run", "chmod", "600", path])
        os.chmod(path, 0o644)
        _, said = self.staged(manifest)
        self.assertNotIn(self.AGAIN, said)

    def test_a_dirty_one_of_the_same_name(self):
        path = self.file("f", "one\n")
        manifest = self.manifest([path])
        d, _ = self.staged(manifest)
        with open(d + "/state", "r+b") as f:
            f.seek(132)
            f.write(struct.pack("<I", 1))
        old = os.stat(d).st_ino
        again, said = self.staged(manifest)
        self.assertEqual(again, d)
        self.assertNotIn(self.AGAIN, said)
        self.assertNotEqual(os.stat(d).st_ino, old)
        self.assertEqual(self.names(), [os.path.basename(d)])
        self.assertIn(self.AGAIN, self.staged(manifest)[1])

    def test_from_another_mount_name_space(self):
        path = self.file("f", "one\n")
        manifest = self.manifest([path])
        private = self.in_private('"$0" stage --dir "$1" "$2"', self.place, manifest)
        d, said = self.staged(manifest)
        self.assertEqual(d, private.stdout.strip())
        self.assertNotIn(self.AGAIN, said)
        self.dlcache("run", "--stage", d, "--", "true")

    def test_times_of_access(self):
        result = self.in_private("""
            mount -t tmpfs -o strictatime none "$3"; echo one >"$3/f"; touch -a -d @1000 "$3/f"
            "$0" stage --dir "$1" "$2"; stat -c %X "$3/f"
            cat "$3/f"; stat -c %X "$3/f"
            "$0" stage --dir "$1" "$2\"""", self.place, self.manifest([self.src + "/f"]), self.src)
        d, before, text, after, again = result.stdout.split()
        self.assertEqual((d, before, text), (again, "1000", "one"))
        self.assertGreater(int(after), 1000)
        self.assertIn(self.AGAIN, result.stderr)

    def test_a_rebuilt_library(self):
        os.mkdir(self.path("bin"))
        for name in PARTS:
            shutil.copy2(os.path.join(BUILD, name), self.path("bin"))
        manifest = self.manifest([self.file("f", "one\n")])
        command = [self.path("bin", "dlcache"), "stage", "--dir", self.place, manifest]
        d = self.run_command(command).stdout.strip()
        with open(self.path("bin", "libdlcache.so"), "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)[0]
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last ^ 1]))
        again = self.run_command(command)
        self.assertEqual(again.stdout.strip(), d)
        self.assertNotIn(self.AGAIN, again.stderr)
        with open(d + "/lib/libdlcache.so", "rb") as f, open(self.path("bin", "libdlcache.so"), "rb") as g:
            self.assertEqual(f.read(), g.read())
        self.assertIn(self.AGAIN, self.run_command(command).stderr)

    def test_a_mount_point_that_is_only_listed(self):
        manifest = self.manifest([self.file("d/f", "one\n")])
        os.mkdir(self.src + "/d/sub")
        result = self.in_private("""
            mount -t tmpfs none "$3/d/sub"
            "$0" stage --dir "$1" "$2"; "$0" stage --dir "$1" "$2\"""", self.place, manifest, self.src)
        self.assertIn(self.AGAIN, result.stderr)

    def test_two_at_once(self):
        path = self.file("last", "last\n")
        manifest = self.manifest([self.sparse("big", 100), path])
        procs = [self.start(self.command(manifest, ranks=2)) for _ in range(3)]
        answers = [self.assert_ends(p, 60) for p in procs]
        self.assertEqual([p.returncode for p in procs], [0, 0, 0], answers)
        self.assertEqual(len({out for out, _ in answers}), 1)
        d = answers[0][0].strip()
        self.assertEqual(self.names(), [os.path.basename(d)])
        self.assertEqual(self.served(d, path), "last\n")


class Places(StageCase):
    def refused(self, message, places=None):
        result = self.run_command(self.command(self.manifest([self.file("f", "x")]), places=places), status=1)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"^dlcache: stage: there is no place for a stage: .*%s\n$" % message)

    def test_squatters(self):
        squat = self.parent
        with open(squat, "w"):
            pass
        self.refused("is not a directory")
        os.unlink(squat)
        os.symlink(self.tmp, squat)
        self.refused("is not a directory")
        self.assertEqual(os.listdir(self.tmp), ["m.json"])
        os.unlink(squat)
        os.mkdir(squat, 0o755)
        self.refused("is not your own, or its mode is not 0700")
        os.chmod(squat, 0o700)
        os.chown(squat, NOBODY, NOBODY)
        self.refused("is not your own, or its mode is not 0700")

    def test_a_squatter_who_comes_later(self):
        """After the place was looked at, and before there is anything in it."""
        manifest = self.manifest([self.file("f", "x")])
        proc = self.start(["strace", "-f", "-qq", "-o", self.path("log"), "-e", "trace=openat,statfs",
                           "-e", "inject=statfs:delay_enter=2000000", *self.command(manifest)])

        def looked():
            with open(self.path("log")) as f:
                return ".probe." in f.read()
        self.until(lambda: self.ranks(manifest))
        self.until(looked)
        os.mkdir(self.parent)
        os.chmod(self.parent, 0o777)
        os.chown(self.parent, NOBODY, NOBODY)
        out, err = self.assert_ends(proc, 20)
        self.assertEqual((proc.returncode, out), (1, ""))
        self.assertEqual(err, "dlcache: stage: %s is not your own, or its mode is not 0700\n" % self.parent)
        self.assertEqual(os.listdir(self.place), []) # it was empty, and root may remove it

    def test_no_such_place(self):
        self.refused("No such file or directory", self.place + "/none")
        self.refused("--dir is empty", ":")
        self.refused("names more than 64 places", ":".join([self.place] * 65))

    def test_the_next_place(self):
        d, _ = self.staged(self.manifest([self.file("f", "x")]), places=self.place + "/none:" + self.place)
        self.assertEqual(os.path.dirname(d), self.parent)

    def test_full(self):
        manifest = self.manifest([self.file("f", b"x" * (3 << 20))])
        result = self.in_private("""
            mount -t tmpfs -o size=1m none "$1"; status=0
            "$0" stage --dir "$1" "$2" || status=$?
            find "$1" -mindepth 2; exit $status""", self.place, manifest, status=1)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"^dlcache: stage: %s has room for 1\.0 MB, and the stage takes [0-9.]+ "
                         r"MB\n$" % re.escape(self.parent))

    def test_too_few_inodes(self):
        manifest = self.manifest([self.file("f%d" % i, "x") for i in range(100)])
        result = self.in_private("""
            mount -t tmpfs -o nr_inodes=50 none "$1"; status=0
            "$0" stage --dir "$1" "$2" || status=$?
            find "$1" -mindepth 2; exit $status""", self.place, manifest, status=1)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"has room for \d+ more files, and the stage takes \d+\n$")

    def test_without_a_limit(self):
        manifest = self.manifest([self.file("f", "one\n")])
        result = self.in_private("""
            mount -t tmpfs -o size=0,nr_inodes=0 none "$1"
            "$0" stage --dir "$1" "$2\"""", self.place, manifest)
        self.assertTrue(result.stdout.startswith(self.parent), result.stdout)

    def test_noexec(self):
        path = self.file("f", "one\n")
        result = self.in_private("""
            mount -t tmpfs -o noexec none "$1"
            D=$("$0" stage --dir "$1" "$2"); echo two >"$3"
            "$0" run --stage "$D" -- cat "$3\"""", self.place, self.manifest([path]), path, status=None)
        self.assertRegex(result.stderr, r"^dlcache: warning: %s is mounted noexec: shared objects are not served\n" %
                         re.escape(self.parent))
        return result

    def test_an_ordinary_user(self):
        readable, secret = self.file("f", "one\n"), self.file("secret", "two\n", mode=0o600)
        manifest = self.manifest([readable, secret])
        os.chmod(self.tmp, 0o755)
        os.chown(self.place, NOBODY, NOBODY)
        user = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
        # The build may lie where nobody else may look.
        command = self.command(manifest)
        command[0] = self.path("bin", "dlcache")
        os.mkdir(self.path("bin"))
        for name in PARTS:
            shutil.copy(os.path.join(BUILD, name), self.path("bin", name))
        result = self.run_command([*user, *command])
        d = result.stdout.strip()
        self.assertEqual(os.path.dirname(d), self.place + "/dlcache-%d" % NOBODY)
        self.assertIn("dlcache: warning: %s: cannot be read; it is left to the file system\n" % secret, result.stderr)
        self.assertEqual(self.run_command([*user, d + "/run", "cat", readable]).stdout, "one\n")
        said = self.run_command([*user, d + "/run", "cat", secret], status=1)
        self.assertEqual(said.stderr, "cat: %s: Permission denied\n" % secret)
        strict = [command[0], *self.command(manifest, args=["--strict"])[1:]]
        refused = self.run_command([*user, *strict], status=1)
        self.assertEqual(refused.stdout, "")
        self.assertIn(secret, refused.stderr)


class Contents(StageCase):
    def mirror(self, d, path):
        return d + "/root" + path

    def test_modes_whatever_the_umask(self):
        modes = {"a": (0o644, 0o444), "b": (0o755, 0o555), "c": (0o600, 0o400), "d": (0o4775, 0o555),
                 "e": (0o060, 0o440)}
        paths = {name: self.file(name, "x", mode) for name, (mode, _) in modes.items()}
        for mask in ("000", "077"):
            result = self.run_command(["sh", "-c", 'umask %s; exec "$0" stage --dir "$1" "$2"' % mask, DLCACHE,
                                       self.place, self.manifest(paths.values())])
            d = result.stdout.strip()
            for name, (_, mode) in modes.items():
                self.assertEqual(os.lstat(self.mirror(d, paths[name])).st_mode & 0o7777, mode, (mask, name))
            self.assertEqual(os.lstat(self.parent).st_mode & 0o7777, 0o700)
            self.assertEqual(os.lstat(d).st_mode & 0o7777, 0o700)
            self.assertEqual(os.lstat(d + "/state").st_mode & 0o7777, 0o600)
            self.dlcache("unstage", d)

    def test_hard_links_and_empty_files(self):
        one, empty = self.file("one", "same\n"), self.file("empty")
        os.link(one, self.src + "/two")
        d, said = self.staged(self.manifest([one, self.src + "/two", empty]))
        self.assertIn("staged 2 files", said)
        stats = [os.lstat(self.mirror(d, self.src + name)) for name in ("/one", "/two", "/empty")]
        self.assertEqual(stats[0].st_ino, stats[1].st_ino)
        self.assertNotEqual(stats[0].st_ino, stats[2].st_ino)
        self.assertEqual([(s.st_nlink, s.st_size) for s in stats], [(2, 5), (2, 5), (1, 0)])
        self.assertEqual(self.served(d, self.src + "/two"), "same\n")
        self.assertEqual(self.served(d, empty), "")

    def test_files_across_chunks(self):
        paths = []
        for i, size in enumerate((4 << 20, (4 << 20) - 8, 9, (8 << 20) + 1, 0, 5)):
            paths.append(self.file("f%d" % i, os.urandom(size)))
        big = self.sparse("big", 300)
        with open(big, "r+b") as f:
            f.seek(299 << 20)
            f.write(b"end")
        manifest = self.manifest([*paths, big])
        d, said = self.staged(manifest, ranks=2)
        self.assertRegex(said, r"staged 7 files, 331\.\d MB")
        for path in (*paths, big):
            self.run_command(["cmp", path, self.mirror(d, path)])
        # From a node to others it goes another way: to two, which have none below them, and through several.
        small, image = self.manifest(paths, name="small.json"), self.path("image")
        self.dlcache("pack", "-o", image, small)
        for source, ranks, files in ((manifest, 3, (*paths, big)), (small, 6, paths), (image, 2, paths), (image, 4, paths)):
            same = "; ".join("cmp %s $D/root%s" % (path, path) for path in files)
            answers = self.nodes(source, self.place, ranks=ranks, after=same)
            self.assertEqual([a[0] for a in answers], [0] * ranks, answers)

    def test_few_files_may_be_open(self):
        self.write("tiny.c", "int f(void) { return 1; }")
        libraries = [self.src + "/lib%d.so" % i for i in range(100)]
        self.run_command(["gcc", "-shared", "-fPIC", self.path("tiny.c"), "-o", libraries[0]])
        for path in libraries[1:]:
            shutil.copy2(libraries[0], path)
        data = [self.file("f%d" % i, os.urandom(3000 if i % 10 else 5 << 20)) for i in range(100)]
        manifest = self.manifest([*libraries, *data], kinds=dict.fromkeys(libraries, "shared-object"))
        held = "test $(find $D/root%s -type f | wc -l) = 200" % self.src
        for most in (48, 64):
            d, said = self.limited(most, self.command(manifest))
            self.run_command(["sh", "-ec", held], env=environment(D=d))
            self.dlcache("unstage", d)
            d, _ = self.limited(most, self.command(manifest, ranks=2))
            self.dlcache("unstage", d)
            answers = self.nodes(manifest, self.place, before="ulimit -n %d" % most, after=held)
            self.assertEqual([(a[0], "warning" in a[2]) for a in answers], [(0, False)] * 2, answers)
            self.assertNotIn("warning", said)

    def limited(self, most, command):
        """Where so many files may be open: (directory, what it said)"""
        result = self.run_command(["sh", "-c", 'ulimit -n %d; exec "$@"' % most, "sh", *command])
        return result.stdout.strip(), result.stderr

    def change_while_read(self, command):
        """What `command` makes of a staging, in which four files are read slowly, and change: it, the files, another."""
        same, shorter, other, link = (self.file(n, n * 100) for n in ("same", "shorter", "other", "link"))
        quiet = self.file("quiet", "quiet\n")
        os.link(link, self.src + "/name")
        manifest = self.manifest([same, shorter, other, link, self.src + "/name", quiet])
        slow = ["strace", "-f", "-qq", "-o", self.path("log"), "-e", "trace=sendfile,pread64"]
        for path in (same, shorter, other, link):
            slow += ["-P", path]
        slow += ["-e", "inject=sendfile,pread64:delay_enter=1500000"]
        proc = self.start(command(slow, manifest))
        self.until(lambda: any(glob.glob("/proc/%d/root%s/.*/root%s" % (pid, self.parent, same))
                               for pid in self.ranks(manifest)))
        for path in (same, link):
            with open(path, "r+") as f:
                f.write("SAME")
        os.truncate(shorter, 3)
        times = os.stat(other)
        replacement = self.file("replacement", "OTHER" * 100)
        os.utime(replacement, ns=(times.st_atime_ns, times.st_mtime_ns))
        os.rename(replacement, other)
        out, err = self.assert_ends(proc, 20)
        self.assertEqual(proc.returncode, 0, err)
        for path in (same, shorter, other, link):
            self.assertIn("dlcache: warning: %s: it changed while it was read; it is left to the file system\n" %
                          path, err)
        self.assertNotIn("quiet", err)
        self.assertIn("dlcache: staged 1 files, ", err)
        return out, (same, shorter, other, link), quiet

    def test_files_that_change_while_they_are_read(self):
        out, changed, quiet = self.change_while_read(lambda slow, manifest: [*slow, *self.command(manifest)])
        d = out.strip()
        for path in changed:
            with open(path) as f:
                self.assertEqual(self.served(d, path), f.read())
            self.assertTrue(os.path.islink(self.mirror(d, path)), path)
        self.assertFalse(os.path.islink(self.mirror(d, quiet)))
        self.assertEqual(self.served(d, self.src + "/name")[:4], "SAME")

    def test_files_that_change_while_they_are_read_for_two_nodes(self):
        script = """
            place=$1 src=$2; shift 2
            mount -t tmpfs none "$place"
            if [ "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}" != 0 ]; then
                while [ "${1##*/}" != dlcache ]; do shift; done
            fi
            "$@" >"$0.$$" || exit
            D=$(cat "$0.$$")
            D=${D:-$(ls -d "$place"/dlcache-*/*)}
            for f in same shorter other link name quiet; do
                if [ -L "$D/root$src/$f" ]; then echo "$f not held"; else echo "$f held"; fi
            done"""
        out, _, _ = self.change_while_read(lambda slow, manifest: [
            MPIEXEC, "-n", "2", "unshare", "-m", "sh", "-ec", script, self.path("out"), self.place, self.src, *slow,
            *self.command(manifest)])
        names = ("same", "shorter", "other", "link", "name")
        self.assertEqual(sorted(out.splitlines()), sorted(2 * ([n + " not held" for n in names] + ["quiet held"])))

    def too_far(self, text):
        """(a file whose path is too long in the mirror, its directory, in which a path is too long even there)"""
        directory = os.open(self.src, os.O_RDONLY | os.O_DIRECTORY)
        path = self.src
        while len(path) < 4080:
            name = "d" * min(200, 4088 - len(path))
            os.mkdir(name, dir_fd=directory)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory, path = inner, path + "/" + name
        with open(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=directory), "w") as f:
            f.write(text)
        # Too long for the kernel even where it is.
        os.close(os.open("longer-name", os.O_WRONLY | os.O_CREAT, dir_fd=directory))
        os.close(directory)
        self.assertLess(len(path + "/f"), 4096)
        return path + "/f", path

    def test_a_path_that_is_too_long_in_the_mirror(self):
        near = self.file("near", "near\n")
        far, path = self.too_far("far\n")
        d, said = self.staged(self.manifest([near, far, path + "/none"], kinds={path + "/none": "absent"}))
        self.assertRegex(said, r"dlcache: warning: \d+ paths? (is|are) too long below %s, and left to the file "
                         r"system: " % re.escape(self.parent))
        self.assertEqual((self.served(d, near), self.served(d, far)), ("near\n", "far\n"))
        self.assertFalse(os.path.islink(self.mirror(d, near)))
        self.run_command([d + "/run", "cat", path + "/none"], status=1)

    def test_a_path_that_is_too_long_in_the_mirror_for_two_nodes(self):
        far, _ = self.too_far("far " * 100)
        near = self.file("near", "near\n")
        for order in ([far, near], [near, far]):
            answers = self.nodes(self.manifest(order), self.place,
                                 after='test ! -L "$D/root%s"; cmp %s "$D/root%s"' % (near, near, near))
            self.assertEqual([a[0] for a in answers], [0, 0], answers)
            self.assertIn("too long below", answers[0][2])

    def test_thread_local_storage_has_a_bound(self):
        self.write("tls.c", "__thread char big[15 << 20]; char *f(void) { return big; }")
        paths = [self.src + "/lib%d.so" % i for i in range(5)]
        self.run_command(["gcc", "-shared", "-fPIC", self.path("tls.c"), "-o", paths[0]])
        for path in paths[1:]:
            shutil.copy2(paths[0], path)
        for count, asked in ((1, (15 << 20) + 6144), (5, 64 << 20)):
            kinds = dict.fromkeys(paths, "shared-object")
            d, _ = self.staged(self.manifest(paths[:count], kinds=kinds))
            with open(d + "/state", "rb") as f:
                self.assertEqual(struct.unpack_from("<I", f.read(), 136), (asked,))

    def test_many_small_files(self):
        paths = []
        for i in range(250):
            os.mkdir("%s/%d" % (self.src, i))
            for k in range(200):
                paths.append("%s/%d/%d" % (self.src, i, k))
                with open(paths[-1], "w") as f:
                    f.write("x")
        manifest = self.manifest(paths)
        started = time.monotonic()
        d, said = self.staged(manifest, ranks=2)
        self.assertLess(time.monotonic() - started, 15)
        self.assertIn("staged 50000 files", said)
        self.assertEqual(self.served(d, paths[49999]), "x")


class Progress(StageCase):
    def on_terminal(self, argv):
        """What argv writes to a terminal that is its standard error."""
        ours, theirs = os.openpty()
        proc = subprocess.Popen(argv, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
                                start_new_session=True)
        self.running.append(proc)
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65536):
                said += chunk
        except OSError:  # the last writer is gone
            pass
        os.close(ours)
        return proc.communicate()[0].decode(), said.decode(), proc.wait()

    def test_a_bar_on_a_terminal_for_what_takes_long(self):
        manifest = self.manifest([self.sparse("big", 200)])
        # Each read takes its time, so that a second goes by on any machine.
        slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendfile",
                "-e", "inject=sendfile:delay_enter=600000"]
        out, said, status = self.on_terminal([*slow, *self.command(manifest)])
        self.assertEqual(status, 0, said)
        self.assertRegex(out, r"^%s/\S+\n$" % re.escape(self.parent))
        bars = re.findall(r"\r\x1b\[K\[([#-]{30})\] +(\d+) %  (\d+) of 210 MB  \d+ MB/s  1 node", said)
        self.assertTrue(bars, said)
        self.assertEqual([b for b in bars if abs(b[0].count("#") / 30 - int(b[1]) / 100) > 0.04], [])
        self.assertEqual([int(b[2]) for b in bars], sorted(int(b[2]) for b in bars))
        # It goes away before the summary.
        self.assertRegex(said, r"\r\x1b\[Kdlcache: staged 1 files, 209\.7 MB, \d+ names on 1 node in [0-9.]+ s\r\n$")

    def test_no_bar_where_nobody_looks(self):
        manifest = self.manifest([self.file("f", "x")])
        _, said, _ = self.on_terminal(self.command(manifest))
        self.assertNotIn("[", said)


class Command(StageCase):
    def test_wrong_usage(self):
        manifest = self.manifest([self.file("f", "x")])
        for args in ([], [manifest, manifest], ["--none", manifest], ["--dir"]):
            result = self.dlcache("stage", *args, status=2)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"^dlcache: stage: .*\n$")
        self.assertIn("usage: dlcache stage", self.dlcache("stage", "--help").stdout)

    def test_without_the_library_for_mpi(self):
        """Said once, by a rank that reads ahead already; what it has begun it ends (the thread sanitizer looks)."""
        os.mkdir(self.path("bin"))
        for name in PARTS:
            if name != "dlcache-mpi.so":
                shutil.copy2(os.path.join(BUILD, name), self.path("bin"))
        manifest = self.manifest([self.file("f%d" % i, "one\n") for i in range(100)])
        command = [self.path("bin", "dlcache"), "stage", "--dir", self.place, manifest]
        said = self.run_command(command, env=environment(PMI_RANK="0", PMI_SIZE="2"), status=1)
        self.assertEqual((said.stdout, said.stderr),
                         ("", "dlcache: stage: dlcache-mpi.so is not installed beside dlcache-stage\n"))
        self.assertEqual(self.names(), [])
        self.run_command(command, env=environment(PMI_RANK="0", PMI_SIZE="1"))

    def test_summary_as_json(self):
        result = self.run_command(self.command(self.manifest([self.file("f", "x")]), args=["--json"]))
        self.assertEqual(result.stdout.count("\n"), 1)
        said = json.loads(result.stderr)
        self.assertEqual((said["files"], said["bytes"], said["nodes"], said["reused"]), (1, 1, 1, 0))


if __name__ == "__main__":
    unittest.main()
