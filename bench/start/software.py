"""The application, as an installation of its own below one prefix on the server: Python, the packages that the program
imports with all that is in them, the shared libraries that they need, the time zones. And what each way wants of it: the
pilot's manifest, a tar, a squashfs image."""
import json
import os
import shutil
import subprocess

from start.machine import BUILD, PYTHON
from start.nodes import Nodes, NO_TIME, SOURCE, SW, TOP, finished

ENV = SW + "/env"
UNPACKED = "/dev/shm/env"  # where the tar ends up
TAR, IMAGE = SW + "/env.tar", SW + "/env.squashfs"
DLCACHE = SW + "/dlcache/bin/dlcache"
ADDED = "added_later"

# The kernel's squashfs, as Shifter does; where there is none (a container without loop devices), by FUSE.
MOUNT = 'mount -o loop,ro -t squashfs "$1" "$2" 2>/dev/null || squashfuse "$1" "$2"'

# Said by the native python: where its library is, what of the packages of the system is imported, what is mapped.
ASK = """
import json, os, sys
maps = sorted({l.split(None, 5)[5].rstrip() for l in open("/proc/self/maps") if ".so" in l})
tops = set()
for m in list(sys.modules.values()):
    f = getattr(m, "__file__", None)
    if f and "/dist-packages/" in f:
        where, _, below = f.partition("/dist-packages/")
        tops.add((where + "/dist-packages", below.split("/")[0]))
print(json.dumps({"program": os.path.realpath(sys.executable), "stdlib": os.path.dirname(os.__file__),
                  "packages": sorted(tops), "objects": maps}))
"""
# Every machine's own: the C library belongs to its kernel and loader.
SYSTEM = ("ld-linux", "libc.so", "libm.so", "libpthread", "libdl.so", "librt.so", "libresolv", "libutil.so", "libdlcache")


def variables(prefix):
    """What a module file would set, and two that keep ranks from disturbing each other."""
    return ["LD_LIBRARY_PATH=%s/lib" % prefix, "PYTZ_TZDATADIR=%s/share/zoneinfo" % prefix, "PYTHONDONTWRITEBYTECODE=1",
            "OPENBLAS_NUM_THREADS=1"]


class Software:
    def __init__(self, program):
        self.program = program
        self.stale = program + "; import " + ADDED
        self.manifest, self.tar_manifest = TOP + "/app.json", TOP + "/tar.json"
        self.stale_manifest = TOP + "/stale.json"

    def rank(self, prefix=ENV, before=(), stale=False):
        """The command of one; `before`: of its program. It ends by saying when it has started."""
        return ["env", *variables(prefix), *before, prefix + "/bin/python3", "-c", (
            self.stale if stale else self.program) + "; import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))"]

    def make(self):
        copy_installation(self.program, SOURCE + "/env")
        install(SOURCE + "/dlcache")
        self.record(self.manifest, False)
        shutil.copy(self.manifest, SOURCE + "/app.json")
        self.move_manifest()
        subprocess.run(["tar", "-C", SOURCE + "/env", "-cf", SOURCE + "/env.tar", "."], check=True)
        subprocess.run(["mksquashfs", SOURCE + "/env", SOURCE + "/env.squashfs", "-comp", "zstd", "-Xcompression-level",
                        "3", "-quiet", "-no-progress"], check=True, stdout=subprocess.DEVNULL)
        with open("%s/%s.py" % (self.packages(), ADDED), "w", encoding="ascii") as f:
            f.write("answer = 42\n")
        self.record(self.stale_manifest, True)
        self.list_files()

    def packages(self):
        return SOURCE + "/env/lib/python3/dist-packages"

    def record(self, manifest, stale):
        with Nodes(1) as nodes:
            nodes.control("latency", NO_TIME)
            finished(nodes.popen("node1", [BUILD + "/dlcache", "record", "-o", manifest, "--include", SW, "--",
                                           *self.rank(stale=stale)]))

    def move_manifest(self):
        """The same operations where the tar is unpacked."""
        with open(self.manifest, encoding="utf-8") as f:
            m = json.load(f)
        for entry in m["entries"]:
            if (entry.get("path") or "").startswith(ENV):
                entry["path"] = UNPACKED + entry["path"][len(ENV):]
        m["entries"] = sorted((e for e in m["entries"] if e.get("path", "").startswith(UNPACKED)),
                              key=lambda e: os.fsencode(e["path"]))
        with open(self.tar_manifest, "w", encoding="utf-8") as f:
            json.dump(m, f)

    def list_files(self):
        """The files whose pages count as the application's: those that it opens, and what it is packed in."""
        with open(self.manifest, encoding="utf-8") as f:
            entries = json.load(f)["entries"]
        self.entries = len(entries)
        self.calls = sum(sum(e.get("counts", {}).values()) for e in entries)
        held = [e for e in entries if e["kind"] not in ("absent", "directory", "symlink") and "path" in e]
        self.bytes = sum(e.get("size", 0) for e in held)
        self.files = len(held)
        for name, extra in (("files", []), ("tar-files", [TAR]), ("squashfs-files", [IMAGE])):
            with open("%s/%s" % (TOP, name), "w", encoding="utf-8") as f:
                f.write("".join(p + "\n" for p in [e["path"] for e in held] + extra))

    def squashfs_kind(self):
        """How the image comes to be mounted here."""
        with Nodes(1) as nodes:
            mount_image(nodes)
            return finished(nodes.popen("node1", ["findmnt", "-n", "-o", "FSTYPE", ENV])).split()[-1]

    def facts(self):
        size = sum(os.lstat(os.path.join(d, f)).st_size for d, _, files in os.walk(SOURCE + "/env") for f in files)
        return {"program": self.program, "entries": self.entries, "calls": self.calls, "files": self.files,
                "bytes": self.bytes, "installation_bytes": size, "tar_bytes": os.path.getsize(SOURCE + "/env.tar"),
                "squashfs_bytes": os.path.getsize(SOURCE + "/env.squashfs")}


def mount_image(nodes):
    nodes.on_all(["sh", "-c", MOUNT, "mount", IMAGE, ENV])


def install(to):
    """dlcache itself, where the software is: what its programs ask for counts, too. As `make install` does."""
    for where, names in (("bin", ["dlcache"]), ("libexec/dlcache", ["dlcache-stage", "dlcache-mpi.so", "dlcache-run"]),
                         ("lib/dlcache", ["libdlcache.so", "libdlcache-audit.so"])):
        os.makedirs("%s/%s" % (to, where))
        for name in names:
            shutil.copy2("%s/%s" % (BUILD, name), "%s/%s" % (to, where))


def copy_installation(program, to):
    told = json.loads(subprocess.run([PYTHON, "-c", program + ASK], stdout=subprocess.PIPE, text=True, check=True,
                                     env={"PATH": "/usr/bin:/bin"}).stdout)
    library = "%s/lib/%s" % (to, os.path.basename(told["stdlib"]))
    packages = to + "/lib/python3/dist-packages"
    for path in (to + "/bin", packages, to + "/share"):
        os.makedirs(path)
    shutil.copy2(told["program"], to + "/bin/python3")
    shutil.copytree(told["stdlib"], library, symlinks=True, ignore=shutil.ignore_patterns("test", "config-*"))
    for where, name in told["packages"]:
        path = "%s/%s" % (where, name)
        if os.path.isdir(path):
            shutil.copytree(path, packages + "/" + name, symlinks=True, ignore=shutil.ignore_patterns("tests"))
        else:
            shutil.copy2(path, packages)
    for path in told["objects"]:
        name = os.path.basename(path)
        if not name.startswith(SYSTEM) and "/lib-dynload/" not in path and "/dist-packages/" not in path:
            shutil.copy2(path, to + "/lib/" + soname(path))
    shutil.copytree("/usr/share/zoneinfo", to + "/share/zoneinfo", symlinks=True)
    follow_outside(to)


def follow_outside(top):
    """Links that lead out of the installation (Debian keeps its settings in /etc) become what they lead to, or go."""
    for where, dirs, files in os.walk(top):
        for path in (os.path.join(where, name) for name in dirs + files):
            if os.path.islink(path) and not os.path.realpath(path).startswith(os.path.realpath(top) + "/"):
                target = os.path.realpath(path)
                os.unlink(path)
                if os.path.isfile(target):
                    shutil.copy2(target, path)


def soname(path):
    out = subprocess.run(["objdump", "-p", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    names = [line.split()[1] for line in out.splitlines() if line.split()[:1] == ["SONAME"]]
    return names[0] if names else os.path.basename(path)
