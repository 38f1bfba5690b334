"""What the start of an attached program asks the kernel."""
import os
import re
import unittest

from harness import Case


class Start(Case):
    def setUp(self):
        super().setUp()
        manifest = self.path("m.json")
        self.record(manifest, ["/bin/true"], include=["/usr"])
        self.d = self.stage(manifest)

    def namespaces(self, argv):
        _, lines = self.strace(argv)
        return [line for line in lines if "/proc/self/ns/mnt" in line]

    def test_the_same_place_is_told_by_its_mount(self):
        kernel = tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2])
        asked = self.namespaces([self.d + "/run", "/bin/true"])
        # The launcher, the audit library and the preloaded one.
        self.assertEqual(len(asked), 0 if kernel >= (6, 8) else 3, asked)

    @unittest.skipIf(os.geteuid() != 0, "only root can leave the mount name space")
    def test_another_mount_is_no_proof(self):
        """The same directory in another mount: then the name space tells."""
        asked = self.namespaces(["unshare", "-m", self.d + "/run", "/bin/true"])
        self.assertGreaterEqual(len(asked), 3)
