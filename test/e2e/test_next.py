"""The real functions, found in one pass over the loader's objects, are those that dlsym(RTLD_NEXT) finds."""
import re

from harness import BUILD, PYTHON, TOP, Case, environment

# A preloaded library that finds them both ways. dlsym may give a version of the past, where there are several.
CODE = r"""
#include <dlfcn.h>
#include <stdio.h>
#include "libdlcache/shim/next.c"
static const char *const names[] = {
#define SYM(ret, name, params) #name,
#include "libdlcache/shim/symbols.def"
};
enum { COUNT = sizeof names / sizeof *names };
static __attribute__((constructor)) void start(void)
{
    void *found[COUNT];
    next_find(_DYNAMIC, names, COUNT, found);
    for (int i = 0; i < COUNT; i++) {
        void *today = strcmp(names[i], "realpath") == 0 ? dlvsym(RTLD_NEXT, "realpath", "GLIBC_2.3")
            : strncmp(names[i], "posix_spawn", 11) == 0 ? dlvsym(RTLD_NEXT, names[i], "GLIBC_2.15") : NULL;
        void *real = today ? today : dlsym(RTLD_NEXT, names[i]);
        Dl_info info = {0};
        if (real)
            dladdr(real, &info);
        void *told = found[i] == NEXT_NOWHERE ? NULL : found[i];
        printf("%s %s %s\n", names[i], !found[i] ? "left" : told == real ? "same" : "different",
               info.dli_fname ? info.dli_fname : "nowhere");
    }
}
"""
BETWEEN = """
int open(const char *path, int flags, ...) { (void)path; (void)flags; return -1; }
char *realpath(const char *path, char *to) { (void)path; (void)to; return 0; }
int __xmknod(int a) { return a; }
"""


class Next(Case):
    def build(self, name, code, *flags):
        library = self.path(name + ".so")
        self.run_command(["cc", "-D_GNU_SOURCE", "-O1", "-fPIC", "-shared", "-I" + TOP, *flags, "-o", library,
                          self.write(name + ".c", code), "-ldl"])
        return library

    def found(self, preload, program):
        out = self.run_command(program, env=environment(LD_PRELOAD=":".join(preload)))
        return {name: (how, where) for name, how, where in re.findall(r"(?m)^(\S+) (left|same|different) (\S+)$",
                                                                      out.stdout)}

    def setUp(self):
        super().setUp()
        self.next = self.build("next", CODE)
        with open(TOP + "/libdlcache/shim/symbols.def", encoding="ascii") as f:
            self.names = re.findall(r"(?m)^SYM\([^,]*, (\w+),", f.read())

    def lacking(self):
        """The names that this C library does not export."""
        have = "import ctypes, sys\nlibc = ctypes.CDLL(None)\nprint(*[n for n in sys.argv[1:] if not hasattr(libc, n)])"
        return set(self.run_command([PYTHON, "-c", have, *self.names]).stdout.split())

    def test_the_same_as_dlsym(self):
        for program in (["/bin/true"], ["/usr/bin/python3", "-c", ""], [BUILD + "/dlcache-stage", "--help"]):
            found = self.found([self.next], program)
            self.assertEqual(sorted(found), sorted(self.names))
            self.assertEqual([n for n, (how, _) in found.items() if how == "different"], [], program)
            # What is left to dlsym is of the past; what is nowhere is not.
            left = [n for n, (how, _) in found.items() if how == "left"]
            self.assertLess(len(left), len(found) / 8, left)
            self.assertNotIn("nowhere", [found[n][1] for n in left])
            self.assertEqual({n for n, (_, where) in found.items() if where == "nowhere"}, self.lacking())

    def test_others_between(self):
        defined = {"open", "realpath", "__xmknod"}
        # One without the hash table that is read is left to dlsym. Of one that wants another to be searched first (an
        # auxiliary filter), nothing is taken.
        for flags, how, where in (([], "same", defined), (["-Wl,--hash-style=sysv"], "left", defined),
                                  (["-Wl,-f,libc.so.6"], "same", set())):
            between = self.build("between", BETWEEN, *flags)
            found = self.found([self.next, between], ["/bin/true"])
            self.assertEqual([n for n in found if found[n][0] == "different"], [], flags)
            self.assertEqual({n for n in found if found[n][1] == between}, where)
            self.assertEqual({found[n][0] for n in defined}, {how}, flags)
        # Before ours: not in question.
        found = self.found([between, self.next], ["/bin/true"])
        self.assertEqual([n for n, (_, where) in found.items() if where == between], [])
