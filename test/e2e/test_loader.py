"""Shared objects through the dynamic loader's door: how ld.so finds them, in all layouts that software is installed in.
Natively and attached the same, and attached no call on what is staged."""
import os
import re

from harness import PYTHON, STDLIB
from loader import Loader


class Many(Loader):
    def test_300_libraries_in_80_directories(self):
        """Data only, by the assembler: 300 libraries in a few seconds, on every architecture."""
        count, dirs = 300, 80
        names = []
        for n in range(count):
            text = ".section .note.GNU-stack,\"\",%%progbits\n.data\n.globl v%d\n.type v%d,%%object\n.size v%d,4\n" \
                   "v%d: .long %d\n" % (n, n, n, n, n)
            self.write("source/%d.s" % n, text)
            names.append("%d libn%d.so %s" % (n, n, self.at("d%02d" % (n * 7 % dirs))))
        for n in range(dirs):
            os.makedirs(self.at("d%02d" % n))
        todo = self.write("todo", "\n".join(names) + "\n")
        self.run_command(["sh", "-c", "xargs -P 4 -L 1 sh -c 'exec gcc -shared -nostdlib -Wl,-soname,$1 -o $2/$1 "
                          "%s/$0.s' <%s" % (self.path("source"), todo)])
        path = ":".join(self.at("d%02d" % n) for n in range(dirs))
        externs = "".join("extern int v%d;\n" % n for n in range(count))
        total = " + ".join("v%d" % n for n in range(count))
        program = self.compile("bin/program", "#include <stdio.h>\n%sint main(void) { printf(\"%%d\\n\", %s); }\n" %
                               (externs, total), "-Wl,--no-as-needed", *("-L" + p for p in path.split(":")),
                               *("-ln%d" % n for n in range(count)))
        env = dict(self.env, LD_LIBRARY_PATH=path)
        self.assertEqual(self.record_and_compare(program, env=env, least=1001), "%d\n" % sum(range(count)))


ANSWER = "int %s(void);\nint %s(void) { return %d; }\n"


def answer(name, value):
    return ANSWER % (name, name, value)


class Wheels(Loader):
    """Packages of compiled modules with the libraries that they bring with them."""

    def extension(self, out, *flags, needs):
        """A module of Python's, by hand: its answer is that of the libraries which it needs."""
        name = os.path.basename(out).split(".")[0]
        text = "#define PY_SSIZE_T_CLEAN\n#include <stddef.h>\n" \
               "typedef struct { size_t refs; void *type; void *init; size_t index; void *copy; const char *name, *doc; " \
               "size_t size; void *methods, *slots, *t, *c, *f; } module;\n" \
               "extern void *PyModule_Create2(module *, int);\n" \
               "extern int PyModule_AddIntConstant(void *, const char *, long);\n"
        text += "".join("int %s(void);\n" % n for n in needs)
        text += "static module m = {1, 0, 0, 0, 0, \"%s\", 0, (size_t)-1, 0, 0, 0, 0, 0};\n" % name
        text += "void *PyInit_%s(void);\nvoid *PyInit_%s(void)\n{\n    void *o = PyModule_Create2(&m, 1013);\n" % (name, name)
        text += "    PyModule_AddIntConstant(o, \"value\", %s);\n    return o;\n}\n" % " + ".join(n + "()" for n in needs)
        return self.library(out, text, *flags)

    def package(self, name, entry, libs, place, new_dtags=True):
        """pkg/NAME/core.so with the search path `entry`, and its libraries (name → value) in `place`, or elsewhere."""
        tags = "-Wl,--enable-new-dtags" if new_dtags else "-Wl,--disable-new-dtags"
        link = []
        for lib, (value, where) in libs.items():
            self.library(os.path.join(where or place, "lib%s.so" % lib), answer(lib, value))
            link += ["-L" + self.at(where or place), "-l" + lib]
        self.extension("site/%s/core.so" % name, tags, "-Wl,-rpath," + entry, "-Wl,--no-as-needed", *link, "-lm",
                       needs=list(libs))
        self.write("sw/site/%s/__init__.py" % name, "from .core import value\n")

    CODE = "import sys; sys.path.insert(0, sys.argv[1])\n" \
           "for name in sys.argv[2:]:\n    m = __import__(name); print(name, m.value, m.core.__file__)\n" \
           "print(sorted({l.split()[-1].rsplit('/', 1)[1] for l in open('/proc/self/maps') if '/sw/' in l}))\n"

    def test_layouts(self):
        system = self.at("system")
        libs = lambda v, where=None: {"wa%d" % v: (v, None), "wb%d" % v: (v + 1, where)}
        self.package("one", "$ORIGIN/../one.libs", libs(10), "site/one.libs")
        self.package("two", "${ORIGIN}/../.libs", libs(20), "site/.libs")
        self.package("three", "$ORIGIN/.libs", libs(30), "site/three/.libs", new_dtags=False)
        # Some of them there, the others from where the whole machine's libraries are.
        self.package("four", "$ORIGIN/../four.libs", libs(40, "system"), "site/four.libs")
        # The directory is there, and empty; or it is not there.
        self.package("five", "$ORIGIN/../five.libs", {"wa50": (50, "system")}, "site/five.libs")
        os.mkdir(self.at("site/five.libs"))
        self.package("six", "$ORIGIN/../six.libs:/no/such/directory:$ORIGIN/none/lib", {"wa60": (60, "system")}, "none")
        self.package("seven", "$ORIGIN/../seven.libs", {"wa70": (70, "system")}, "none", new_dtags=False)
        names = ["one", "two", "three", "four", "five", "six", "seven"]
        argv = [PYTHON, "-c", self.CODE, self.at("site"), *names]
        said = self.record_and_compare(*argv, env=dict(self.env, LD_LIBRARY_PATH=system), least=50)
        self.assertEqual(re.findall(r"^\w+ (\d+) ", said, re.M), ["21", "41", "61", "81", "50", "60", "70"])
        self.assertIn("'libwb40.so'", said)

    def test_the_real_ones(self):
        code = "import numpy, scipy.linalg, scipy.stats, scipy.fft, pandas\n" \
               "a = numpy.arange(9.).reshape(3, 3) + numpy.eye(3)\n" \
               "print(scipy.linalg.det(a), scipy.stats.norm.cdf(1), scipy.fft.fft([1, 2, 3]))\n" \
               "print(pandas.DataFrame({'a': [3, 1, 2]}).sort_values('a').to_string())\n" \
               "import ctypes, sys\n" \
               "print(sorted(m.__file__ for m in list(sys.modules.values()) if '.so' in (getattr(m, '__file__', 0) or '')))\n"
        self.record_and_compare(PYTHON, "-c", code, on=["/usr/lib/python3", STDLIB], least=1000)


class Names(Loader):
    """One object is one object, by whatever name it is asked for, and says of itself what it says natively."""

    def test_a_plugin_looks_beside_itself(self):
        text = r"""#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int value;
static int beside(const char *name)
{
    Dl_info info;
    char path[4096];
    int n = -1;
    if (!dladdr(&value, &info)) return -1;
    snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(info.dli_fname, '/') - info.dli_fname), info.dli_fname, name);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%d", &n) != 1) n = -2;
    if (f) fclose(f);
    printf("%s: %d\n", path, n);
    return n;
}
__attribute__((constructor)) static void start(void) { value = beside("first.txt"); }
int plugin(void);
int plugin(void) { return value * 100 + beside("share/second.txt"); }
"""
        self.library("plugins/p.so", text)
        self.write("sw/plugins/first.txt", "4\n")
        self.write("sw/plugins/share/second.txt", "2\n")
        os.symlink("plugins", self.at("link"))
        loaded = self.loaded()
        said = self.record_and_compare(loaded, "open=" + self.at("plugins/p.so"), "call=plugin", "where=plugin", "close",
                                       "open=" + self.at("link/p.so"), "call=plugin", "where=plugin", "close",
                                       "open=" + self.at("bin/../plugins/./p.so"), "call=plugin", "where=plugin",
                                       "info", "list", least=10)
        self.assertEqual(said.count("call plugin: 402\n"), 3)

    def names(self):
        self.library("lib/libx.so.1.2", answer("x", 7) + "__attribute__((constructor)) static void once(void)\n"
                     "{ extern int puts(const char *); puts(\"x begins\"); }\n", soname="libx.so.1")
        os.symlink("libx.so.1.2", self.at("lib/libx.so.1"))
        os.symlink("libx.so.1", self.at("lib/libx.so"))
        os.symlink("lib", self.at("lib64"))
        os.link(self.at("lib/libx.so.1.2"), self.at("lib/hard.so"))
        lib = self.at("lib/")
        return [lib + "libx.so.1.2", lib + "libx.so.1", lib + "libx.so", "libx.so.1", "libx.so", self.at("lib64/libx.so"),
                "lib/libx.so.1.2", "./lib/libx.so", "bin/../lib64/libx.so.1", lib + "hard.so", "//" + lib + "/./libx.so"]

    def linked(self):
        return self.compile("bin/linked", "extern int x(void);\n#include <dlfcn.h>\n#include <link.h>\n"
                               "#include <stdio.h>\n#include <unistd.h>\nint main(int c, char **a)\n{\n"
                               "    int n = 0;\n    if (chdir(a[1])) return 1;\n    void *first = 0;\n"
                               "    for (int i = 2; i < c; i++) {\n        void *h = dlopen(a[i], RTLD_NOW);\n"
                               "        if (!h) { printf(\"%s: %s\\n\", a[i], dlerror()); continue; }\n"
                               "        if (!first) first = h;\n"
                               "        printf(\"%s: %s %d\\n\", a[i], ((struct link_map *)h)->l_name, h == first);\n    }\n"
                               "    for (struct link_map *m = _r_debug.r_map; m; m = m->l_next)\n"
                               "        if (!__builtin_strstr(m->l_name, \"libdlcache\")) n++;\n"
                               "    printf(\"%d %d\\n\", n, x());\n}\n",
                               "-L" + self.at("lib"), "-lx", "-Wl,-rpath,$ORIGIN/../lib")

    def test_what_was_linked_by_other_names(self):
        names = self.names()
        said = self.record_and_compare(self.linked(), self.top, *names, most=3)  # the relative ones: which file?
        self.assertEqual(said.count(" 1\n"), len(names), said)
        self.assertEqual(said.count("x begins\n"), 1)

    def test_where_the_directory_is_written_in(self):
        """ld.so looks itself there. The program is in the mirror, and its $ORIGIN is: the object's name is not."""
        names = self.names()
        program = self.linked()
        manifest = self.path("m.json")
        self.record(manifest, ["sh", "-c", "\"$@\" && touch \"$0/lib/new\"", self.top, program, self.top, *names],
                    include=[self.top], env=self.env)
        said = self.same(self.stage(manifest), program, self.top, *names, most=1000)
        self.assertEqual(said.count(" 1\n"), len(names), said)

    def test_opened_by_one_name_and_then_by_another(self):
        names = self.names()
        loaded = self.loaded()
        env = dict(self.env, LD_LIBRARY_PATH=self.at("lib"))
        everything = ["chdir=" + self.top, *("open=" + n for n in names)]
        d = self.staged(loaded, *everything, env=env)
        for n in range(len(names)):
            turned = names[n:] + names[:n]
            said = self.same(d, loaded, "chdir=" + self.top, *("open=" + n for n in turned), "where=x", "info", "list",
                             env=env, most=3)
            self.assertEqual(said.count(": #0 "), len(names), said)

    def test_a_view_of_symlinks(self):
        """As Spack's: /view/lib has symlinks into each package's own prefix; search paths lead into both."""
        for n, name in enumerate(("z", "y", "x")):
            below = ["z", "y", "x"][n - 1] if n else None
            text = answer(name, n + 1) if not below else \
                "int %s(void);\nint %s(void);\nint %s(void) { return 10 * %s() + %d; }\n" % (below, name, name, below, n + 1)
            flags = [] if not below else ["-L" + self.at("view/lib"), "-l" + below, "-Wl,-rpath," +
                                          ":".join([self.at("opt", name, "lib"), self.at("opt", below, "lib")][n % 2:] +
                                                   [self.at("view/lib")])]
            self.library("opt/%s/lib/lib%s.so.1.2" % (name, name), text, *flags, soname="lib%s.so.1" % name)
            os.makedirs(self.at("view/lib"), exist_ok=True)
            for link in ("lib%s.so.1.2" % name, "lib%s.so.1" % name, "lib%s.so" % name):
                if link != "lib%s.so.1.2" % name:
                    os.symlink("lib%s.so.1.2" % name, self.at("opt", name, "lib", link))
                os.symlink("../../opt/%s/lib/%s" % (name, link), self.at("view/lib", link))
        loaded = self.loaded()
        steps = ["open=" + self.at("view/lib/libx.so"), "call=x", "where=x", "info", "open=libz.so.1", "where=z", "info",
                 "open=" + self.at("opt/y/lib/liby.so"), "where=y", "info", "open=" + self.at("opt/x/lib/libx.so.1"), "list"]
        said = self.record_and_compare(loaded, *steps)
        self.assertIn("call x: 123\n", said)
        program = self.compile("opt/app/bin/app", "int x(void);\n#include <stdio.h>\nint main(void) { printf(\"%d\\n\", x()); }\n",
                               "-L" + self.at("view/lib"), "-lx", "-Wl,-rpath-link," + self.at("view/lib"),
                               "-Wl,-rpath,$ORIGIN/../lib:$ORIGIN/../lib64:" + self.at("view/lib"))
        os.makedirs(self.at("view/bin"))
        os.symlink("../../opt/app/bin/app", self.at("view/bin/app"))
        self.assertEqual(self.record_and_compare(self.at("view/bin/app"), least=6), "123\n")

    def test_a_virtual_environment(self):
        venv = self.at("venv")
        self.run_command([PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", venv])
        code = "import sys, ctypes, numpy, _json, _ctypes\n" \
               "print(sys.prefix, sys.base_prefix, sys.executable, sys.path, _ctypes.__file__, numpy.__file__)\n" \
               "print(ctypes.CDLL(sys.argv[1]).x())\n"
        self.names()
        argv = [venv + "/bin/python", "-c", code, self.at("lib64/libx.so")]
        self.record_and_compare(*argv, on=[self.top, "/usr/lib/python3", STDLIB], least=100)
