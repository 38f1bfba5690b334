"""Objects through dlopen, where the loader's auditing is not used: what a program sees of them is what it sees natively,
they come from node memory, and no file comes in twice."""
import os
import re

from harness import PROGS, PYTHON, SHM, Case, environment

LOADS = PROGS + "/fallback"

# Every library: what it is, said at each end of its life; `common`, which each one has; and what EXTRA adds.
SOURCE = r"""
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
int common(void), own(void);
EXTRA
int common(void) { return ID; }
int own(void) { return ID; }
int ask_NAME(void) { return common(); }
static __attribute__((constructor)) void init(void)
{
    Dl_info info;
    printf("init NAME as %s\n", dladdr((void *)init, &info) ? info.dli_fname : "?");
    INIT
}
static __attribute__((destructor)) void fini(void) { printf("fini NAME\n"); }
"""


class Loads(Case):
    def setUp(self):
        super().setUp()
        self.root = self.path("tree")
        os.makedirs(self.root)
        self.count = 0
        self.env = {}

    def lib(self, name, needs=(), extra="", init="", flags=(), soname=True, where="lib", compiler="cc"):
        """Builds lib/libNAME.so; the path."""
        self.count += 1
        text = SOURCE.replace("EXTRA", extra).replace("INIT", init).replace("NAME", name).replace("ID", str(self.count))
        source = self.write("src/%s.%s" % (name, "cc" if compiler == "c++" else "c"), text)
        path = "%s/%s/lib%s.so" % (self.root, where, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not any(f.startswith("-Wl,-rpath") for f in flags) and needs:
            flags = (*flags, "-Wl,-rpath,$ORIGIN")
        self.run_command([compiler, "-shared", "-fPIC", "-g", "-Wl,-z,lazy", "-Wl,--no-as-needed", source, "-o", path,
                          *(("-Wl,-soname,lib%s.so" % name,) if soname else ()), *flags,
                          *("%s/%s" % (self.root, n) if "/" in n else "%s/lib/lib%s.so" % (self.root, n)
                            for n in needs)])
        return path

    def staged(self, pilot):
        manifest = self.path("m.json")
        self.record(manifest, pilot, include=[self.root], status=None, env=environment(**self.env))
        self.d = self.stage(manifest)
        return self.d

    def mapped(self, stderr):
        """What is mapped from where: of the mirror, of the original; nothing of both."""
        lines = [line for line in stderr.splitlines() if self.root in line]
        mirror = {line.split(self.d + "/root", 1)[1] for line in lines if line.startswith(SHM)}
        original = {line for line in lines if not line.startswith(SHM)}
        self.assertEqual(mirror & original, set())
        return mirror, original

    def same(self, *commands, mirror, original=(), stage=None, status=0, cwd=None):
        """Runs the commands of fallback.c natively and served: they print the same. The libraries that were mapped at the
        end, or at a command "mapped"."""
        argv = [LOADS, *(c.replace("ROOT", self.root) for command in commands for c in command.split())]
        if stage is None:
            self.staged(argv)
        native = self.run_command(argv, env=environment(**self.env), status=status, cwd=cwd)
        served = self.run_command([self.d + "/run", *argv], env=environment(DLCACHE_AUDIT="off", **self.env),
                                  status=status, cwd=cwd)
        ours = re.compile(r"^ +(map|phdr) (%s/.*|/\S*/(libdl|libpthread)[.-].*)\n" % self.d, re.M)
        # Our libraries bring libdl and libpthread along, where these are libraries of their own.
        self.assertEqual(ours.sub("", served.stdout), ours.sub("", native.stdout))
        self.assertNotIn(self.d + "/root", served.stdout)
        names = lambda paths: {re.sub(r"^lib|\.so.*", "", os.path.basename(p)) for p in paths}
        mapped = self.mapped(served.stderr)
        self.assertEqual((names(mapped[0]), names(mapped[1])), (set(mirror), set(original)))
        return served.stdout

    def test_a_diamond(self):
        self.lib("d", extra='int next(void) { int (*f)(void) = (int (*)(void))dlsym(RTLD_NEXT, "common");'
                 ' return f ? f() : 0; }')
        self.lib("c", ["d"])
        self.lib("b", ["d"], extra='int following(void) { return ((int (*)(void))dlsym(RTLD_NEXT, "common"))(); }\n'
                 'int first(void) { return dlsym(RTLD_DEFAULT, "own") == (void *)own; }')
        self.lib("a", ["b", "c"])
        out = self.same("open ROOT/lib/liba.so l", "call 0 ask_a", "call 0 ask_b", "call 0 ask_c", "call 0 ask_d",
                        "call 0 next", "call 0 following", "call 0 first", "where 0 ask_d", "where 0 ask_a", "maps", "origin 0", "default ask_a", "mapped",
                        "open ROOT/lib/liba.so n", "open ROOT/lib/libd.so n", "open ROOT/lib/libc.so ng",
                        "default ask_c", "default ask_b", "call 2 common", "close 0", "close 1", "maps", "close 2",
                        "open ROOT/lib/libb.so no", "close 3", "maps", "open ROOT/lib/libc.so no",
                        "open ROOT/lib/liba.so n", mirror="abcd")
        # Of b and c the one or the other goes first, with this ld.so or that.
        ends = re.findall("(?:init|fini) .", out)[:8]
        self.assertEqual(ends[:5] + sorted(ends[5:7]) + ends[7:], [
            "init d", "init c", "init b", "init a", "fini a", "fini b", "fini c", "fini d"])
        self.assertEqual(len(re.findall(r"ask_.: 4", out)), 5)

    def test_among_what_is_loaded_already(self):
        """The order of the scope is the native one: what is there already has its place in it."""
        self.lib("x", extra="int which(void) { return 1; }")
        self.lib("y", extra="int which(void) { return 2; }")
        self.lib("b", extra="int which(void) { return 3; }")
        for order, first in (("xb", "x"), ("bx", "b"), ("yxb", "y")):
            self.lib("a" + order, list(order), extra="int which(void); int ask_which(void) { return which(); }")
        self.same("open ROOT/lib/libx.so n", "open ROOT/lib/libaxb.so l", "call 1 ask_which", "call 1 ask_b",
                  "open ROOT/lib/libabx.so l", "call 2 ask_which", "call 0 ask_x", "open ROOT/lib/libayxb.so n",
                  "call 3 ask_which", "close 0", "close 1", "close 3", "call 2 ask_which", "close 2",
                  mirror=[])
        self.same("open ROOT/lib/libabx.so d", "open ROOT/lib/liby.so ng", "open ROOT/lib/libabx.so ld",
                  "open ROOT/lib/libaxb.so l", "call 2 ask_which", "call 3 ask_which", "call 2 ask_b", "call 1 common",
                  mirror=["y", "abx", "axb", "b", "x"])

    def test_bound_late_in_the_scope_of_who_loaded_it(self):
        """A library that takes what it does not need: from the object that was opened, also after it was loaded."""
        self.lib("b", extra="extern int only_a(void); int late(void) { return only_a(); }")
        self.lib("a", ["b"], extra="int only_a(void) { return 77; }")
        out = self.same("open ROOT/lib/liba.so l", "call 0 late", "close 0", "open ROOT/lib/liba.so l", "call 1 late",
                        "open ROOT/lib/libb.so l", "close 1", "call 2 late", "close 2", "maps", mirror=[])
        self.assertEqual(out.count("late: 77"), 3)

    def test_what_fails(self):
        """Natively said: of the original, by ld.so."""
        self.lib("gone")
        self.lib("g", ["gone"])
        os.unlink(self.root + "/lib/libgone.so")
        self.write("tree/lib/libtext.so", "no object\n")
        self.lib("b", extra="extern int nowhere(void); int late(void) { return nowhere(); }")
        self.lib("a", ["b"])
        out = self.same("open ROOT/lib/liba.so n", "open ROOT/lib/libnone.so n", "open ROOT/lib/libtext.so n",
                        "open ROOT/lib/libg.so n", "open ROOT/lib/liba.so g", "maps", "open ROOT/lib/liba.so l",
                        mirror="ab")
        self.assertEqual(len(re.findall(r"open .*(undefined symbol|cannot open|too short|invalid mode)", out)), 5)

    def test_whatever_the_name(self):
        """Symlinks, other spellings, relative and bare names mean what is loaded."""
        self.lib("b", flags=["-Wl,-soname,libb.so.1"])
        os.rename(self.root + "/lib/libb.so", self.root + "/lib/libb.so.1")
        os.symlink("libb.so.1", self.root + "/lib/libb.so")
        os.symlink("lib", self.root + "/lib64")
        os.symlink(self.root + "/lib", self.path("outside"))
        self.lib("user", flags=["-Wl,-rpath,$ORIGIN"],
                 extra='int load(void) { return dlopen("libb.so", RTLD_NOW) != NULL; }')
        self.env = {"LD_LIBRARY_PATH": self.root + "/lib"}
        self.same("open ROOT/lib64/libb.so n", "open ROOT/lib/libb.so n", "open ROOT/lib/libb.so.1 n", "maps",
                  "open ROOT/lib/../lib/libb.so n", "open %s/libb.so n" % self.path("outside"), "open lib/libb.so n",
                  "open libb.so n", "open libb.so.1 n", "open ./lib/libb.so no", "origin 0",
                  "open ROOT/lib/libuser.so l", "call 9 load", "close 0", "where 0 common",
                  mirror=["b", "user"], cwd=self.root)
        # From the original first.
        self.same("open %s/libb.so n" % self.path("outside"), "open ROOT/lib/libb.so n", "open libb.so n",
                  "open ROOT/lib/libuser.so l", "call 3 load", mirror=["user"], original=["b"], stage=self.d,
                  cwd=self.root)

    def test_where_it_is_found(self):
        self.lib("in_library_path", where="env")
        self.lib("deep", where="lib/deep")
        self.lib("absolute", where="other")
        self.lib("plain", ["env/libin_library_path.so"], flags=[])
        self.lib("chain", ["lib/deep/libdeep.so"], flags=["-Wl,--disable-new-dtags"], where="lib")
        self.lib("rpath", ["chain"], flags=["-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN:${ORIGIN}/deep"])
        self.lib("runpath", ["other/libabsolute.so"], flags=["-Wl,-rpath,%s/nowhere:%s/other" % (self.root, self.root)])
        self.lib("system", flags=["-lz"])
        self.env = {"LD_LIBRARY_PATH": self.root + "/env"}
        self.same("open ROOT/lib/libplain.so n", "open ROOT/lib/librpath.so n", "open ROOT/lib/librunpath.so n",
                  "open ROOT/lib/libsystem.so n", "maps", "call 1 ask_deep", "call 2 ask_absolute",
                  mirror=["in_library_path", "deep", "absolute", "plain", "chain", "rpath", "runpath", "system"])

    def test_the_caller(self):
        """A bare name is looked for where the library that asks has its RUNPATH."""
        self.lib("plug", where="plugins")
        self.lib("host", flags=["-Wl,-rpath,$ORIGIN/../plugins"],
                 extra='int load(void) { return dlopen("libplug.so", RTLD_NOW) != NULL; }\n'
                       'int origin(void) { return dlopen("$ORIGIN/../plugins/libplug.so", RTLD_NOW) != NULL; }')
        out = self.same("open libplug.so n", "open ROOT/lib/libhost.so n", "call 1 load", "call 1 origin", "maps",
                        mirror=["host"], original=["plug"])
        self.assertIn("load: 1\n", out)
        self.assertIn("origin: 1\n", out)

    def test_constructors_that_load(self):
        self.lib("late")
        self.lib("b", init='printf("b loads %%d\\n", dlopen("%s/lib/liblate.so", RTLD_NOW | RTLD_GLOBAL) != NULL);'
                 % self.root)
        self.lib("a", ["b"], init='void *h = dlopen("%s/lib/libb.so", RTLD_NOW); printf("a loads %%d\\n", h != NULL);'
                 'dlclose(h); dlclose(dlopen("%s/lib/liblate.so", RTLD_NOW));' % (self.root, self.root))
        self.same("open ROOT/lib/liba.so n", "default own", "close 0", "maps", "open ROOT/lib/liba.so n", "maps",
                  mirror=["a", "b", "late"])

    def test_circles(self):
        """Whose order depends on where it begins."""
        self.lib("b")
        self.lib("a", ["b"])
        self.lib("b", ["a"])
        self.same("open ROOT/lib/liba.so n", "call 0 ask_b", "maps", "close 0", "open ROOT/lib/libb.so n",
                  mirror="ab")

    def test_kept(self):
        self.lib("n", flags=["-Wl,-z,nodelete"])
        self.lib("a", ["n"])
        self.lib("k")
        self.lib("u", extra='extern int unique; __asm__(".type unique, @gnu_unique_object"); int unique = 1;'
                            ' int get(void) { return unique; }')
        self.same("open ROOT/lib/liba.so n", "close 0", "maps", "open ROOT/lib/libk.so nk", "close 1",
                  "open ROOT/lib/libu.so n", "call 2 get", "close 2", "maps", "open ROOT/lib/libk.so no",
                  mirror="anku")

    def test_versions_ifuncs_and_tls(self):
        script = self.write("v", "V1 { global: *; };\n")
        self.lib("v", extra="__thread int counter = 5; int count(void) { return ++counter; }",
                 flags=["-Wl,--version-script=" + script])
        self.lib("i", ["v"], extra="static int fast(void) { return 42; } static void *pick(void) { return fast; }\n"
                 "int chosen(void) __attribute__((ifunc(\"pick\"))); int ask_chosen(void) { return chosen(); }\n"
                 "extern int count(void); int ask_count(void) { return count(); }")
        self.lib("t", flags=["-ftls-model=initial-exec"],
                 extra="__thread char small[64]; int tls(void) { return ++small[3]; }")
        self.lib("big", flags=["-ftls-model=initial-exec"],
                 extra="__thread char large[1 << 20]; int tls(void) { return ++large[3]; }")
        self.same("open ROOT/lib/libi.so n", "call 0 ask_count", "call 0 ask_count", "call 0 ask_chosen", "maps",
                  "open ROOT/lib/libt.so n", "call 1 tls", "open ROOT/lib/libbig.so n", "close 0",
                  mirror="t")

    def test_exceptions(self):
        self.lib("throws", compiler="c++", extra='extern "C" void thrower(void) { throw 9; }\n')
        self.lib("catches", ["throws"], compiler="c++",
                 extra='extern "C" void thrower(void);\n'
                       'extern "C" int caught(void) { try { thrower(); } catch (int n) { return n; } return 0; }\n')
        out = self.same("open ROOT/lib/libcatches.so n", "call 0 caught", mirror=["catches", "throws"])
        self.assertIn("caught: 9\n", out)

    def test_in_a_debugger(self):
        """Natively: it would see the names change, and leave its breakpoints in the code."""
        library = self.lib("a")
        argv = [LOADS, "open", library, "n", "call", "0", "ask_a"]
        d = self.staged(argv)
        sets = [a for v in ("DLCACHE_AUDIT=off", "DLCACHE_STAGE=" + d, "LD_PRELOAD=%s/lib/libdlcache.so" % d)
                for a in ("-ex", "set environment " + v)]
        out = self.run_command(["gdb", "-q", "-nx", "-batch", *sets, "-ex", "set startup-with-shell off",
                                "-ex", "set breakpoint pending on", "-ex", "break ask_a", "-ex", "run",
                                "-ex", "backtrace", "-ex", "continue", "--args", *argv],
                               env=environment(DEBUGINFOD_URLS="")).stdout
        self.assertRegex(out, r"#0 +ask_a \(\)")
        self.assertIn("ask_a: 1\n", out)
        self.assertIn("end\n", out)
        self.same(*(" ".join(argv[1:]),), mirror="a", stage=d)

    def test_threads(self):
        quiet = "#define printf(...) ((void)0)\n"
        self.lib("c", extra=quiet)
        self.lib("a", ["c"], extra=quiet)
        self.lib("b", ["c"], extra=quiet)
        out = self.same("threads ROOT/lib/liba.so ROOT/lib/libb.so ROOT/lib/libc.so", mirror=[])
        self.assertEqual(out, "thread: fine\n" * 4 + "end\n")


class Python(Case):
    CODE = """
import sys, numpy, scipy.stats, pandas
print(numpy.linalg.det([[1, 2], [3, 5]]), scipy.stats.norm.cdf(1.0), pandas.Series([1, 2]).sum())
print(sorted(m.__file__ for m in sys.modules.values() if (getattr(m, '__file__', None) or '').endswith('.so')))
print(*sorted({line.split()[-1] for line in open('/proc/self/maps') if '.so' in line}), sep='\\n', file=sys.stderr)
"""

    def test_scipy_and_pandas(self):
        prefixes = ["/usr/lib/python3", "/usr/lib/python3.11"]
        prefixes = [p for p in prefixes + [os.path.dirname(os.__file__)] if os.path.isdir(p)]
        manifest = self.path("m.json")
        argv = [PYTHON, "-c", self.CODE]
        self.record(manifest, argv, include=prefixes)
        native = self.run_command(argv)
        d = self.stage(manifest)
        served, lines = self.strace([d + "/run", *argv], exports=["DLCACHE_AUDIT=off"], what="openat,open")
        self.assertEqual(served.stdout, native.stdout)
        modules = [line for line in native.stderr.splitlines() if line.startswith("/usr/lib/python3")]
        self.assertGreater(len(modules), 100)
        mapped = served.stderr.splitlines()
        self.assertEqual({line[len(d + "/root"):] for line in mapped if line.startswith(d + "/root/")}, set(modules))
        self.assertEqual(set(mapped) & set(modules), set())
        opened = [line for line in self.touching(lines, *prefixes) if ".so" in line]
        self.assertEqual(opened, [])

    def test_the_stage_says_that_auditing_does_not_work(self):
        """Then it needs no word of the user's. Programs are executed from their own places."""
        manifest = self.path("m.json")
        code = "import _bz2, _ctypes, os; print(_bz2.__file__, os.readlink('/proc/self/exe'), os.environ.get('LD_AUDIT'));" \
               "print(*[line.strip() for line in open('/proc/self/maps') if '_bz2' in line or '_ctypes' in line], sep='\\n')"
        self.record(manifest, [PYTHON, "-c", code], include=["/usr/lib", "/usr/bin"])
        d = self.stage(manifest)
        with open(d + "/state", "r+b") as state:
            state.seek(124)
            self.assertEqual(state.read(4), (1).to_bytes(4, "little"))
            state.seek(124)
            state.write((2).to_bytes(4, "little"))
        native = self.run_command([PYTHON, "-c", code]).stdout.splitlines()
        # Also of a child, and of one whose parent does without.
        for command in ([d + "/run", PYTHON], [d + "/run", "sh", "-c", 'exec "$@"', "sh", PYTHON]):
            served = self.run_command([*command, "-c", code]).stdout.splitlines()
            self.assertEqual(served[0], native[0])
            self.assertGreater(len(served), 5)
            for line in served[1:]:
                self.assertIn(d + "/root/", line)
        tool = self.write("tool.c", "#include <link.h>\nunsigned la_version(unsigned v) { return v; }\n")
        self.run_command(["cc", "-shared", "-fPIC", tool, "-o", self.path("tool.so")])
        watched = self.run_command([d + "/run", PYTHON, "-c", code], env=environment(LD_AUDIT=self.path("tool.so")))
        self.assertNotIn(d + "/root/", watched.stdout, "what another auditor sees is what happens natively")
        self.assertIn(self.path("tool.so"), watched.stdout)


