"""Images in a file: packed before the job, staged as one large read, held against the files as they are then."""
import hashlib
import os
import random
import re
import shutil
import struct

from harness import DLCACHE, environment
from staging import StageCase

CHUNK = 4 << 20


class Pack(StageCase):
    def tree(self):
        """A small tree of every kind of name: {path: contents}."""
        rnd = random.Random(7)
        files = {"a/one": b"one\n", "a/empty": b"", "b/big": rnd.randbytes(3 * CHUNK + 12345), "b/c/two": b"two\n"}
        for name, text in files.items():
            self.file(name, text)
        os.symlink("../a/one", os.path.join(self.src, "b/link"))
        os.symlink("nowhere", os.path.join(self.src, "b/dangling"))
        os.link(os.path.join(self.src, "a/one"), os.path.join(self.src, "b/hard"))
        os.mkdir(os.path.join(self.src, "void"))
        return {os.path.join(self.src, name): text for name, text in files.items()}

    def pack(self, *args, status=0):
        image = self.path("image")
        result = self.dlcache("pack", "-o", image, *args, status=status)
        return image, result.stderr

    def served(self, d, *argv, status=0):
        return self.strace([d + "/run", *argv], status=status)

    def test_a_packed_manifest_is_the_stage_that_the_manifest_is(self):
        manifest = self.manifest(sorted(self.tree()))
        direct, _ = self.staged(manifest)
        image, said = self.pack(manifest)
        self.assertRegex(said, r"^dlcache: packed 4 files, 12\.6 MB, \d+ names in \d+ frozen directories: ")
        packed, said = self.staged(image)
        self.assertEqual(packed, direct)
        self.assertIn("(it was there already)", said)
        self.dlcache("unstage", direct)
        packed, said = self.staged(image)
        self.assertEqual(packed, direct)
        self.assertRegex(said, r"^dlcache: staged 4 files, 12\.6 MB, \d+ names on 1 node in [0-9.]+ s\n$")

    def test_a_whole_tree_is_served_without_a_pilot(self):
        files = self.tree()
        image, _ = self.pack("--tree", self.src)
        for ranks in (0, 3):
            d, _ = self.staged(image, ranks=ranks)
            script = "cat %s | sha256sum; ls -1 %s/b; readlink %s/b/link; ls %s/void; cat %s/b/gone" % (
                " ".join(sorted(files)), *(self.src,) * 4)
            native = self.run_command(["sh", "-c", script], status=1)
            result, lines = self.served(d, "sh", "-c", script, status=1)
            self.assertEqual((result.stdout, result.stderr), (native.stdout, native.stderr))
            self.assertIn(hashlib.sha256(b"".join(files[p] for p in sorted(files))).hexdigest(), native.stdout)
            # readlink and stat of what is served make no call; opens are of the mirror.
            self.assertEqual([l for l in self.touching(lines, self.src) if not l.startswith(("execve", "getcwd"))], [])
            self.dlcache("unstage", d)

    def test_nothing_of_other_files_lies_between_files(self):
        big = self.file("big", random.Random(1).randbytes(5 * CHUNK))
        image, _ = self.pack(self.manifest([big, self.file("xyz", "xyz"), self.file("empty"), self.file("nine", "123456789")]))
        with open(image, "rb") as f:
            whole = f.read()
        index, data = struct.unpack_from("<QQ", whole, 32)
        self.assertEqual(whole[index + 5 * CHUNK:index + data], b"xyz" + bytes(5) + bytes(8) + b"123456789" + bytes(7))

    def test_trees_given_twice_or_one_below_the_other(self):
        self.tree()
        one, _ = self.pack("--tree", self.src)
        with open(one, "rb") as f:
            expected = f.read()
        again, _ = self.pack("--tree", self.src + "/b", self.src + "/./", self.src)
        with open(again, "rb") as f:
            self.assertEqual(len(f.read()), len(expected))

    def test_what_changed_since_is_told_and_left_to_the_file_system(self):
        self.tree()
        path = lambda name: os.path.join(self.src, name)
        self.file("d/kept", "kept\n")
        self.file("d/x", "x\n")
        image, _ = self.pack("--tree", self.src)
        self.file("a/one", "eno\n")                  # and so its other name, b/hard
        os.unlink(path("b/c/two"))
        os.symlink("/", path("b/c/two"))
        self.file("void/new", "new\n")
        os.unlink(path("b/link"))
        os.chmod(path("d/x"), 0o600)
        d, said = self.staged(image)
        told = dict(re.findall(r"warning: %s/(\S*) (.*); it is left to the file system" % re.escape(self.src), said))
        self.assertEqual(told, {
            "a/one": "has other contents now", "b/hard": "has other contents now", "b/c": "has other names now",
            "b/c/two": "is of another kind now", "void": "has other names now", "b": "has other names now",
            "b/link": "is gone", "d/x": "has another owner, mode or number of links now"})
        script = "cd %s; cat a/one b/hard d/kept d/x; ls b b/c void; readlink b/c/two; stat -c %%a d/x; test ! -L b/link" % self.src
        native = self.run_command(["sh", "-c", script])
        result, lines = self.served(d, "sh", "-c", script)
        self.assertEqual(result.stdout, native.stdout)
        self.assertEqual(self.touching(lines, path("d/kept")), [])
        self.assertIn("dlcache: 8 names are not what they were when the image was packed; they are left to the file "
                      "system\n", said)

    def test_without_the_check_the_image_is_believed(self):
        self.tree()
        image, _ = self.pack("--tree", self.src)
        self.file("a/one", "eno\n")
        d, said = self.staged(image, args=["--no-check"])
        self.assertNotIn("warning", said)
        result, _ = self.served(d, "cat", self.src + "/a/one")
        self.assertEqual(result.stdout, "one\n")

    def test_what_cannot_be_read_stays_with_the_file_system(self):
        self.tree()
        os.chmod(self.file("secret", "secret\n"), 0)
        image, said = self.pack("--tree", self.src)
        if os.getuid():
            self.assertIn("secret: cannot be read; it is left to the file system", said)
        d, _ = self.staged(image)
        self.assertEqual(self.served(d, "cat", self.src + "/a/one")[0].stdout, "one\n")

    def damaged(self, image, data):
        copy = self.path("damaged")
        with open(copy, "wb") as f:
            f.write(data)
        result = self.run_command(self.command(copy), status=None)
        self.assertIn(result.returncode, (1, 2), result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"^dlcache: stage: .+\n$")
        self.assertEqual(self.names(), [])
        return result.stderr

    def test_truncated_images(self):
        self.tree()
        image, _ = self.pack("--tree", self.src)
        with open(image, "rb") as f:
            whole = f.read()
        index, data = struct.unpack_from("<QQ", whole, 32)
        for size in (8, 100, 255, 256, index - 1, index, index + 10, index + data - 1, index + data, len(whole) - 56,
                     len(whole) - 1):
            self.assertRegex(self.damaged(image, whole[:size]), r"damaged: it (is|cannot)|damaged: it is truncated")
        self.assertIn("truncated", self.damaged(image, whole + b"x"))

    def test_damaged_images(self):
        self.tree()
        image, _ = self.pack("--tree", self.src)
        with open(image, "rb") as f:
            whole = f.read()
        index, data = struct.unpack_from("<QQ", whole, 32)
        rnd = random.Random(3)
        spots = [rnd.randrange(16, index) for _ in range(40)] + [rnd.randrange(index, index + data) for _ in range(5)] + \
                [rnd.randrange(index + data, len(whole)) for _ in range(10)] + [8, 32, 40]
        for spot in spots:
            wrong = bytearray(whole)
            wrong[spot] ^= 1 << rnd.randrange(8)
            self.damaged(image, bytes(wrong))
        newer = bytearray(whole)
        struct.pack_into("<I", newer, 8, 99)
        self.assertIn("is an image of version 99, and this program knows 1: pack it anew", self.damaged(image, newer))

    def test_ranks_end_together_when_the_contents_are_damaged(self):
        self.tree()
        image, _ = self.pack("--tree", self.src)
        with open(image, "r+b") as f:
            index, = struct.unpack_from("<Q", f.read(40), 32)
            f.seek(index + CHUNK + 5)
            f.write(b"\xff\x00\xff")
        result = self.run_command(self.command(image, ranks=3), status=None)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("it is damaged: the contents are not what their digests say", result.stderr)
        self.assertEqual(self.names(), [])

    def test_a_full_disk_leaves_no_image_and_not_the_old_one_harmed(self):
        self.tree()
        small = self.path("small")
        os.mkdir(small)
        script = "mount -t tmpfs -o size=8m tmpfs %s && echo old >%s/image && %s pack -o %s/image --tree %s; " \
                 "echo $?; cat %s/image; ls %s" % (small, small, DLCACHE, small, self.src, small, small)
        result = self.run_command(["unshare", "-m", "sh", "-c", script])
        self.assertEqual(result.stdout.split(), ["1", "old", "image"])
        self.assertIn("it cannot be written: No space left on device", result.stderr)

    def test_wrong_usage(self):
        for args, message in (([], "no image is named"), (["-o", "x"], "no manifest is named"),
                              (["-o", "x", "--tree"], "no directory is named"), (["-o", "x", "a", "b"], "too many"),
                              (["-o", "x", "--nonsense"], "is no option"), (["-o", "x", "/nowhere/m"], "/nowhere/m"),
                              (["-o", "x", "--tree", "/nowhere"], "/nowhere: No such file"),
                              (["-o", "x", "--tree", "/etc/passwd"], "is no directory"),
                              (["-o", "x", "--tree", "/"], "that is everything")):
            result = self.dlcache("pack", *args, status=2, env=environment(), cwd=self.tmp)
            self.assertIn(message, result.stderr)
        result = self.dlcache("pack", "-o", "/nowhere/image", "--tree", self.src, status=1)
        self.assertIn("/nowhere/image: No such file or directory", result.stderr)

    def test_an_image_behind_a_symlink_and_one_of_nothing(self):
        image, _ = self.pack("--tree", self.src)
        link = self.path("link")
        os.symlink("image", link)
        d, said = self.staged(link)
        self.assertIn("staged 0 files, 0.0 MB", said)
        shutil.copy(image, self.path("copy"))
        self.assertEqual(self.staged(self.path("copy"))[0], d)
