"""Nodes on one machine, and the file server that they share (bench/slowfs). A node is a mount and UTS name space: own host
name, own /dev/shm, a client of the server at SW with caches of its own. All of it is made anew for every measurement, so
that nothing is warm that would not be at a job's start. Everything lies below TOP, a tmpfs of this process's own name
space: nothing outlives it.

No Slurm here, but its nodes (test/lab/lab): a measurement every second or two is not what a scheduler is for."""
import json
import os
import subprocess

from start.machine import BUILD, MPIEXEC

TOP = "/media"            # a tmpfs
SOURCE = TOP + "/source"  # what the server passes on
SW = "/srv"               # where nodes have it
CLIENTS = TOP + "/clients"
CONTROL = TOP + "/control"

# A metadata server of 20,000 lookups or 10,000 opens a second: no faster than two cores can play it, so that what is
# waited for is the server, and not this machine. The service times are slowfs's own (bench/README.md). Clients keep names
# and attributes as long as they like, which Lustre's locks let them (NFS's would ask more often, and native starts take
# longer), but nothing of names that are not there.
SERVER = {"slots": 2, "bandwidth": "2G", "attr": 100000, "entry": 100000, "negative": 0}
NO_TIME = "all=0,network=0"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KINDS = ("lookup", "getattr", "readlink", "open", "read", "opendir", "readdir", "statfs")

NODE = """hostname "$1" && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount --bind "$2" %s && echo $$ >%s/pid/$1 &&
echo up && exec sleep infinity""" % (SW, TOP)
RANK = """#!/bin/sh
exec nsenter --target "$(cat %s/pid/node$((PMI_RANK + 1)))" --mount --uts --root -- "$@"
""" % TOP


# Of every command. MPI does without shared memory: its nodes are on one machine, but have no /dev/shm in common.
ENVIRONMENT = {"PATH": PATH, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "MPIR_CVAR_NOLOCAL": "1",
               **{k: v for k, v in os.environ.items() if k == "ASAN_OPTIONS"}}


def prepare():
    """Once, in a mount name space of this process's own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=80%", "tmpfs", TOP], check=True)
    for path in (SOURCE, CLIENTS, CONTROL, TOP + "/pid"):
        os.mkdir(path)
    with open(TOP + "/rank", "w", encoding="ascii") as f:
        f.write(RANK)
    os.chmod(TOP + "/rank", 0o755)


class Nodes:
    def __init__(self, count, served=True):
        self.names = ["node%d" % (i + 1) for i in range(count)]
        self.served = served
        self.processes = {}
        self.server = None

    def __enter__(self):
        try:
            where = self.start_server() if self.served else {name: SOURCE for name in self.names}
            for name in self.names:
                node = subprocess.Popen(["unshare", "--mount", "--uts", "sh", "-c", NODE, "node", name, where[name]],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                self.processes[name] = node
            for name, node in self.processes.items():
                if node.stdout.readline() != "up\n":
                    raise SystemExit("bench: %s did not start" % name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.processes.values():
            node.kill()
            node.wait()
            node.stdout.close()
        if self.server:
            self.server.terminate()
            self.server.wait()
            self.server.stdout.close()

    def start_server(self):
        where = {name: "%s/%s" % (CLIENTS, name) for name in self.names}
        for path in where.values():
            os.makedirs(path, exist_ok=True)
        options = [text for key, value in SERVER.items() for text in ("--" + key, str(value))]
        self.server = subprocess.Popen([BUILD + "/slowfs", "--read-only", *options, "--control", CONTROL, SOURCE,
                                        *("%s=%s" % item for item in where.items())],
                                       stdout=subprocess.PIPE, text=True)
        if self.server.stdout.readline() != "ready\n":
            raise SystemExit("bench: slowfs did not start")
        return where

    def popen(self, name, argv):
        return subprocess.Popen(["nsenter", "--target", str(self.processes[name].pid), "--mount", "--uts", "--root", "--",
                                 *argv],
                                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def on_all(self, argv):
        """A command on each node, at once. {node: standard output}"""
        started = {name: self.popen(name, argv) for name in self.names}
        return {name: finished(process) for name, process in started.items()}

    def mpi(self, argv):
        """One rank on each node; standard output."""
        return finished(subprocess.Popen([MPIEXEC, "-n", str(len(self.names)), TOP + "/rank", *argv],
                                         env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True))

    # --- the server's counters -------------------------------------------------------------------------------------

    def control(self, name, text):
        if self.served:
            with open("%s/%s" % (CONTROL, name), "w", encoding="ascii") as f:
                f.write(text)

    def requests(self):
        """Since the last time: {node: {kind: number}}; what is 0 is left out."""
        if not self.served:
            return {name: {"total": 0} for name in self.names}
        with open(CONTROL + "/counters", encoding="ascii") as f:
            nodes = json.load(f)["nodes"]
        self.control("reset", "1")
        kept = ("total", *KINDS, "absent", "bytes_read")
        return {name: {k: nodes[name][k] for k in kept if k == "total" or nodes[name].get(k)} for name in self.names}

    # --- memory ----------------------------------------------------------------------------------------------------

    def memory(self, files):
        """Bytes a node, {node: {"tmpfs": …, "page_cache": …}}: what its /dev/shm takes, and what of `files` (a file that
        names them) its page cache has; None where that cannot be told."""
        self.control("latency", NO_TIME)
        script = 'stat -f -c "%%S %%b %%f" /dev/shm; xargs -a %s -d "\\n" fincore -b -n -r -o RES 2>/dev/null |' \
                 "awk '{n += $1} END {print n + 0}'" % files
        out = self.on_all(["sh", "-c", script])
        result = {}
        for name, text in out.items():
            block, blocks, free, cached = map(int, text.split())
            result[name] = {"tmpfs": block * (blocks - free), "page_cache": cached if can_tell() else None}
        return result


def server_facts():
    """The settings of the server, its service times among them."""
    with Nodes(1):
        with open(CONTROL + "/latency", encoding="ascii") as f:
            times = dict(item.split("=") for item in f.read().strip().split(","))
    return {**SERVER, "service_us": {k: int(v) for k, v in times.items() if k in (*KINDS, "network")}}


def can_tell():
    return subprocess.run(["fincore", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def finished(process, timeout=600):
    out, err = process.communicate(timeout=timeout)
    if process.returncode:
        raise SystemExit("bench: %s: status %d\n%s%s" % (" ".join(process.args), process.returncode, out, err))
    return out
