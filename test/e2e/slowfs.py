"""slowfs (bench/slowfs), for tests: a server, the mounts of its nodes, its counters."""
import json
import os
import subprocess

from harness import BUILD, Case

SLOWFS = os.path.join(BUILD, "slowfs")


class Counters:
    """A server's control files: those of its --control, or of one mount's .slowfs."""

    def __init__(self, control):
        self.control = control

    def read(self, name="counters"):
        with open(os.path.join(self.control, name)) as f:
            return f.read()

    def write(self, name, text):
        """In one call: what is refused raises its error."""
        fd = os.open(os.path.join(self.control, name), os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def all(self):
        return json.loads(self.read())

    def reset(self):
        self.write("reset", "1")

    def node(self, name, ends=False):
        """What is not 0 of a node's; `ends`: also those that come after a close, when the kernel has the time."""
        counts = self.all()["nodes"][name]
        return {k: n for k, n in counts.items() if n and (ends or not k.startswith("release")) and k != "total"}


class SlowCase(Case):
    """A source, which a server passes through to the mounts of some nodes."""

    def setUp(self):
        super().setUp()
        self.source = self.path("source")
        os.mkdir(self.source)

    def fill(self, name, text="", mode=0o644):
        return self.write(os.path.join("source", name), text, mode)

    def serve(self, *options, nodes=("n1",)):
        """Starts a server without service times; the mounts of the nodes."""
        mounts = {n: self.path("mount", n) for n in nodes}
        control = self.path("mount", "control")
        for mount in (*mounts.values(), control):
            os.makedirs(mount)
        command = [SLOWFS, "--latency", "all=0,network=0", "--control", control, *options, self.source,
                   *("%s=%s" % item for item in mounts.items())]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.assertEqual(self.server.stdout.readline(), "ready\n")
        self.counters = Counters(control)
        return list(mounts.values())

    def stop(self):
        self.server.terminate()
        status = self.server.wait(timeout=20)
        self.server.stdout.close()
        left = self.mounted()
        for line in left:
            subprocess.run(["umount", "-l", line.split()[4]], check=False)
        self.assertEqual((status, left), (0, []))

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            return [line for line in f if self.tmp in line]
