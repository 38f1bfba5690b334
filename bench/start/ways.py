"""The ways to start a job, side by side: what each does first on the job's nodes, and how its ranks run."""
from start.machine import BUILD
from start.nodes import SW, TOP
from start.software import DLCACHE, ENV, TAR, UNPACKED, mount_image


class Way:
    served = True  # the software lies on the file server
    prefix = ENV   # where ranks find it
    files = TOP + "/files"

    def __init__(self, software):
        self.software = software

    def prepare(self, nodes):
        """What has to be done before ranks can start; it is timed."""

    def replay(self, manifest):
        return [BUILD + "/dlcache", "replay", "--json", "--native", manifest]

    def manifest(self):
        return self.software.manifest

    def python(self, stale=False):
        return self.software.rank(self.prefix, (), stale)


class Native(Way):
    name, title = "native", "native, on the file server"


class Cached(Way):
    name, title = "cached", "native, all in the page cache"
    served = False


class Tar(Way):
    name, title = "tar", "a tar, broadcast and unpacked in /dev/shm"
    prefix, files = UNPACKED, TOP + "/tar-files"

    def prepare(self, nodes):
        nodes.mpi([BUILD + "/bench/bcast", TAR, UNPACKED])

    def manifest(self):
        return self.software.tar_manifest


class Squashfs(Way):
    name, title = "squashfs", "a squashfs image, mounted on each node"
    files = TOP + "/squashfs-files"

    def prepare(self, nodes):
        mount_image(nodes)


class Dlcache(Way):
    name, title = "dlcache", "dlcache"

    def prepare(self, nodes):
        self.stage = nodes.mpi([DLCACHE, "stage", SW + "/app.json"]).strip()

    def replay(self, manifest):
        return [BUILD + "/dlcache", "replay", "--json", "--stage", self.stage, manifest]

    def python(self, stale=False):
        return self.software.rank(self.prefix, [self.stage + "/run"], stale)


WAYS = (Native, Cached, Tar, Squashfs, Dlcache)
