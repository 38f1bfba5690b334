"""What tests of staging share: manifests of few files, ranks, simulated nodes."""
import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time

from harness import DLCACHE, MPIEXEC, Case, environment


class StageCase(Case):
    # The times of the directories above the files are part of the image. /tmp changes all the time; /var/tmp when
    # tests like these come and go: never during a quiet one.
    quiet = False
    ABOVE = "/var/tmp"

    def setUp(self):
        super().setUp()
        self.lock = self.lock_above()
        self.src = tempfile.mkdtemp(prefix="dlcache-test.", dir=self.ABOVE)
        self.addCleanup(self.remove_sources)
        if not self.quiet:
            os.close(self.lock)
        os.chmod(self.src, 0o755)
        self.parent = os.path.join(self.place, "dlcache-%d" % os.getuid())
        self.running = []
        self.addCleanup(self.end_all)

    def lock_above(self):
        fd = os.open(self.ABOVE, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def remove_sources(self):
        if not self.quiet:
            self.lock = self.lock_above()
        subprocess.run(["rm", "-rf", self.src], check=False)
        os.close(self.lock)

    def end_all(self):
        for proc in self.running:
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            proc.wait()
            for pipe in filter(None, (proc.stdout, proc.stderr)):
                pipe.close()

    def file(self, name, text="", mode=0o644):
        path = os.path.join(self.src, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        os.chmod(path, mode)
        return path

    def sparse(self, name, megabytes):
        path = self.file(name)
        os.truncate(path, megabytes << 20)
        return path

    def manifest(self, paths, kinds=None, name="m.json"):
        """One that names the paths, in this order, below self.src."""
        entries = [{"path": p, "kind": (kinds or {}).get(p, "data"), "counts": {"open": 1}, "order": i}
                   for i, p in enumerate(paths)]
        entries.sort(key=lambda e: os.fsencode(e["path"]))
        head = {"format": "dlcache-manifest", "version": 1, "command": ["x"], "cwd": "/", "host": "h",
                "recorded": "2026-01-01T00:00:00Z", "interpreter": "/bin/x", "processes": 1, "exit_status": 0,
                "search": [], "mounts": [],
                "policy": {"all": False, "include": [self.src], "exclude": [], "prefixes": [self.src]}}
        text = json.dumps(head)[:-1] + ',"entries":[\n' + ",\n".join(json.dumps(e) for e in entries) + "\n]}\n"
        return self.write(name, text)

    def command(self, manifest, ranks=0, places=None, args=()):
        command = [DLCACHE, "stage", "--dir", places or self.place, *args, manifest]
        return [MPIEXEC, "-n", str(ranks), *command] if ranks else command

    def staged(self, manifest, **kw):
        """(directory, what it said)"""
        result = self.run_command(self.command(manifest, **kw))
        self.assertEqual(result.stdout.count("\n"), 1, result.stdout)
        return result.stdout.strip(), result.stderr

    def start(self, argv):
        proc = subprocess.Popen(argv, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True, text=True)
        self.running.append(proc)
        return proc

    def names(self):
        return sorted(os.listdir(self.parent)) if os.path.isdir(self.parent) else []

    def until(self, what, seconds=20):
        """Waits, looking often, until what() is true; its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = what()
            if value:
                return value
            time.sleep(0.0005)
        self.fail("it did not come")

    def temporary(self):
        return [n for n in self.names() if n.startswith(".") and not n.startswith((".trash", ".probe"))]

    def ranks(self, manifest):
        """The processes of a staging of this manifest."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, errors="surrogateescape") as f:
                    argv = f.read().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if argv[0].endswith("/dlcache-stage") and manifest in argv:
                pids.append(int(pid))
        return pids

    def half_way(self, manifest, ranks=0):
        """A staging that has begun to lay down, all of it stopped: (the process, the ranks)."""
        proc = self.start(self.command(manifest, ranks))
        # Looking for processes takes time: before the moment that matters, not after it.
        pids = self.until(lambda: len(p := self.ranks(manifest)) == max(ranks, 1) and p)
        self.until(lambda: self.temporary() or proc.poll() is not None)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self.assertEqual(len(self.temporary()), 1, "it was too fast")
        return proc, pids

    @staticmethod
    def go_on(pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass

    def assert_ends(self, proc, seconds=10):
        try:
            return proc.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.fail("it goes on")

    def big(self):
        return self.manifest([self.sparse("big", 300), self.file("last", "last\n")])

    def served(self, d, path):
        return self.run_command([d + "/run", "cat", path]).stdout

    def in_private(self, script, *args, status=0):
        """sh, in a mount name space of its own."""
        return self.run_command(["unshare", "-m", "sh", "-ec", script, DLCACHE, *args], status=status)

    def nodes(self, manifest, places, before="", ranks=2, after=":"):
        """One rank a node, each with a tmpfs on self.place; what each of them wrote: (status, stdout, stderr)."""
        out = self.path("rank")
        script = """
            RANK=${PMI_RANK:-$OMPI_COMM_WORLD_RANK}
            mount -t tmpfs none "$1"
            %s
            status=0; "$0" stage --dir "$2" "$3" >$4.out.$RANK 2>$4.err.$RANK || status=$?
            D=$(cat $4.out.0); %s
            echo $status >$4.status.$RANK""" % (before, after)
        self.run_command([MPIEXEC, "-n", str(ranks), "unshare", "-m", "sh", "-ec", script, DLCACHE, self.place,
                          places, manifest, out])
        answers = []
        for rank in range(ranks):
            texts = []
            for what in ("status", "out", "err"):
                with open("%s.%s.%d" % (out, what, rank)) as f:
                    texts.append(f.read())
            answers.append((int(texts[0]), texts[1], texts[2]))
        return answers
