"""The same path is the same file: programs in mount name spaces and roots of their own, made with unshare, mount and
chroot. Needs root."""
import os

import harness
from harness import PYTHON


class Elsewhere(harness.Case):
    """A tree of two prefixes, recorded and staged; programs that look at it from elsewhere."""
    LOOK = ("import os, sys\n"
            "outside = int(sys.argv.pop(1))\n" # numbers of what is mounted for a test are others each time
            "for d in sys.argv[1:]:\n"
            "    for name in ('f', 'sub/g', 'sub/deep/h', 'none', 'sub/../f', 'sub/deep/../g', 'to-g'):\n"
            "        try:\n"
            "            st = os.stat(d + '/' + name)\n"
            "            print(d, name, open(d + '/' + name).read(), st.st_dev == outside, st.st_ino,\n"
            "                  st.st_mtime_ns)\n"
            "        except OSError as e:\n"
            "            print(d, name, e.errno)\n"
            "    for name in ('', '/sub'):\n"
            "        print(sorted(os.listdir(d + name)) if os.path.isdir(d + name) else None)\n")

    def setUp(self):
        super().setUp()
        self.a, self.b = self.path("a"), self.path("b")
        for name in ("a", "b"):
            self.write(name + "/f", "f of " + name)
            self.write(name + "/sub/g", "g of " + name)
            self.write(name + "/sub/deep/h", "h of " + name)
            os.symlink("sub/g", self.path(name, "to-g"))
        self.argv = self.look(self.a, self.b)

    def look(self, *dirs):
        return [PYTHON, "-S", "-c", self.LOOK, str(os.stat(self.tmp).st_dev), *dirs]

    @staticmethod
    def put(text, path):
        """For a script: a file that is the same each time."""
        return "printf %s >{0}; touch -d @1 {0}\n".replace("%s", text).format(path)

    def staged(self, include=None):
        manifest = self.path("m.json")
        self.record(manifest, self.argv, include=include or [self.a, self.b])
        return self.stage(manifest)

    def there(self, d, script, argv=None, log=False, wrap=""):
        """What argv says after `script` in a name space of its own, natively and served (which is the same), and what
        strace and the log saw of the served one. `wrap` goes before the command: chroot."""
        argv = argv or self.argv
        native = self.inside(script, wrap, argv)
        env = harness.environment(DLCACHE_LOG="1" if log else None)
        trace = self.path("there.trace")
        served = self.inside(script, "strace -f -y -qq -e signal=none -e trace=%%file,getdents64 -s 4096 -o %s %s" %
                             (trace, wrap), [d + "/run", *argv], env)
        self.assertEqual(served.stdout, native.stdout)
        if not log:
            self.assertEqual(served.stderr, native.stderr)
        with open(trace, errors="surrogateescape") as f:
            return native.stdout, f.read().splitlines(), served.stderr

    def inside(self, script, wrap, argv, env=None):
        return self.run_command(["unshare", "-m", "sh", "-ec", script + '\nexec ' + wrap + ' "$@"', "sh", *argv],
                                env=env)

    def assert_untouched(self, lines, *paths):
        self.assertEqual(self.touching(lines, *paths), [])

    def root(self, extra=""):
        """A script that makes a root directory of a tmpfs at $R, with the software, the stages, /proc and the tests'
        own directory bound to where they are outside; `extra` afterwards."""
        r = self.path("newroot")
        os.makedirs(r, exist_ok=True)
        script = ("R=%s; mount -t tmpfs none $R\n"
                  "for d in usr etc dev proc; do mkdir $R/$d; mount --rbind /$d $R/$d; done\n"
                  "for l in bin lib lib64 sbin; do test ! -L /$l || cp -P /$l $R/$l; done\n%s" % (r, extra))
        return script, "chroot " + r


class Same(Elsewhere):
    def test_nothing_changed(self):
        out, lines, err = self.there(self.staged(), ":", log=True)
        self.assertIn("g of b", out)
        self.assert_untouched(lines, self.a + "/", self.b + "/")
        self.assertNotIn("dlcache", err)

    def test_bound_in_place(self):
        script = "mount --bind %s %s; mount --bind %s %s" % (self.a, self.a, self.b + "/sub", self.b + "/sub")
        lines, err = self.there(self.staged(), script, log=True)[1:]
        self.assert_untouched(lines, self.a + "/", self.b + "/")
        self.assertNotIn("dlcache", err)

    def test_modules_and_shared_objects(self):
        code = "import sys, json, _ctypes, decimal; print(json.__file__, _ctypes.__file__, sys.path)"
        argv = [PYTHON, "-c", code]
        manifest = self.path("m.json")
        self.record(manifest, argv, include=["/usr"])
        d = self.stage(manifest)
        lines = self.there(d, "mount -t tmpfs none /mnt", argv)[1]
        self.assert_untouched(lines, harness.STDLIB + "/", "/usr/lib/python3/")


class Other(Elsewhere):
    def test_another_directory_over_one(self):
        self.write("other/g", "another g")
        d = self.staged()
        script = "mount --bind %s %s/sub" % (self.path("other"), self.a)
        out, lines, err = self.there(d, script, log=True)
        self.assertIn("%s/sub/deep/h 2" % self.a, out.replace(" sub", "/sub"))
        self.assertIn("another g", out)
        self.assertIn("g of b", out)
        self.assert_untouched(lines, self.b + "/")
        for name in ("f", "none"):
            self.assertEqual([line for line in lines if '"%s/%s"' % (self.a, name) in line], [])
        self.assertIn("the stage %s is used in part: " % d, err)
        self.assertIn("not below %s/sub" % self.a, err)

    def test_another_file_over_one(self):
        self.write("other", "another f")
        out, lines, _ = self.there(self.staged(), "mount --bind %s %s/f" % (self.path("other"), self.a))
        self.assertIn("another f", out)
        self.assertIn("f of b", out)
        lines = [line for line in lines if "/../f" not in line]
        self.assert_untouched(lines, self.b + "/", self.a + "/sub/")

    def test_a_new_file_system(self):
        lines = self.there(self.staged(), "mount -t tmpfs none %s\n" % self.a + self.put("new", self.a + "/f"))[1]
        self.assert_untouched(lines, self.b + "/")

    def test_the_same_names_of_another_file_system(self):
        """Two of tmpfs have type, source and root in common."""
        x = self.path("x")
        os.makedirs(x)
        self.run_command(["mount", "-t", "tmpfs", "none", x])
        self.addCleanup(self.run_command, ["umount", "-l", x])
        self.write("x/f", "first")
        self.argv = self.look(self.a, x)
        d = self.staged([self.a, x])
        out, lines, err = self.there(d, "mount -t tmpfs none %s\n" % x + self.put("other", x + "/f"), log=True)
        self.assertIn("f other", out)
        self.assertIn("not below " + x, err)
        self.assert_untouched(lines, self.a + "/")
        out, lines, err = self.there(d, "umount %s\n" % x + self.put("below", x + "/f"), log=True)
        self.assertIn("f below", out)
        self.assertIn("not below " + x, err)

    def test_bound_and_hidden_again(self):
        """A mount that is still listed, under another that came later."""
        self.write("other/sub/g", "hiding")
        script = "mount --bind %s/sub %s/sub; mount --bind %s %s" % (self.a, self.a, self.path("other"), self.a)
        out, lines, _ = self.there(self.staged(), script)
        self.assertIn("hiding", out)
        self.assert_untouched(lines, self.b + "/")

    def test_a_mount_below_one_that_nothing_is_known_of(self):
        """As below an automounter's directory: /cvmfs/REPOSITORY, /home/USER."""
        above, sw = self.path("above"), self.path("above", "sw")
        os.mkdir(above)
        script = ("mount -t tmpfs auto %s; mkdir %s; mount -t tmpfs none %s; mkdir %s/sub\n" % (above, sw, sw, sw) +
                  self.put("text", sw + "/f"))
        self.inside(script + "%s record -o %s --include %s -- cat %s/f; D=$(%s stage --dir %s %s)\n" % (
            harness.DLCACHE, self.path("n.json"), sw, sw, harness.DLCACHE, self.place, self.path("n.json")) +
            "strace -f -y -qq -o %s $D/run cat %s/f | cat >%s\n" % (self.path("trace"), sw, self.path("out")) +
            "unshare -m sh -ec 'mount -t tmpfs other %s; mkdir %s; echo other >%s/f; '$D'/run cat %s/f' >>%s\n" % (
                above, sw, sw, sw, self.path("out")), "", ["true"])
        with open(self.path("out")) as f:
            self.assertEqual(f.read(), "textother\n")
        with open(self.path("trace")) as f:
            self.assert_untouched(f.read().splitlines(), sw)

    def test_many_mounts(self):
        for i in range(300):
            self.write("a/many/%d" % i)
        self.argv += [self.a + "/many"]
        d = self.staged()
        script = "for i in $(seq 0 299); do mount --bind /etc/hostname %s/many/$i; done" % self.a
        err = self.there(d, script, log=True)[2]
        self.assertIn("is not used", err)

    def test_odd_names_and_long_lines(self):
        odd = self.path("a", "a b\\c\td\ne")
        os.makedirs(odd)
        self.write("other/f", "odd")
        with open(odd + "/f", "w") as f:
            f.write("even")
        self.argv += [odd]
        d = self.staged()
        # Lines with 3,000 bytes of options.
        lower = ":".join(self.path("l%d" % i) for i in range(60))
        os.makedirs(self.path("o"))
        for p in lower.split(":"):
            os.makedirs(p)
        # By mount(2): the newer calls, which libmount prefers, take 255 bytes.
        script = 'export LIBMOUNT_FORCE_MOUNT2=always\nmount -t overlay -o lowerdir=%s none %s\nmount --bind %s "%s"' % (
            lower, self.path("o"), self.path("other"), odd.replace("\\", "\\\\"))
        out, lines, _ = self.there(d, script)
        self.assertIn("f odd ", out)
        self.assert_untouched(lines, self.b + "/")


class Roots(Elsewhere):
    def bind(self, *paths):
        return "".join("mkdir -p $R%s; mount --bind %s $R%s\n" % (p, p, p) for p in paths)

    def test_root_of_tmpfs(self):
        """The one directory is bound, the other is not the same there."""
        other = "mkdir -p $R%s\n" % self.b + self.put("other", "$R%s/f" % self.b)
        script, wrap = self.root(self.bind(self.a) + other)
        d = self.staged()
        out, lines, err = self.there(d, script, log=True, wrap=wrap)
        self.assertIn("g of a", out)
        self.assertIn("f other", out)
        self.assert_untouched(lines, self.a + "/")
        self.assertIn("the stage %s is used in part: not below /" % d, err)
        self.assertIn(", below " + self.a, err)

    def test_root_of_an_overlay(self):
        upper = self.path("layers")
        script, wrap = self.root("")
        script = script.replace("mount -t tmpfs none $R\n",
                                "mkdir %s; mount -t tmpfs none %s; mkdir %s/l %s/u %s/w\n"
                                "mount -t overlay -o lowerdir=%s/l,upperdir=%s/u,workdir=%s/w none $R\n" %
                                ((upper,) * 8)) + self.bind(self.a)
        script = script.replace("mkdir " + upper + ";", "mkdir -p " + upper + ";")
        out, lines, _ = self.there(self.staged(), script, wrap=wrap)
        self.assertIn("g of a", out)
        self.assertNotIn("of b", out)
        self.assert_untouched(lines, self.a + "/")

    def test_python_from_outside(self):
        argv = [PYTHON, "-c", "import json, _ctypes; print(json.__file__, _ctypes.__file__)"]
        manifest = self.path("m.json")
        self.record(manifest, argv, include=["/usr"])
        d = self.stage(manifest)
        script, wrap = self.root("")
        lines = self.there(d, script, argv, wrap=wrap)[1]
        self.assert_untouched(lines, harness.STDLIB + "/", "/usr/lib/python3/")

    def test_nothing_agrees(self):
        script, wrap = self.root("mkdir -p $R%s\n" % self.a + self.put("other", "$R%s/f" % self.a))
        d = self.staged()
        out, _, err = self.there(d, script, log=True, wrap=wrap)
        self.assertIn("f other", out)
        self.assertIn("the stage %s is not used: this process sees another root" % d, err)

    def test_a_symlink_to_what_is_bound(self):
        """What the image has as a directory is a symlink here: ".." leads elsewhere."""
        script, wrap = self.root("mkdir -p $R%s $R/else/one\nln -s /else/one $R%s/f\nln -s %s $R/else/sub\n" %
                                 (self.b, self.b, self.a) + self.bind(self.a))
        lines = self.there(self.staged(), script, wrap=wrap)[1]
        self.assert_untouched(lines, self.a + "/")

    def test_a_directory_that_is_no_mount_point(self):
        """chroot into a plain directory, with what is needed bound there."""
        script, wrap = self.root(self.bind(self.a))
        script = script.replace("mount -t tmpfs none $R\n", "mount -t tmpfs none $R; R=$R/in; mkdir $R\n")
        out, lines, _ = self.there(self.staged(), script, wrap=wrap + "/in")
        self.assertIn("g of a", out)
        self.assert_untouched(lines, self.a + "/")

    def test_where_nobody_may_walk(self):
        """A way that is closed in this root is closed, whatever the stager could do. Root without its capabilities
        may not walk everywhere."""
        script, wrap = self.root(self.bind(self.a) + "chmod 0 $R%s\nchown 1 $R%s" % (self.tmp, self.tmp))
        argv = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *self.argv]
        d = self.staged()
        out = self.there(d, script, argv, wrap=wrap)[0]
        self.assertIn("%s f 13" % self.a, out)


if __name__ == "__main__":
    raise SystemExit(harness.main())
