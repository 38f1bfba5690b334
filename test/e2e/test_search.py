"""The dynamic loader's search: attached, each program comes to the files that it comes to natively, under the same
names, and asks nothing of the original directories.

Objects are copies of two that are compiled once, in which the strings and tags of the dynamic section are changed."""
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile

from harness import TOP, Case, environment

LIBRARY = """
const char *object_number = "@NUMBER@";
void *open_by(const char *name, int flags, void *(*open)(const char *, int));
void *open_by(const char *name, int flags, void *(*open)(const char *, int))
{
    void *volatile handle = open(name, flags); /* no tail call: the caller is this object */
    return handle;
}
"""
NEEDED, SONAME, PATH, IGNORED = 1, 14, (15, 29), 0x60000fff
FLAGS_1, NODEFLIB = 0x6ffffffb, 0x800
STRINGS = ["needed0" + "N" * 60, "needed1" + "N" * 60, "needed2" + "N" * 60]


class Object:
    """A shared library or program, from the bytes of one that has every tag."""

    def __init__(self, data):
        self.data = bytearray(data)
        phoff, = struct.unpack_from("<Q", data, 32)
        phnum, = struct.unpack_from("<H", data, 56)
        self.loads, self.tags = [], []
        for i in range(phnum):
            kind, _, offset, vaddr, _, size = struct.unpack_from("<IIQQQQ", data, phoff + 56 * i)
            if kind == 1:
                self.loads.append((vaddr, offset, size))
            elif kind == 2:
                self.tags = [offset + 16 * k for k in range(size // 16)]
        strtab = self.value(5)
        self.strings = next(offset + strtab - vaddr for vaddr, offset, size in self.loads
                            if vaddr <= strtab < vaddr + size)

    def value(self, tag):
        return next(v for t, v in (struct.unpack_from("<QQ", self.data, at) for at in self.tags) if t == tag)

    def text(self, offset):
        return bytes(self.data[self.strings + offset:self.data.index(0, self.strings + offset)]).decode()

    def put(self, needed=(), path=None, new=False, soname=None, number=None, nodeflib=False):
        for at in self.tags:
            tag, value = struct.unpack_from("<QQ", self.data, at)
            text = None
            if tag == NEEDED and self.text(value) in STRINGS:
                i = STRINGS.index(self.text(value))
                text = needed[i] if i < len(needed) else False
            elif tag == SONAME:
                text = soname or False
            elif tag in PATH:
                text = False if path is None else path
                struct.pack_into("<Q", self.data, at, PATH[new])
            elif tag == FLAGS_1:
                struct.pack_into("<Q", self.data, at + 8, value | NODEFLIB if nodeflib else value & ~NODEFLIB)
            if text is False:
                struct.pack_into("<Q", self.data, at, IGNORED)
            elif text is not None:
                raw = text.encode() + b"\0"
                assert len(raw) <= len(self.text(value)) + 1, text
                self.data[self.strings + value:self.strings + value + len(raw)] = raw
        if number is not None:
            self.data = bytearray(self.data.replace(b"@NUMBER@", b"%08d" % number))
        return self


class Search(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.TemporaryDirectory(prefix="dlcache-test.") as d:
            def cc(out, *args):
                subprocess.run(["cc", "-o", d + "/" + out, *args], check=True, cwd=d)
            with open(d + "/l.c", "w") as f:
                f.write(LIBRARY)
            with open(d + "/empty.c", "w") as f:
                f.write("")
            for i, name in enumerate(STRINGS):
                cc("n%d.so" % i, "-shared", "-nostdlib", "-Wl,-soname," + name, "empty.c")
            needed = ["-Wl,--no-as-needed", *("./n%d.so" % i for i in range(3)), "-Wl,--as-needed",
                      "-Wl,-rpath," + "R" * 1200, "-Wl,-z,nodefaultlib"]
            cc("library", "-shared", "-nostdlib", "-fPIC", "-O1", "-Wl,-soname," + "S" * 60, "l.c", *needed)
            cc("program", "-D_GNU_SOURCE", TOP + "/test/progs/loads.c", *needed, "-ldl")
            with open(d + "/library", "rb") as f:
                cls.library = f.read()
            with open(d + "/program", "rb") as f:
                cls.program = f.read()
        cls.hwcaps, cls.lib_token, cls.platform, cls.defaults = cls.ask_loader()

    @staticmethod
    def ask_loader():
        """What ld.so says: its subdirectories, $LIB, $PLATFORM, its default directories."""
        run = subprocess.run(["/bin/true"], stderr=subprocess.PIPE, text=True, check=True, env={
            "LD_DEBUG": "libs", "LD_PRELOAD": "none.so", "LD_LIBRARY_PATH": "/none/s:/none/l/$LIB:/none/p/$PLATFORM"})
        lists = re.findall(r"search path=(\S*)\s+\((.*)\)", run.stderr)
        path = next(text.split(":") for text, kind in lists if kind == "LD_LIBRARY_PATH")
        hwcaps = [d[len("/none/s/"):] for d in path if d.startswith("/none/s/")]
        system = next(text.split(":") for text, kind in lists if kind == "system search path")
        platform = [d[len("/none/p/"):] for d in path if d.startswith("/none/p/")]
        return (hwcaps, [d[len("/none/l/"):] for d in path if d.startswith("/none/l/")][-1],
                platform[-1] if platform else None, system[len(hwcaps)::len(hwcaps) + 1])

    def setUp(self):
        super().setUp()
        self.root = self.path("sw")
        self.out = self.path("out") # not staged
        self.numbers = 0
        self.junk = set()
        os.makedirs(self.root)
        os.makedirs(self.out)

    def put(self, where, data, mode=0o755):
        path = os.path.join(self.root, where)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def lib(self, where, needed=(), **kw):
        self.numbers += 1
        kw.setdefault("number", self.numbers)
        return self.put(where, Object(self.library).put(needed=needed, **kw).data)

    def main(self, where="bin/main", needed=(), **kw):
        return self.put(where, Object(self.program).put(needed=needed, **kw).data)

    def here(self, *names):
        return os.path.join(self.root, *names)

    def staged(self, *runs, env=None, cwd=None):
        """Records all of the runs, and stages."""
        script = "".join("%s %s >/dev/null 2>&1\n" % ("cd %s;" % cwd if cwd else "",
                                                      " ".join("'%s'" % a for a in run)) for run in runs)
        manifest = self.path("m.json")
        self.record(manifest, ["sh", "-c", script + "true"], include=[self.root],
                    env=environment(**(env or {})))
        self.d = self.stage(manifest)
        return self.d

    def clean(self, text):
        """Without what dlerror's wrapper takes off."""
        return text.replace(self.d + "/absent/", "").replace(self.d + "/root", "")

    def same(self, argv, env=None, cwd=None, quiet=True, before=None):
        """Natively and attached: the same is said. `quiet`: nothing is asked of the original. `before` both. What was
        said."""
        said = []
        for served in (False, True):
            if before:
                before()
            run = [self.d + "/run"] if served else []
            # In both for a program of the same environment.
            exports = ["%s=%s" % kv for kv in (env or {}).items()]
            if run and quiet:
                result, lines = self.strace(["env", *exports, *run, *argv], status=None, cwd=cwd)
                self.assertEqual(self.originals(lines), [], argv)
            else:
                result = self.run_command(["env", *exports, *run, *argv], status=None, cwd=cwd)
            said.append((result.returncode, *(sorted(self.clean(t).splitlines())
                                              for t in (result.stdout, result.stderr))))
        self.assertEqual(said[1], said[0], "%s %s" % (argv, env))
        return "\n".join(said[0][1]) + "\n".join(said[0][2])

    def originals(self, lines):
        """Calls that name the original directories, once the program is attached."""
        cut = [i for i, line in enumerate(lines) if line.startswith("execve(\"%s/run\"" % self.d)]
        lines = [line for line in lines[cut[0] + 1:]
                 if not line.startswith(("chdir(", "getcwd(", "execve(\"" + self.d, "readlink("))]
        relative = [line for line in lines if re.search(r"AT_FDCWD<%s[^>]*>, \"[^/]" % re.escape(self.root), line)]
        return relative + self.touching([re.sub("AT_FDCWD<[^>]*>", "", line) for line in lines], self.root)

    def all_same(self, *runs, env=None, cwd=None, **kw):
        self.staged(*runs, env=env, cwd=cwd)
        return [self.same(run, env=env, cwd=cwd, **kw) for run in runs]

    # --- each way to find ---

    def test_rpath_of_each_loader(self):
        """A library's own, its loader's, the program's; not past an object that dlopen was asked for."""
        names = ["liba.so", "libb.so", "libone.so", "libtwo.so"]
        for k, name in enumerate("abc"):
            self.lib("lib/%s/%s" % (name, names[k]), needed=names[k + 1:k + 2],
                     path="$ORIGIN/../a2" if name == "b" else None)
        self.lib("lib/a2/libone.so", needed=["libtwo.so"])
        self.lib("lib/d/libtwo.so")
        self.lib("lib/x/libx.so", path=self.here("lib/only-x"))
        self.lib("lib/only-x/liby.so", needed=["libzz.so"])
        self.lib("lib/only-x/libzz.so")
        main = self.main(needed=["liba.so"], path=":".join(self.here("lib", n) for n in ("none", "a", "b", "d")))
        said = self.all_same([main, "open", self.here("lib/x/libx.so"), "first", "liby.so", "first", "libzz.so"])[0]
        self.assertIn("loaded: %s" % self.here("lib/b/../a2/libone.so"), said)
        self.assertIn("loaded: %s" % self.here("lib/d/libtwo.so"), said)
        self.assertIn("liby.so: libzz.so: cannot open shared object file", said)

    def test_runpath(self):
        self.lib("lib/liba.so", needed=["libb.so"], path="${ORIGIN}/sub", new=True)
        self.lib("lib/sub/libb.so", needed=["libone.so"])
        self.lib("lib/libone.so")
        self.lib("lib/sub/libone.so")
        main = self.main(needed=["liba.so"], path="$ORIGIN/../lib", new=True)
        # A RUNPATH is for what the object itself needs.
        said, = self.all_same([main])
        self.assertIn("libone.so: cannot open shared object file", said)
        with_path = self.all_same([main], env={"LD_LIBRARY_PATH": self.here("lib")})[0]
        self.assertIn("loaded: " + self.here("lib/libone.so"), with_path)

    def test_order(self):
        """RPATH, LD_LIBRARY_PATH, RUNPATH."""
        for name in ("rpath", "env", "runpath"):
            self.lib(name + "/liba.so")
        env = {"LD_LIBRARY_PATH": self.here("env")}
        old = self.main("bin/old", needed=["liba.so"], path=self.here("rpath"))
        new = self.main("bin/new", needed=["liba.so"], path=self.here("runpath"), new=True)
        said = self.all_same([old], [new], env=env)
        self.assertIn(self.here("rpath/liba.so"), said[0])
        self.assertIn(self.here("env/liba.so"), said[1])

    def test_tokens(self):
        self.lib("t/%s/liba.so" % self.lib_token)
        self.lib("p/%s/x/libb.so" % (self.platform or "none"))
        self.lib("bin/libc.so")
        self.lib("x$LIBX/libd.so")
        path = ":".join([self.here("t/$LIB"), self.here("p/${PLATFORM}/x"), self.here("none/../bin/$ORIGIN"), "$ORIGIN",
                         self.here("x$LIBX"), self.here("bin/${LIB"), "$ORIGIN$ORIGIN", "/$PLATFORM$LIB"])
        needed = ["liba.so", "libb.so", "libc.so"] if self.platform else ["liba.so", "libc.so"]
        old = self.main("bin/old", needed=needed, path=path)
        new = self.main("bin/new", needed=needed, path=path, new=True)
        env = self.main("bin/env", needed=needed)
        for argv, e in (([old, "open", "libd.so"], {}), ([new, "open", "libd.so"], {}),
                        ([env, "open", "libd.so"], {"LD_LIBRARY_PATH": path.replace(":", ";", 2)})):
            said, = self.all_same(argv, env=e)
            self.assertIn("libd.so: handle 0", said)
            self.assertIn("loaded: %s/liba.so" % self.here("t", self.lib_token), said)

    def test_hardware(self):
        """In the subdirectories that this node has, in its order; not in others."""
        if not self.hwcaps:
            self.skipTest("this loader has no subdirectories")
        for i, sub in enumerate(self.hwcaps):
            for k in range(i + 1):
                self.lib("lib/%s/lib%d.so" % (sub, k))
        for k in range(len(self.hwcaps) + 1):
            self.lib("lib/lib%d.so" % k)
        self.lib("lib/glibc-hwcaps/none-such/libother.so")
        self.lib("lib/libother.so")
        names = [a for k in range(len(self.hwcaps) + 1) for a in ("open", "lib%d.so" % k)] + ["open", "libother.so"]
        run = [self.main(), *names]
        said, = self.all_same(run, env={"LD_LIBRARY_PATH": self.here("lib")})
        for k, sub in enumerate(self.hwcaps):
            self.assertIn("loaded: " + self.here("lib", sub, "lib%d.so" % k), said)
        self.assertIn("loaded: " + self.here("lib/lib%d.so" % len(self.hwcaps)), said)
        self.assertIn("loaded: " + self.here("lib/libother.so"), said)
        # The environment may say that the hardware is less.
        self.same(run, env={"LD_LIBRARY_PATH": self.here("lib"),
                            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2_Usable,-AVX2"}, quiet=False)

    def test_relative_and_empty(self):
        self.lib("cwd/liba.so", needed=["libb.so"], path="$ORIGIN/sub")
        self.lib("cwd/sub/libb.so")
        self.lib("cwd/sub/libone.so", needed=["libb.so"], path="$ORIGIN")
        self.lib("cwd/sub/libd.so")
        main = self.main()
        runs = [[main, "open", "liba.so", "open", "libone.so", "open", "libd.so"],
                [main, "open", "./liba.so", "open", "sub/libone.so", "open", "sub/../sub//libd.so",
                 "open", "./none.so"],
                [main, "open", "liba.so", "cd", "sub", "open", "libd.so", "open", "./libone.so"]]
        for path in ("sub:", ":sub", "sub::./none", ".:sub/", "none"):
            self.all_same(*runs, env={"LD_LIBRARY_PATH": path}, cwd=self.here("cwd"))
        relative = self.main("bin/relative", needed=["./liba.so"])
        said, = self.all_same([relative], cwd=self.here("cwd"))
        self.assertIn("loaded: ./liba.so", said)

    def test_names_with_tokens(self):
        self.lib("bin/liba.so", needed=["$ORIGIN/sub/libb.so"])
        self.lib("bin/sub/libb.so")
        main = self.main(needed=["$ORIGIN/liba.so"])
        said, = self.all_same([main, "open", "$ORIGIN/liba.so", "first", "$ORIGIN/sub/libb.so",
                               "first", "$ORIGINX/x.so"])
        self.assertIn("loaded: " + self.here("bin/liba.so"), said)

    def test_missing_everywhere(self):
        self.lib("lib/liba.so", needed=["none.so"])
        main = self.main(path=self.here("lib"))
        needs = self.main("bin/needs", needed=["none.so"], path=self.here("lib"))
        env = {"LD_LIBRARY_PATH": self.here("lib") + ":" + self.here("not-there")}
        run = [main, "open", "none.so", "open", "liba.so", "open", self.here("lib/none.so"), "open", "lib/none.so"]
        self.staged(run, [needs], env=env)
        # Before the program runs, ld.so looks, and says it.
        said = [self.same(run, env=env), self.same([needs], env=env, quiet=False)]
        self.assertIn("none.so: none.so: cannot open shared object file: No such file or directory", said[0])
        self.assertIn("error while loading shared libraries: none.so", said[1])

    def test_cache(self):
        """Of the cache's entries, the best for this hardware; what is not there any more is not in the way. A loader
        before glibc-hwcaps knows other subdirectories, of which its own choice is left to it."""
        names = [s for s in self.hwcaps if s.startswith("glibc-hwcaps/")] or [s for s in self.hwcaps if "/" not in s][:1]
        for i, sub in enumerate(names):
            for k in range(i + 1):
                self.lib("lib/%s/libdlc%d.so" % (sub, k), soname="libdlc%d.so" % k)
        self.lib("lib/glibc-hwcaps/none-such/libdlcother.so", soname="libdlcother.so")
        for name in (*("libdlc%d.so" % k for k in range(len(names) + 1)), "libdlcother.so", "libdlcgone.so"):
            self.lib("lib/" + name, soname=name)
        cache = self.path("cache")
        self.write("conf", self.here("lib") + "\n")
        self.run_command(["/sbin/ldconfig", "-X", "-f", self.path("conf"), "-C", cache])
        os.unlink(self.here("lib/libdlcgone.so"))
        opens = [a for k in range(len(names) + 1) for a in ("open", "libdlc%d.so" % k)]
        run = ["unshare", "-m", "sh", "-c", "mount --bind %s /etc/ld.so.cache; exec $RUN \"$@\"" % cache, "sh",
               self.main(), *opens, "open", "libdlcother.so", "open", "libdlcgone.so"]
        manifest = self.path("m.json")
        self.record(manifest, ["sh", "-c", "find %s >%s; $0 \"$@\"" % (self.root, self.path("list")), *run],
                    include=[self.root])
        self.d = self.stage(manifest)
        native = self.run_command(run)
        served, lines = self.strace(["env", "RUN=" + self.d + "/run", *run])
        self.assertEqual(self.clean(served.stdout), native.stdout)
        for k, sub in enumerate(names):
            self.assertIn("loaded: " + self.here("lib", sub, "libdlc%d.so" % k), native.stdout)
        self.assertEqual(self.originals(lines), [])

    def test_nodeflib(self):
        system = os.path.basename(os.path.realpath(self.defaults[0] + "/libm.so.6"))
        self.lib("lib/liba.so", nodeflib=True)
        self.lib("lib/libb.so")
        main = self.main(path=self.here("lib"))
        libm = ["open", system]
        said, = self.all_same([main, "open", "liba.so", "first", system], quiet=False)
        self.assertIn("%s: %s: cannot open shared object file" % (system, system), said)
        said, = self.all_same([main, "open", "libb.so", "first", system, *libm])
        self.assertNotIn("cannot open", said)

    def test_strange_candidates(self):
        """Of another class or machine: skipped. No object at all, not readable, a directory: as natively."""
        good = bytes(Object(self.library).put(number=1).data)
        self.put("a/libclass.so", good[:4] + b"\x01" + good[5:])
        self.put("a/libmachine.so", good[:18] + struct.pack("<H", 40) + good[20:])
        self.put("a/libtext.so", b"INPUT(-lc)\n" * 10)
        self.put("a/libshort.so", b"")
        os.makedirs(self.here("a/libdir.so"))
        for name in ("class", "machine", "text", "short", "dir"):
            self.lib("b/lib%s.so" % name)
        self.put("c/libonly.so", good[:4] + b"\x01" + good[5:])
        main = self.main()
        names = ["lib%s.so" % n for n in ("class", "machine", "text", "short", "dir", "only")]
        run = [main, *(a for n in names for a in ("open", n))]
        said, = self.all_same(run, env={"LD_LIBRARY_PATH": ":".join(self.here(d) for d in "abc")}, quiet=False)
        self.assertIn("libtext.so: %s: invalid ELF header" % self.here("a/libtext.so"), said)
        self.assertIn("loaded: " + self.here("b/libclass.so"), said)
        self.assertIn("loaded: " + self.here("b/libmachine.so"), said)
        self.assertIn("libonly.so: wrong ELF class: ELFCLASS32", said)

    def test_unknown_in_the_middle(self):
        """Of directories that are not staged the kernel is asked, and of no others."""
        self.lib("a/liba.so")
        self.lib("b/libb.so")
        self.lib("a/libc.so")
        shutil.copy(self.lib("elsewhere/liba.so"), self.out + "/liba.so")
        shutil.copy(self.lib("elsewhere/libb.so"), self.out + "/libb.so")
        main = self.main()
        run = [main, "open", "liba.so", "open", "libb.so", "open", "libc.so", "open", "libd.so"]
        path = ":".join([self.out + "/none", self.here("a"), self.out, self.here("b")])
        said, = self.all_same(run, env={"LD_LIBRARY_PATH": path})
        self.assertIn("loaded: " + self.out + "/libb.so", said)
        # What is not there is asked for once, as by ld.so.
        _, lines = self.strace(["env", "LD_LIBRARY_PATH=" + path, self.d + "/run", *run])
        self.assertEqual(len(self.touching(lines, self.out + "/none")), 1, lines)

    def test_dirty_in_the_middle(self):
        self.lib("a/liba.so")
        self.lib("b/liba.so")
        self.lib("b/libb.so")
        main = self.main()
        path = {"LD_LIBRARY_PATH": self.here("a") + ":" + self.here("b")}
        run = [main, "open", "libb.so", "close", "copy", self.here("b/liba.so"), self.here("a/libb.so"),
               "open", "libb.so", "open", "liba.so", "open", "none.so"]

        def before():
            if os.path.exists(self.here("a/libb.so")):
                os.unlink(self.here("a/libb.so"))
        self.staged([main, "open", "liba.so", "open", "libb.so", "open", "none.so"], env=path)
        said = self.same(run, env=path, quiet=False, before=before)
        self.assertIn("libb.so: handle 0, " + self.here("a/libb.so"), said)
        # A subdirectory that ld.so has missed is not looked for again, one of the stage neither.
        if self.hwcaps:
            sub = self.here("a", self.hwcaps[0])
            made = (a for d in self.parents(self.hwcaps[0]) for a in ("mkdir", self.here("a", d)))
            run = [main, "open", "liba.so", *made,
                   "copy", self.here("b/liba.so"), sub + "/libb.so", "open", "libb.so"]
            before()
            self.same(run, env=path, quiet=False,
                      before=lambda: shutil.rmtree(self.here("a", self.hwcaps[0].split("/")[0]), ignore_errors=True))

    @staticmethod
    def parents(path):
        parts = path.split("/")
        return ["/".join(parts[:i + 1]) for i in range(len(parts))]

    def test_another_loader(self):
        """A copy of this one is the same; of one that is not known only ld.so can tell."""
        interpreter = subprocess.run(["readelf", "-p", ".interp", "/bin/true"], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout.split()[-1]
        with open(interpreter, "rb") as f:
            loader = f.read()
        note = re.search(rb"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", loader)
        self.assertTrue(note)
        at = note.end()
        changed = loader[:at] + bytes(b ^ 255 for b in loader[at:at + 20]) + loader[at + 20:]
        self.lib("a/liba.so")
        if self.hwcaps:
            self.lib("a/%s/libb.so" % self.hwcaps[-1])
        self.lib("a/libb.so")
        for name, data, quiet in (("same", loader, True), ("other", changed, False)):
            to = self.put("ld/%s.so" % name, data)
            self.write("m.c", '#include "%s/test/progs/loads.c"' % TOP)
            main = self.here("bin", name)
            os.makedirs(self.here("bin"), exist_ok=True)
            self.run_command(["cc", "-D_GNU_SOURCE", "-w", "-o", main, self.path("m.c"), "-ldl",
                              "-Wl,--dynamic-linker=" + to])
            run = [main, "open", "liba.so", "open", "libb.so", "open", "libm.so.6", "open", "none.so"]
            self.all_same(run, env={"LD_LIBRARY_PATH": self.here("a")}, quiet=False)
            _, lines = self.strace(["env", "LD_LIBRARY_PATH=" + self.here("a"), self.d + "/run", *run])
            self.assertEqual(self.originals(lines) == [], quiet, lines)

    def test_started_by_hand(self):
        self.lib("a/liba.so")
        self.lib("b/liba.so")
        main = self.main(needed=["liba.so"])
        loader = subprocess.run(["readelf", "-p", ".interp", "/bin/true"], stdout=subprocess.PIPE, text=True,
                                check=True).stdout.split()[-1]
        said, = self.all_same([loader, "--library-path", self.here("a"), main],
                              env={"LD_LIBRARY_PATH": self.here("b")}, quiet=False)
        self.assertIn("loaded: " + self.here("a/liba.so"), said)

    # --- nothing twice ---

    def test_farm(self):
        """By two names it is one object; and it has both names from then on."""
        self.lib("a/liba.so.1")
        os.symlink("liba.so.1", self.here("a/liba.so"))
        os.makedirs(self.here("farm"))
        os.symlink("../a/liba.so.1", self.here("farm/libother.so"))
        self.lib("c/libother.so")
        self.lib("c/libc.so", path="$ORIGIN")
        main = self.main()
        run = [main, "open", self.here("c/libc.so"), "open", "liba.so", "open", "liba.so.1", "open", "libother.so",
               "open", self.here("farm/../a/liba.so"), "first", "libother.so",
               "close", "close", "close", "close", "close", "first", "libother.so"]
        said, = self.all_same(run, env={"LD_LIBRARY_PATH": self.here("a") + ":" + self.here("farm")})
        self.assertEqual(said.count("handle 1, " + self.here("a/liba.so")), 5, said)
        self.assertEqual(said.count("handle 1, " + self.here("c/libother.so")), 1, said)

    def test_many_names(self):
        """Each of many names that an object got is its own until it is closed; then they are nobody's."""
        os.makedirs(self.here("farm"))
        names = ["lib%d-%d.so" % (k, i) for i in range(12) for k in range(2)]
        for k in range(2):
            self.lib("lib%d/libof%d.so" % (k, k))
        for name in names:
            os.symlink("../lib%s/libof%s.so" % (name[3], name[3]), self.here("farm", name))
        opens = [a for name in names for a in ("open", name)]
        others = [a for k in "10" for name in names if name[3] == k for a in ("open", name)]
        main = self.main()
        said, = self.all_same([main, *opens, *["close"] * 24, *others],
                              env={"LD_LIBRARY_PATH": ":".join(self.here(d) for d in ("lib0", "lib1", "farm"))})
        for k in range(2):
            self.assertEqual(len(re.findall("^lib%d-.*/farm/lib%d-0.so, " % (k, k), said, re.M)), 24, said)

    def test_loaded_and_then_changed(self):
        """What is loaded stays what it is, whatever becomes of its name; what comes under its name is another."""
        self.lib("a/liba.so", soname="liba.so")
        self.lib("b/libnew.so")
        os.symlink("liba.so", self.here("a/alias.so"))
        main = self.main()
        env = {"LD_LIBRARY_PATH": self.here("a")}
        keep = self.path("keep")
        shutil.copytree(self.root, keep, symlinks=True)

        def before():
            for d in "ab":
                shutil.rmtree(self.here(d), ignore_errors=True)
                shutil.copytree(keep + "/" + d, self.here(d), symlinks=True)
        before()
        opens = ["open", "liba.so", "open", "alias.so", "open", self.here("a/alias.so"),
                 "open", self.here("a/./liba.so")]
        runs = [
            # Its directory is dirty, and it is not.
            [main, "open", "liba.so", "copy", self.here("b/libnew.so"), self.here("a/libx.so"), *opens,
             "open", "libx.so"],
            # Moved away; found under the new name.
            [main, "open", "liba.so", "move", self.here("a/liba.so"), self.here("a/moved.so"), "open", "moved.so",
             *opens],
            # Replaced.
            [main, "open", "liba.so", "move", self.here("b/libnew.so"), self.here("a/liba.so"), *opens],
            # Changed, and then loaded; a symlink of the stage still leads there.
            [main, "move", self.here("a/liba.so"), self.here("b/liba.so"), "open", self.here("b/liba.so"), "link",
             self.here("b/liba.so"), self.here("a/liba.so"), *opens],
        ]

        def stage():
            before()
            self.staged([main, *opens, "open", self.here("b/libnew.so")], env=env)
        for run in runs:
            self.same(run, env=env, quiet=False, before=stage)

    # --- all of it at random ---

    def layout(self, r, k):
        """Small libraries in a few directories, and a program: its command line, environment and directory."""
        top = "L%d" % k
        dirs = ["a", "b", "c", "d/e"]
        subs = r.sample(self.hwcaps, min(2, len(self.hwcaps)))
        places = [top + "/" + d for d in dirs] + [top + "/" + r.choice(dirs) + "/" + s for s in subs]
        places.append("%s/a/%s" % (top, self.lib_token))
        names = ["lib%d.so" % i for i in range(6)]

        def path():
            choices = [self.here(top, "a"), self.here(top, "b/"), self.here(top, "none"), "$ORIGIN/../c",
                       "${ORIGIN}/../d/e",
                       self.here(top, "a/$LIB"), "../c", "", "$ORIGIN", self.here(top, "d//e"), self.out + "/x",
                       self.out + "/none", self.here(top, "b/$PLATFORM"), self.here(top, "farm")]
            return ":".join(r.choice(choices) for _ in range(r.randint(3, 6)))
        for p in places:
            os.makedirs(self.here(p), exist_ok=True)
        for name in names:
            for place in r.sample(places, r.randint(1, 2)):
                self.lib(place + "/" + name, needed=r.sample(names, r.choice([0, 0, 1, 2])),
                         path=path() if r.random() < 0.5 else None, new=r.random() < 0.5,
                         soname=name if r.random() < 0.5 else None, nodeflib=r.random() < 0.05)
        os.makedirs(self.here(top, "farm"))
        for name in r.sample(names, 2):
            target = r.choice([p for p in places if os.path.exists(self.here(p, name))] or [places[0]])
            os.symlink(self.here(target, name), self.here(top, "farm", r.choice([name, name + ".1"])))
        if r.random() < 0.1:
            self.put(top + "/a/" + r.choice(names), b"junk")
            self.junk.add(k)
        asks = []
        for _ in range(5):
            name = r.choice(names)
            asks += [r.choice(["open", "open", "first"]),
                     r.choice([name, name, name, self.here(r.choice(places), name), "../c/" + name, "./" + name,
                               "none.so", self.here(top, "farm", name), "$ORIGIN/../b/" + name])]
            if r.random() < 0.1:
                asks.append("close")
        main = self.main(top + "/bin/main", needed=r.sample(names, r.choice([0, 0, 1])),
                         path=path() if r.random() < 0.6 else None, new=r.random() < 0.5)
        env = {"LD_LIBRARY_PATH": path()} if r.random() < 0.7 else {}
        if r.random() < 0.3:
            env[r.choice(["LD_BIND_NOW", "LOADS_LAZY"])] = "1"
        return [main, *asks], env, self.here(top, r.choice(["a", "b"]))

    def test_random(self):
        r = random.Random(20240229)
        os.makedirs(self.out + "/x")
        for i in range(3):
            shutil.copy(self.lib("elsewhere/lib%d.so" % i), self.out + "/x")
        shutil.rmtree(self.here("elsewhere"))
        layouts = [self.layout(r, k) for k in range(300)]
        list_all = "find %s >%s" % (self.root, self.path("list"))
        script = self.script(layouts, range(len(layouts)))
        manifest = self.path("m.json")
        self.record(manifest, ["sh", "-c", "%s; sh %s" % (list_all, script)], include=[self.root])
        self.d = self.stage(manifest)
        native = self.apart(self.run_command(["sh", script]))
        served = self.apart(self.run_command(["env", "RUN=" + self.d + "/run", "sh", script]))
        other = [(k, layouts[k], a, b) for k, (a, b) in enumerate(zip(native, served)) if a != b]
        self.assertEqual(other[:1], [], "%d differ: %s" % (len(other), [o[0] for o in other]))
        self.assertGreater(sum("handle" in line for out, _ in native for line in out), 250)
        # What is not there when a program starts, and what is no object, ld.so says itself.
        quiet = [k for k, (_, err) in enumerate(native) if k not in self.junk and not err]
        self.assertGreater(len(quiet), 100)
        _, lines = self.strace(["env", "RUN=" + self.d + "/run", "sh", self.script(layouts, quiet)])
        touched = self.originals(lines)
        self.assertEqual(touched[:20], [], len(touched))

    def script(self, layouts, which):
        path = self.path("runs-%d.sh" % len(which))
        with open(path, "w") as f:
            for k in which:
                argv, env, cwd = layouts[k]
                f.write("echo '== %d' >&2; echo '== %d'; (cd %s; %s exec $RUN %s)\n" % (
                    k, k, cwd, " ".join("%s='%s'" % kv for kv in env.items()), " ".join("'%s'" % a for a in argv)))
            f.write("true\n")
        return path

    def apart(self, result):
        """The lines of each run, on standard output and error, in order of the alphabet. A search that opens nothing
        leaves errno as it was, and ld.so tells it, or nothing."""
        both = zip(*(re.split(r"^== \d+$", self.clean(t).replace(": No such file or directory", ""), flags=re.M)
                     for t in (result.stdout, result.stderr)))
        return [tuple(sorted(filter(None, t.splitlines())) for t in pair) for pair in both][1:]
