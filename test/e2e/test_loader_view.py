"""What the dynamic loader says of objects that it has from the mirror, and of those that it has not: natively and
attached the same, byte for byte."""
import os
import shutil

from harness import DLCACHE, PROGS, Case, environment


class LoaderView(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        for d in ("lib", "rpath", "empty", "bin"):
            os.makedirs(os.path.join(self.root, d))
        shutil.copy(PROGS + "/loader", self.root + "/bin/loader")
        self.loader = self.root + "/bin/loader"

    def library(self, name, text, *flags):
        source = self.write("source.c", text)
        path = self.root + "/" + name
        self.run_command(["cc", "-shared", "-fPIC", "-o", path, source, *flags])
        return path

    def attach(self, argv, env=None, cwd=None):
        manifest = self.path("m.json")
        self.run_command([DLCACHE, "record", "-o", manifest, "--include", self.root, "--", *argv], env=env, cwd=cwd,
                         status=None)
        return self.stage(manifest) + "/run"

    def same(self, args, mapped, env=None, status=0, argv=None, cwd=None):
        """Natively and attached: one output. `mapped`: objects from the mirror, the program included."""
        argv = argv or [self.loader, *args]
        run = self.attach(argv, env, cwd)
        native = self.run_command(argv, env=env, status=status, cwd=cwd)
        served = self.run_command([run, *argv], env=env, status=status, cwd=cwd)
        self.assertEqual(served.stdout, native.stdout)
        if mapped is None:
            self.assertEqual(served.stderr, native.stderr)
        else:
            self.assertEqual((native.stderr, served.stderr), ("0\n", "%d\n" % mapped))
        return native.stdout

    def broken(self):
        """Libraries that cannot be loaded, each for a reason of its own."""
        self.write("one", "ONE { global: answer; };\n")
        self.write("two", "TWO { global: answer; };\n")
        self.answer = self.library("lib/libanswer.so", "int answer(void) { return 42; }\n",
                                   "-Wl,--version-script=" + self.path("one"), "-Wl,-soname,libanswer.so")
        # Another one of that name.
        self.library("rpath/libanswer.so", "int answer(void) { return 43; }\n",
                     "-Wl,--version-script=" + self.path("two"), "-Wl,-soname,libanswer.so")
        calls = "int answer(void);\nint %s(void) { return answer(); }\n"
        self.library("lib/libversion.so", calls % "f", self.answer, "-Wl,-rpath,$ORIGIN/../empty:$ORIGIN/../rpath")
        self.library("lib/libright.so", calls % "g", self.answer, "-Wl,-rpath,$ORIGIN/../empty:$ORIGIN")
        self.library("lib/libmissing.so", calls % "h", self.answer)
        self.library("lib/libundefined.so", "int nowhere(void);\nint f(void) { return nowhere(); }\n")
        self.library("lib/libtls.so", '__attribute__((tls_model("initial-exec"))) __thread char x[1 << 20];\n'
                                      "char *t(void) { return x; }\n")
        with open(self.answer, "rb") as f:
            whole = f.read()
        self.write("tree/lib/libshort.so", whole[:40])
        self.write("tree/lib/libcut.so", whole[:200])
        self.write("tree/lib/libtext.so", "no library " * 100)
        self.write("tree/lib/libmachine.so", whole[:18] + b"\xff\xff" + whole[20:])
        return ["version", "missing", "undefined", "tls", "short", "cut", "text", "machine"]

    def test_errors(self):
        names = ["lib/lib%s.so" % name for name in self.broken()]
        names += ["lib/none.so", "none/none.so", "lib", "lib/libanswer.so/none.so", "lib/none/../libanswer.so"]
        # Natively there is no room for it; the variable that attaches would make some.
        env = environment(GLIBC_TUNABLES="glibc.rtld.optional_static_tls=64")
        told = self.same([self.root + "/" + name for name in names] + ["libnone.so"], 1, env=env)
        for line in ("{0}/lib/../rpath/libanswer.so: version `ONE' not found (required by {0}/lib/libversion.so)",
                     "{0}/lib/libmissing.so: libanswer.so: cannot open shared object file: No such file or directory",
                     "{0}/lib/libundefined.so: undefined symbol: nowhere",
                     "{0}/lib/libtls.so: cannot allocate memory in static TLS block",
                     "{0}/lib/libshort.so: file too short",
                     "{0}/lib/libtext.so: invalid ELF header", "{0}/lib/none.so: cannot open shared object file",
                     "cannot load libnone.so: libnone.so: cannot open shared object file: No such file or directory"):
            self.assertIn(line.format(self.root), told)
        self.same(["./" + name for name in names], 1, env=env, cwd=self.root)

    def test_errors_of_a_search(self):
        names = ["lib%s.so" % name for name in self.broken()]
        env = environment(GLIBC_TUNABLES="glibc.rtld.optional_static_tls=64",
                          LD_LIBRARY_PATH="%s/empty:%s/lib" % (self.root, self.root))
        self.same(names, 4, env=env)
        self.same(["libnone.so", "libright.so:g", "libanswer.so:answer:TWO"], 3, env=env)

    def test_errors_of_symbols(self):
        self.broken()
        told = self.same([self.answer + symbol for symbol in (":nothing", ":answer:TWO", ":answer:ONE", ":answer")] +
                         [self.root + "/lib/libright.so:g"], 3)
        self.assertIn("%s: undefined symbol: nothing\n" % self.answer, told)
        self.assertIn("%s: undefined symbol: answer, version TWO\n" % self.answer, told)

    def test_paths_of_the_stage_in_a_text(self):
        """Wherever in it, and however often; not what only ends like one."""
        run = self.attach([self.loader])
        d = os.path.dirname(run)
        for asked, said in (("/root/usr/none.so", "/usr/none.so"), ("/absent/none.so", "none.so"),
                            ("/root/" + d + "/root/none.so", "/" + d + "/root/none.so"),
                            ("/rooted/none.so", d + "/rooted/none.so"), ("/none.so", d + "/none.so"),
                            ("/root/usr (%s/absent/x '%s/root/y'" % (d, d), "/usr (x '/y'")):
            served = self.run_command([run, self.loader, d + asked])
            self.assertIn("cannot load %s%s: %s: cannot open shared object file" % (d, asked, said), served.stdout)
        served = self.run_command([run, self.loader, "/sw" + d + "/root/none.so"])
        self.assertIn(": /sw%s/root/none.so: cannot open" % d, served.stdout)

    def test_where_objects_come_from(self):
        self.broken()
        os.symlink("libright.so", self.root + "/lib/libalias.so")
        for cwd, names in (("/", [self.root + "/lib/libright.so:g"]), ("/", [self.root + "/lib/../lib//libright.so:g"]),
                           ("/", [self.root + "/lib/libalias.so:g", self.root + "/lib/libright.so:g"]),
                           (self.root, ["lib/libright.so:g"]), (self.root, ["./lib/../lib/libalias.so:g"])):
            told = self.same(names, 3, cwd=cwd)
            self.assertRegex(told, "dladdr: .*/lib(right|alias).so, g\n")
            self.assertRegex(told, "search path: [0-9]+ bytes, [0-9]+ places\n  .*/empty, ")
        # With a very long search path.
        env = environment(LD_LIBRARY_PATH=":".join("%s/%0200d" % (self.root, i) for i in range(100)))
        self.same([self.root + "/lib/libright.so:g"], 3, env=env)

    def test_what_ld_so_says_at_the_start(self):
        """A program that cannot start: the loader's own line on standard error."""
        self.broken()
        source = self.write("main.c", "int f(void); int main(void) { return f(); }\n")
        for name in ("version", "undefined", "missing"):
            program = self.root + "/bin/" + name
            self.run_command(["cc", "-o", program, source, "-L" + self.root + "/lib", "-l" + name,
                              "-Wl,-rpath,$ORIGIN/../lib", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,now"])
            # With an older glibc one of them starts, and fails later.
            failed = self.run_command([program], status=None).stderr != ""
            if failed:
                self.same([], None, argv=[program], status=None)
            else:
                self.assertEqual(name, "missing")
