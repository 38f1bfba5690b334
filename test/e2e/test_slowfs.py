"""slowfs, the shared file system of tests and benchmarks: its counters are what others' assertions stand on."""
import errno
import hashlib
import mmap
import os
import signal
import subprocess
import threading
import time

from harness import PYTHON, environment
from slowfs import SLOWFS, SlowCase

FOREVER = ("--attr", "10000", "--entry", "10000")
NEVER = ("--attr", "0", "--entry", "0")


def error_of(function, *args):
    try:
        function(*args)
    except OSError as e:
        return e.errno
    return 0


def read(path):
    with open(path, "rb", buffering=0) as f:
        return f.readall()


class Counts(SlowCase):
    def test_each_kind_is_counted_at_its_node(self):
        self.fill("d/file", "text")
        self.fill("d/other", "text")
        os.symlink("file", self.path("source", "d", "link"))
        a, b = self.serve(*FOREVER, nodes=("n1", "n2"))
        os.stat(a), os.stat(b)  # the roots' own attributes

        def create():
            os.close(os.open(a + "/d/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY))

        def write():
            fd = os.open(a + "/d/new", os.O_WRONLY)
            os.write(fd, b"0123456789")
            os.close(fd)

        for call, expected in (
                (lambda: os.stat(a + "/d/file"), {"lookup": 2}),
                (lambda: os.stat(a + "/d/file"), {}),
                (lambda: os.stat(a + "/d/other"), {"lookup": 1}),
                (lambda: os.stat(a + "/d/link"), {"lookup": 1, "readlink": 1}),
                (lambda: error_of(os.stat, a + "/d/none"), {"lookup": 1, "absent": 1}),
                (lambda: error_of(os.stat, a + "/d/none"), {"lookup": 1, "absent": 1}),
                (lambda: error_of(os.stat, a + "/d/file/none"), {}),
                (lambda: os.close(os.open(a + "/d/file", os.O_RDONLY)), {"open": 1}),
                (lambda: os.close(os.open(a + "/d", os.O_RDONLY | os.O_DIRECTORY)), {"opendir": 1}),
                (lambda: os.listdir(a + "/d"), {"opendir": 1, "readdir": 2}),
                (create, {"lookup": 1, "absent": 1, "create": 1}),
                (lambda: os.mkdir(a + "/e"), {"lookup": 1, "absent": 1, "mkdir": 1}),
                (lambda: os.symlink("x", a + "/s"), {"lookup": 1, "absent": 1, "symlink": 1}),
                (lambda: os.link(a + "/d/new", a + "/e/new"), {"lookup": 1, "absent": 1, "link": 1}),
                (lambda: os.mkfifo(a + "/fifo"), {"lookup": 1, "absent": 1, "mknod": 1}),
                (lambda: os.rename(a + "/fifo", a + "/e/fifo"), {"lookup": 1, "absent": 1, "rename": 1}),
                (lambda: os.chmod(a + "/e/fifo", 0o600), {"setattr": 1}),
                (lambda: os.truncate(a + "/d/new", 3), {"setattr": 1}),
                (write, {"open": 1, "write": 1, "bytes_written": 10}),
                (lambda: os.unlink(a + "/e/fifo"), {"unlink": 1}),
                (lambda: os.unlink(a + "/e/new"), {"unlink": 1}),
                (lambda: os.rmdir(a + "/e"), {"rmdir": 1}),
                (lambda: os.statvfs(a), {"statfs": 1})):
            self.counters.reset()
            call()
            counted = self.counters.node("n1")
            counted.pop("getattr", 0)  # a changed directory's, which the kernel asks for again when it likes
            self.assertEqual(counted, expected)
        self.assertEqual(self.counters.node("n2"), {})
        self.counters.reset()
        self.assertEqual(read(b + "/d/new"), b"0123456789")
        self.assertEqual(self.counters.node("n1"), {})
        self.assertEqual(self.counters.node("n2"), {"lookup": 2, "open": 1, "read": 1, "bytes_read": 10})
        whole = self.counters.all()
        self.assertEqual((whole["all"]["total"], whole["nodes"]["n2"]["total"]), (4, 4))

    def test_clients_keep_nothing_where_they_are_told_to(self):
        self.fill("d/file", "text")
        mount, = self.serve(*NEVER, "--no-page-cache")
        for _ in range(3):
            self.counters.reset()
            read(mount + "/d/file")
            counted = self.counters.node("n1")
            self.assertEqual([counted[k] for k in ("lookup", "open", "read", "bytes_read")], [2, 1, 1, 4])

    def test_clients_keep_what_they_are_told_to(self):
        self.fill("file", "text")
        mount, = self.serve(*FOREVER, "--negative", "10000")
        for _ in range(2):
            read(mount + "/file")
            error_of(os.stat, mount + "/none")
        counted = self.counters.node("n1")
        self.assertEqual([counted[k] for k in ("lookup", "absent", "open", "read")], [2, 1, 2, 1])

    def test_names_with_their_attributes(self):
        for i in range(10):
            self.fill("d/%d" % i)
        mount, = self.serve(*FOREVER, "--readdirplus")
        with os.scandir(mount + "/d") as entries:
            self.assertEqual(len([e.stat() for e in entries]), 10)
        counted = self.counters.node("n1")
        self.assertGreaterEqual(counted["readdirplus"], 1)
        self.assertEqual((counted["lookup"], "readdir" in counted), (1, False))

    def test_control_is_not_counted_nor_listed(self):
        mount, = self.serve(*FOREVER)
        os.stat(mount)
        self.counters.reset()
        self.assertNotIn(".slowfs", os.listdir(mount))
        before = self.counters.node("n1")
        self.assertEqual(before, {"opendir": 1, "readdir": 2})
        for name in ("counters", "fault", "latency"):
            read(os.path.join(mount, ".slowfs", name))
        self.assertEqual(sorted(os.listdir(mount + "/.slowfs")), ["counters", "fault", "latency", "reset"])
        self.assertEqual(error_of(os.stat, mount + "/.slowfs/none"), errno.ENOENT)
        self.assertEqual(error_of(os.mkdir, mount + "/.slowfs/new"), errno.EPERM)
        self.assertEqual(self.counters.node("n1"), before)

    def test_the_log_names_process_kind_and_path(self):
        self.fill("d/file", "text")
        log = self.path("log")
        mount, = self.serve(*FOREVER, "--log", log)
        os.stat(mount)
        os.stat(mount + "/d/file")
        self.counters.write("fault", "EIO open")
        error_of(os.open, mount + "/d/file", os.O_RDONLY)
        lines = read(log).decode().splitlines()
        me = "n1 %d " % os.getpid()
        self.assertEqual(lines, [me + "getattr /", me + "lookup /d", me + "lookup /d/file", me + "open /d/file EIO"])


class Time(SlowCase):
    def directories(self, mounts):
        """One in each mount, known there: libfuse 3.14.0's client has one lookup in a directory at a time."""
        for i, mount in enumerate(mounts):
            os.mkdir(self.path("source", str(i)))
            os.stat(mount + "/%d" % i)
        return [mount + "/%d/none" % i for i, mount in enumerate(mounts)]

    def clients(self, paths, started=None):
        """A thread a path, which looks it up; the paths in the order in which they were answered."""
        done = []

        def client(path):
            error_of(os.stat, path)
            done.append(path)
        threads = []
        for i, path in enumerate(paths):
            threads.append(threading.Thread(target=client, args=(path,)))
            threads[-1].start()
            if started:
                self.until(lambda: started(i + 1))
        return threads, done

    def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.005)

    def together(self, slots):
        """Four clients on two nodes, whose requests come at the same moment: (seconds, the longest queue)."""
        a, b = self.serve(*FOREVER, "--slots", str(slots), nodes=("n1", "n2"))
        paths = self.directories([a, b, a, b])
        self.counters.write("latency", "lookup=300000")
        self.counters.write("fault", "hang 1000")
        threads, _ = self.clients(paths)
        self.until(lambda: self.counters.read("fault") == "hanging, and 4 requests with it\n")
        self.counters.reset()
        start = time.monotonic()
        self.counters.write("fault", "up")
        for t in threads:
            t.join()
        seconds, most = time.monotonic() - start, self.counters.all()["most_waiting"]
        self.assertEqual(self.counters.all()["all"]["lookup"], 4)
        return seconds, most

    def test_one_slot_serves_one_after_another(self):
        seconds, most = self.together(1)
        self.assertGreaterEqual(seconds, 4 * 0.3)
        self.assertEqual(most, 3)

    def test_nobody_waits_for_one_of_four_slots(self):
        seconds, most = self.together(4)
        self.assertGreaterEqual(seconds, 0.3)
        self.assertEqual(most, 0)

    def test_first_come_first_served(self):
        mount, = self.serve(*FOREVER, "--slots", "1")
        paths = self.directories(3 * [mount])
        self.counters.write("latency", "lookup=1000000")

        def there(n):
            now = self.counters.all()
            return now["busy"] + now["waiting"] == n
        threads, done = self.clients(paths, there)
        for t in threads:
            t.join()
        self.assertEqual(done, paths)

    def test_a_service_time_is_waited_for(self):
        self.fill("file", "x" * 1000)
        mount, = self.serve(*NEVER, "--latency", "lookup=50000,open=60000,read=70000,network=20000")
        start = time.monotonic()
        read(mount + "/file")
        self.assertGreaterEqual(time.monotonic() - start, 0.05 + 0.06 + 0.07 + 3 * 0.02)

    def test_service_times_can_be_set_while_it_runs(self):
        mount, = self.serve(*NEVER)
        self.counters.write("latency", "lookup=150000\n")
        self.assertIn(",lookup=150000,", "," + self.counters.read("latency"))
        self.assertIn("getattr=0,", self.counters.read("latency"))
        start = time.monotonic()
        error_of(os.stat, mount + "/none")
        self.assertGreaterEqual(time.monotonic() - start, 0.15)
        for wrong in ("lookup", "lookup=", "lookup=x", "none=3"):
            self.assertEqual(error_of(self.counters.write, "latency", wrong), errno.EINVAL)

    def test_the_bandwidth_is_that_of_all_nodes(self):
        for name in "ab":
            self.fill(name, os.urandom(500000))
        mounts = self.serve("--bandwidth", "2M", nodes=("n1", "n2"))
        start = time.monotonic()
        threads = [threading.Thread(target=read, args=(m + "/" + f,)) for m, f in zip(mounts, "ab")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertGreaterEqual(time.monotonic() - start, 1000000 / (2 << 20))


class Faults(SlowCase):
    def setUp(self):
        super().setUp()
        self.fill("d/file", "text")
        self.mount, self.other = self.serve(*NEVER, "--seed", "7", nodes=("n1", "n2"))
        self.name = self.mount + "/d/file"

    def rule(self, text):
        self.counters.write("fault", text)

    def test_every_request(self):
        self.rule("EIO")
        self.assertEqual(error_of(os.stat, self.name), errno.EIO)
        self.rule("clear")
        self.assertEqual(error_of(os.stat, self.name), 0)

    def test_of_a_kind(self):
        self.rule("EACCES open")
        self.assertEqual(self.counters.read("fault"), "EACCES 1 open\n")
        self.assertEqual((error_of(os.stat, self.name), error_of(read, self.name)), (0, errno.EACCES))
        self.assertEqual(self.counters.node("n1")["failed"], 1)

    def test_of_a_path(self):
        self.rule("ESTALE /d/file")
        self.assertEqual((error_of(os.stat, self.mount + "/d"), error_of(os.stat, self.name)), (0, errno.ESTALE))
        self.assertEqual(error_of(os.stat, self.mount + "/d/none"), errno.ENOENT)

    def test_by_chance_but_always_the_same(self):
        def draw():
            return [error_of(os.stat, self.mount + "/none%d" % i) for i in range(200)]
        os.stat(self.mount)
        self.rule("EIO 0.25 lookup")
        drawn = draw()
        self.assertEqual(set(drawn), {errno.EIO, errno.ENOENT})
        self.assertTrue(20 < drawn.count(errno.EIO) < 80, drawn.count(errno.EIO))
        self.stop()
        self.doCleanups_of_mounts()
        mount, = self.serve(*NEVER, "--seed", "7", "--fault", "EIO 0.25 lookup")
        self.mount = mount
        os.stat(mount)
        self.assertEqual(draw(), drawn)

    def doCleanups_of_mounts(self):
        for name in os.listdir(self.path("mount")):
            os.rmdir(self.path("mount", name))

    def test_down_and_up(self):
        self.rule("down")
        for mount in (self.mount, self.other):
            self.assertEqual(error_of(os.listdir, mount + "/d"), errno.ENOTCONN)
        self.rule("up")
        self.assertEqual(os.listdir(self.other + "/d"), ["file"])

    def test_it_hangs_for_a_while(self):
        start = time.monotonic()
        self.rule("hang 0.5")
        self.assertEqual(read(self.name), b"text")
        self.assertGreaterEqual(time.monotonic() - start, 0.5)

    def test_a_client_that_hangs_can_be_killed(self):
        self.rule("hang 1000")
        client = subprocess.Popen(["stat", self.name], stdout=subprocess.DEVNULL)
        while "1 request" not in self.counters.read("fault"):
            time.sleep(0.01)
        client.kill()
        self.assertEqual(client.wait(timeout=20), -signal.SIGKILL)
        self.rule("clear")
        self.assertEqual(read(self.name), b"text")

    def test_what_is_no_rule(self):
        for wrong in ("EWRONG", "EIO 2", "EIO none", "hang", "hang x", "hang -1"):
            self.assertEqual(error_of(self.counters.write, "fault", wrong), errno.EINVAL, wrong)
        self.assertEqual(self.counters.read("fault"), "")


class Passed(SlowCase):
    """What is passed through is what lies below."""

    def test_a_tree(self):
        for i in range(40):
            self.fill("t/%d/f" % (i % 7) + str(i), os.urandom(1 << (i % 20)))
        for i in range(3000):
            self.fill("t/large/%d" % i)
        os.link(self.path("source/t/1/f1"), self.path("source/t/hard"))
        os.symlink("../nowhere", self.path("source/t/soft"))
        mounts = self.serve(nodes=("n1", "n2"))

        def facts(top):
            found = {}
            for folder, dirs, files in os.walk(top):
                for name in dirs + files:
                    path = os.path.join(folder, name)
                    st = os.lstat(path)
                    data = os.readlink(path) if os.path.islink(path) else name in files and hashlib.sha256(
                        read(path)).hexdigest()
                    found[os.path.relpath(path, top)] = (st.st_ino, st.st_mode, st.st_nlink, st.st_size, st.st_mtime_ns,
                                                         st.st_uid, data)
            return found
        expected = facts(self.source)
        self.assertEqual(len(expected), 3000 + 40 + 2 + 9)
        for mount in mounts:
            self.assertEqual(facts(mount), expected)

    def test_programs_and_libraries_run_from_it(self):
        subprocess.run(["cp", "/bin/true", "/bin/cat", self.source], check=True)
        libraries = {line.split()[2] for line in subprocess.run(
            ["ldd", "/bin/cat"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines() if "=> /" in line}
        subprocess.run(["cp", "-L", *libraries, self.source], check=True)
        mount, = self.serve()
        out = self.run_command([mount + "/cat", "/proc/self/maps"], env=environment(LD_LIBRARY_PATH=mount)).stdout
        self.assertIn(mount + "/cat\n", out)
        self.assertIn(mount + "/libc.so.6\n", out)
        with open(mount + "/true", "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
            self.assertEqual(bytes(m), read("/bin/true"))

    def test_git_and_tar_work_on_it(self):
        mount, = self.serve()
        env = environment(HOME=self.tmp, **{"GIT_%s_%s" % (who, what): "a@b" for who in ("AUTHOR", "COMMITTER")
                                            for what in ("NAME", "EMAIL")})
        self.run_command(["sh", "-ec", """cd %s; git init -q r; cd r; mkdir d; for i in 1 2 3; do echo $i >d/$i; done
            ln -s d/1 l; git add .; git commit -qm one; git mv d/1 d/9; git commit -qam two; git gc -q
            git fsck --strict
            test -z "$(git status --porcelain)"; git clone -q . ../c; cmp d/9 ../c/d/9
            cd ..; tar cf c.tar c; mkdir x; tar xf c.tar -C x; diff -r --no-dereference c x/c""" % mount], env=env)
        self.run_command(["diff", "-r", "--no-dereference", self.source, mount])

    def test_what_one_node_writes_the_other_reads(self):
        a, b = self.serve(*NEVER, nodes=("n1", "n2"))
        with open(a + "/new", "w") as f:
            f.write("one")
        self.assertEqual(read(b + "/new"), b"one")
        with open(b + "/new", "a") as f:
            f.write("two")
        self.assertEqual(read(a + "/new"), b"onetwo")
        os.unlink(a + "/new")
        self.assertEqual(error_of(os.stat, b + "/new"), errno.ENOENT)

    def test_a_file_outlives_its_name(self):
        self.fill("file", "text")
        mount, = self.serve()
        with open(mount + "/file", "r+b", buffering=0) as f:
            number = os.fstat(f.fileno()).st_ino
            os.unlink(mount + "/file")
            self.fill("file", "other")
            self.assertEqual(os.read(f.fileno(), 10), b"text")
            self.assertNotEqual(os.stat(mount + "/file").st_ino, number)
        self.assertEqual(read(mount + "/file"), b"other")

    def test_read_only(self):
        self.fill("file", "text")
        mount, = self.serve("--read-only")
        self.assertEqual(error_of(os.open, mount + "/file", os.O_WRONLY), errno.EROFS)
        self.assertEqual(error_of(os.open, mount + "/new", os.O_WRONLY | os.O_CREAT), errno.EROFS)
        self.assertEqual(error_of(os.unlink, mount + "/file"), errno.EROFS)
        self.assertEqual(read(mount + "/file"), b"text")

    def test_what_another_user_makes_is_theirs(self):
        os.chmod(self.source, 0o777)
        os.chmod(self.tmp, 0o755)
        mount, = self.serve()
        self.run_command(["setpriv", "--reuid=1234", "--regid=2345", "--clear-groups", "sh", "-c",
                          "cd %s && umask 27 && mkdir d && echo x >d/f && ln -s x d/l" % mount])
        for name, mode in (("d", 0o40750), ("d/f", 0o100640), ("d/l", 0o120777)):
            st = os.lstat(self.path("source", name))
            self.assertEqual((st.st_uid, st.st_gid, st.st_mode), (1234, 2345, mode))
        self.assertEqual(error_of(os.stat, mount + "/d/f"), 0)
        self.run_command(["setpriv", "--reuid=1235", "--clear-groups", "cat", mount + "/d/f"], status=1)


class Life(SlowCase):
    def test_mounts_look_the_same_on_all_nodes(self):
        a, b = self.serve("--name", "scratch", nodes=("n1", "n2"))
        lines = [line.split() for line in self.mounted()]
        self.assertEqual([(w[3], w[-3], w[-2]) for w in lines], 3 * [("/", "fuse.slowfs", "scratch")])
        out = self.run_command(["stat", "-f", "-c", "%t", a, b]).stdout
        self.assertEqual(out, "65735546\n65735546\n")

    def test_it_ends_when_all_are_unmounted(self):
        a, b = self.serve(nodes=("n1", "n2"))
        for mount in (a, b, self.path("mount", "control")):
            self.run_command(["umount", mount])
        self.assertEqual(self.server.wait(timeout=20), 0)

    def test_it_ends_while_it_is_used(self):
        self.fill("file", "text")
        mount, = self.serve(*NEVER)
        with open(mount + "/file") as f:
            self.counters.write("fault", "hang 1000")
            client = subprocess.Popen(["ls", mount], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            while "1 request" not in self.counters.read("fault"):
                time.sleep(0.01)
            self.stop()
            self.assertIn(b"ls: cannot access", client.communicate(timeout=20)[1])
            self.assertEqual(client.returncode, 2)
            self.assertEqual(error_of(os.fstat, f.fileno()), errno.ENOTCONN)

    def test_clients_that_are_killed(self):
        for i in range(50):
            self.fill("d/%d" % i, "x" * 5000)
        mount, = self.serve(*NEVER, "--no-page-cache", "--latency", "all=2000")
        code = "import os\nos.chdir('%s/d')\nwhile 1:\n for n in os.listdir(): open(n).read()" % mount
        for _ in range(10):
            clients = [subprocess.Popen([PYTHON, "-c", code]) for _ in range(3)]
            self.counters.reset()
            while self.counters.all()["all"]["total"] < 30:
                time.sleep(0.01)
            for client in clients:
                client.kill()
            for client in clients:
                client.wait(timeout=20)
        self.assertEqual(sorted(os.listdir(mount + "/d"), key=int), [str(i) for i in range(50)])
        # Neither descriptors nor inodes stay behind.
        self.run_command(["sh", "-c", "echo 2 >/proc/sys/vm/drop_caches"])
        folder = "/proc/%d/fd" % self.server.pid
        end = time.monotonic() + 20
        while len(os.listdir(folder)) > 20 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertLessEqual(len(os.listdir(folder)), 20)

    def test_wrong_usage(self):
        for args, status in (([], 2), ([self.source], 2), (["--none", self.source, self.tmp], 2),
                             (["--slots", "0", self.source, self.tmp], 1), (["--slots", "x", self.source, self.tmp], 1),
                             (["--latency", "x=1", self.source, self.tmp], 1),
                             (["--fault", "EWRONG", self.source, self.tmp], 1), ([self.tmp + "/none", self.tmp], 1),
                             ([self.source, self.tmp + "/none"], 1)):
            result = self.run_command([SLOWFS, *args], status=status)
            self.assertEqual(result.stdout, "")
            self.assertNotEqual(result.stderr, "")
        self.assertEqual(self.mounted(), [])
