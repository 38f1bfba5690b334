"""What the pilot notes of shared objects: every place where they were looked for, and which one it was."""
import json
import os
import signal
import time

from harness import DLCACHE, glibc
from loader import Loader


class Recorded(Loader):
    def entries(self, *argv, status=0, env=None):
        manifest = self.path("m.json")
        self.record(manifest, argv, include=[self.top], env=env or self.env, status=status)
        with open(manifest) as f:
            return {os.path.relpath(e["path"], self.top): e for e in json.load(f)["entries"]}

    def answers(self, *names):
        for name in names:
            base = os.path.basename(name)
            stem = base[3:].split(".")[0]
            self.library(name, "int %s(void);\nint %s(void) { return 1; }\n" % (stem, stem), soname=base)

    def assert_object(self, entries, name, needed=()):
        e = entries[name]
        self.assertEqual((e["kind"], e["soname"], e["counts"]["load"]), ("shared-object", os.path.basename(name), 1), e)
        self.assertEqual(e["size"], os.stat(self.at(name)).st_size)
        self.assertEqual(set(needed) - set(e.get("needed", [])), set(), e)
        self.assertEqual(len(e["xxh3_128"]), 32)

    def assert_absent(self, entries, *names):
        for name in names:
            self.assertEqual((entries[name]["kind"], entries[name]["counts"]), ("absent", {"load": 1}), name)

    def test_every_class_of_the_search(self):
        dirs = ["none", "rpath", "path1", "path2", "runpath"]
        for d in dirs[1:]:
            os.makedirs(self.at(d))
        self.answers("rpath/liba.so", "path2/libb.so", "runpath/libc1.so")
        self.library("lib/libuser.so", "int a(void), c1(void);\nint user(void);\nint user(void) { return a() + c1(); }\n",
                     "-L" + self.at("rpath"), "-la", "-L" + self.at("runpath"), "-lc1", "-Wl,--enable-new-dtags",
                     "-Wl,-rpath,$ORIGIN/../none:$ORIGIN/../runpath")
        program = self.compile("bin/program", "int user(void), b(void);\n#include <dlfcn.h>\n"
                               "int main(int c, char **a)\n{\n    for (int i = 1; i < c; i++) dlopen(a[i], RTLD_NOW);\n"
                               "    return user() + b() - 3;\n}\n", "-L" + self.at("lib"), "-luser", "-L" + self.at("path2"),
                               "-lb", "-L" + self.at("rpath"), "-Wl,--no-as-needed", "-la", "-Wl,--disable-new-dtags",
                               "-Wl,-rpath," + ":".join(self.at(d) for d in ("none", "rpath", "lib")),
                               "-Wl,-rpath-link," + self.at("runpath"))
        env = dict(self.env, LD_LIBRARY_PATH=self.at("path1") + ":" + self.at("path2"))
        e = self.entries(program, self.at("lib/nothing.so"), "libnowhere.so", self.at("none/libx.so"), env=env)
        self.assert_object(e, "rpath/liba.so")
        self.assert_object(e, "path2/libb.so")
        self.assert_object(e, "runpath/libc1.so")
        self.assert_object(e, "lib/libuser.so", ["liba.so", "libc1.so"])
        self.assertEqual(e["bin/program"]["kind"], "executable")
        # In their order: what stands first in a list has been looked at before.
        self.assert_absent(e, "rpath/libuser.so", "rpath/libb.so", "lib/libb.so", "path1/libb.so", "path1/libc1.so",
                           "path2/libc1.so", "lib/nothing.so", "path1/libnowhere.so", "path2/libnowhere.so", "none/libx.so")
        for name in ("path1/liba.so", "path2/liba.so", "runpath/libb.so", "runpath/libuser.so"):
            self.assertNotIn(name, e)
        # Where this hardware's own libraries would be.
        tried = {n for n in e if n.startswith("path1/") and n.endswith("/libb.so") and n != "path1/libb.so"}
        self.assertGreaterEqual(len(tried), 1)
        self.assert_absent(e, *tried)

    def hardware(self):
        """The name of a subdirectory that ld.so of this machine looks into."""
        if glibc() < (2, 33):
            return "tls"
        help_ = self.run_command(["/lib64/ld-linux-x86-64.so.2" if os.uname().machine == "x86_64" else
                                  "/lib/ld-linux-aarch64.so.1", "--help"]).stdout
        names = [line.split()[0] for line in help_.split("\n") if "(supported, searched)" in line]
        return "glibc-hwcaps/" + names[0] if names else None

    def test_libraries_of_this_hardware(self):
        name = self.hardware()
        if not name:
            return self.assertEqual(os.uname().machine, "aarch64")  # which has none
        inside = "lib/%s/libx.so" % name
        self.answers(inside, "lib/libx.so")
        e = self.entries(self.loaded(), "open=libx.so", env=dict(self.env, LD_LIBRARY_PATH=self.at("lib")))
        self.assert_object(e, inside)
        self.assertNotIn("lib/libx.so", e)

    def other_class(self, name):
        """A copy of the library for a machine of another class: ld.so skips it."""
        with open(self.at("lib/libx.so"), "rb") as f:
            data = bytearray(f.read())
        data[4] = 3 - data[4]
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "wb") as f:
            f.write(data)

    def test_passed_over(self):
        """What a search comes to and does not take, though it is there, was found."""
        self.answers("lib/libx.so")
        for name in ("other/libx.so", "other/libmade.so"):
            self.other_class(name)
        os.makedirs(self.at("links"))
        os.makedirs(self.at("none"))
        os.symlink("../lib/libx.so", self.at("links/libname.so"))
        os.rename(self.at("other/libmade.so"), self.at("made"))
        time.sleep(0.05)  # what is younger than 20 ms is taken for the pilot's own doing
        e = self.entries(self.loaded(), "open=libx.so", "open=libname.so", env=dict(
            self.env, LD_LIBRARY_PATH=":".join(self.at(d) for d in ("none", "other", "lib", "links"))))
        self.assert_absent(e, "none/libx.so", "none/libname.so", "other/libname.so", "lib/libname.so")
        self.assertEqual((e["lib/libx.so"]["kind"], e["lib/libx.so"]["counts"]["load"]), ("shared-object", 2))
        self.assertEqual(e["links/libname.so"]["kind"], "symlink")
        self.assertEqual((e["other/libx.so"]["kind"], e["other/libx.so"]["counts"]), ("data", {"load": 1}))
        self.assertEqual(len(e["other/libx.so"]["xxh3_128"]), 32)
        # Made while the pilot ran, after it was looked for.
        move = "mv %s %s; exec %s open=libmade.so" % (self.at("made"), self.at("other/libmade.so"), self.loaded())
        e = self.entries("/bin/sh", "-c", self.loaded() + " open=libmade.so; " + move,
                         env=dict(self.env, LD_LIBRARY_PATH=self.at("other")))
        self.assertNotIn("other/libmade.so", e)
        self.assertTrue(e["other"]["volatile"])

    def test_loaded_already(self):
        """A search comes to what is loaded by another name: nothing comes in, and it was found all the same, however
        young the name is; needed from the start, and by dlopen."""
        for i in range(2):
            self.answers("lib/libx%d.so" % i)
        os.makedirs(self.at("links"))
        program = self.compile("bin/program", "#include <dlfcn.h>\nint main(int c, char **a)\n{\n"
                               "    return c > 1 && !(dlopen(a[1], RTLD_NOW) && dlopen(a[2], RTLD_NOW));\n}\n",
                               "-Wl,--no-as-needed", "-L" + self.at("lib"), "-lx0", "-lx1")
        with open(program, "rb") as f:
            data = f.read().replace(b"libx1.so\0", b"liby0.so\0")
        with open(program, "wb") as f:
            f.write(data)
        env = dict(self.env, LD_LIBRARY_PATH=self.at("lib") + ":" + self.at("links"))
        for i, name in enumerate(("liby0.so", "liby1.so", "liby2.so")):
            os.symlink("../lib/libx%d.so" % (i % 2), self.at("links", name))
        e = self.entries(program, "liby1.so", "liby2.so", env=env)
        for i in range(3):
            self.assertEqual(e["links/liby%d.so" % i]["kind"], "symlink")
        self.assertNotIn("links", e)  # volatile, had they come while it ran

    def test_asks_nothing_itself(self):
        """To note where a search comes to takes no request: only ld.so asks."""
        self.answers("lib/libx.so")
        for i in range(20):
            os.makedirs(self.at("none%d" % i))
        path = ":".join([self.at("none%d" % i) for i in range(20)] + [self.at("lib")])
        spool, log = self.path("spool"), self.path("strace")
        os.mkdir(spool)
        env = dict(self.env, LD_LIBRARY_PATH=path)
        asked = []
        for more in ({}, {"DLCACHE_RECORD": spool, "LD_AUDIT": os.path.dirname(DLCACHE) + "/libdlcache-audit.so"}):
            self.run_command(["strace", "-f", "-qq", "-o", log, "-e", "trace=%file", self.loaded(), "open=libx.so"],
                             env=dict(env, **more))
            with open(log) as f:
                asked.append(len([line for line in f if "libx.so" in line and self.top in line]))
        self.assertEqual(asked[0], asked[1])
        self.assertGreater(asked[0], 20)

    def test_symlinks_on_the_way(self):
        self.answers("real/v1/libx.so.1")
        os.symlink("v1", self.at("real/now"))
        os.symlink("libx.so.1", self.at("real/v1/libx.so"))
        e = self.entries(self.loaded(), "open=" + self.at("real/now/libx.so"))
        self.assert_object(e, "real/v1/libx.so.1")
        self.assertEqual((e["real/now"]["kind"], e["real/now"]["target"]), ("symlink", "v1"))
        self.assertEqual((e["real/v1/libx.so"]["kind"], e["real/v1/libx.so"]["target"]), ("symlink", "libx.so.1"))

    def test_however_it_dies(self):
        """Killed in main, while it is loaded, or with the last library that it opened: what was noted stays."""
        os.makedirs(self.at("none"))
        self.answers("lib/libx.so", "lib/liby.so")
        self.library("lib/libdies.so", "#include <signal.h>\n#include <unistd.h>\n#include <stdlib.h>\n"
                     "__attribute__((constructor)) static void start(void)\n{\n"
                     "    if (getenv(\"DIE\")) kill(getpid(), atoi(getenv(\"DIE\")));\n}\n")
        program = self.compile("bin/program", "int x(void);\nint main(void) { return x() - 1; }\n", "-L" + self.at("lib"), "-lx",
                               "-Wl,--no-as-needed", "-ldies", "-Wl,-rpath," + self.at("none") + ":" + self.at("lib"))
        loaded = self.loaded()
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            e = self.entries(loaded, "open=" + self.at("lib/libx.so"), "open=" + self.at("none/liby.so"), "open=libnone.so",
                             "open=" + self.at("lib/liby.so"), "die=%d" % number, status=128 + number,
                             env=dict(self.env, LD_LIBRARY_PATH=self.at("none")))
            self.assert_object(e, "lib/libx.so")
            self.assert_object(e, "lib/liby.so")
            self.assert_absent(e, "none/liby.so", "none/libnone.so")
            e = self.entries(program, status=128 + number, env=dict(self.env, DIE="%d" % number))
            self.assert_object(e, "lib/libx.so")
            self.assert_object(e, "lib/libdies.so")
            self.assert_absent(e, "none/libx.so", "none/libdies.so")

    def test_what_cannot_be_loaded(self):
        """It was found, and is no library; or what it needs is nowhere: then the program does not start."""
        os.makedirs(self.at("lib"))
        self.write("sw/lib/libtext.so", "not an object\n")
        self.answers("gone/libgone.so")
        program = self.compile("bin/program", "int gone(void);\nint main(void) { return gone(); }\n", "-L" + self.at("gone"),
                               "-lgone", "-Wl,-rpath," + self.at("lib"))
        os.unlink(self.at("gone/libgone.so"))
        e = self.entries(self.loaded(), "open=" + self.at("lib/libtext.so"))
        self.assertIn(e["lib/libtext.so"]["kind"], ("data", "shared-object"))
        e = self.entries(program, status=127)
        self.assert_absent(e, "lib/libgone.so")
