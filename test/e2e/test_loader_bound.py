"""Calls from one object into another are bound as natively: at the start, or by the first call. Before 2.35 glibc itself
keeps each call from that under any auditor."""
import os
import platform
import struct
import unittest

from harness import DLCACHE, glibc
from loader import Loader

# What an object can tell of itself: where its slot of a function leads, what its dynamic section says, which of its pages
# can be written to. `bound` is a slot that leads out of the object.
SLOTS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#define ADDRESS(p) ((p) < map->l_addr ? (p) + map->l_addr : (p))
static struct link_map *self(void)
{
    Dl_info info;
    struct link_map *map;
    dladdr1((void *)(ElfW(Addr))self, &info, (void **)&map, RTLD_DL_LINKMAP);
    return map;
}
static void how(const char *what, ElfW(Addr) at)
{
    unsigned long from, to;
    char line[512], text[8];
    FILE *f = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, text) == 3 && at >= from && at < to)
            printf("%s %s\n", what, text);
    fclose(f);
}
static void slots(const char *name)
{
    struct link_map *map = self();
    ElfW(Addr) table[64] = {0};
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
        if (d->d_tag < 64)
            table[d->d_tag] = d->d_un.d_val;
    const ElfW(Rela) *r = (void *)ADDRESS(table[DT_JMPREL]), *end = (void *)((char *)r + table[DT_PLTRELSZ]);
    if (!name) {
        printf("%d others, %d calls, rela %d\n", (int)table[DT_RELASZ], (int)table[DT_PLTRELSZ],
               (int)(ADDRESS(table[DT_JMPREL]) - ADDRESS(table[DT_RELA])));
        how("the table", ADDRESS(table[DT_PLTGOT]) + 16);
        how("its slots", map->l_addr + r->r_offset);
        return;
    }
    for (; r < end; r++) {
        const ElfW(Sym) *sym = (const ElfW(Sym) *)ADDRESS(table[DT_SYMTAB]) + ELF64_R_SYM(r->r_info);
        Dl_info here, there = {0};
        if (strcmp((const char *)ADDRESS(table[DT_STRTAB]) + sym->st_name, name))
            continue;
        dladdr((void *)(ElfW(Addr))self, &here);
        dladdr(*(void **)(map->l_addr + r->r_offset), &there);
        printf("%s: %s\n", name, here.dli_fbase == there.dli_fbase ? "not bound" : "bound");
    }
}
"""

FUNCTIONS = r"""
int f(int), chosen(int), v_old(int), v_new(int), replaced(int), uncalled(int);
int f(int n) { return n + 1; }
int replaced(int n) { return n; }
int uncalled(int n) { return n; }
static int ten(int n) { return n + 10; }
static int (*choose(void))(int) { return ten; }
int chosen(int) __attribute__((ifunc("choose")));
int v_old(int n) { return n + 100; }
int v_new(int n) { return n + 200; }
__asm__(".symver v_old,v@V1\n.symver v_new,v@@V2");
"""
MAP = "V1 { global: f; chosen; replaced; uncalled; v; };\nV2 { global: v; } V1;\n"

# A caller: each function three times, and what became of its slots. Its IFUNC's resolver calls, too, as soon as the object
# is relocated. NAME: no caller has the names of another. `absent` is nowhere.
CALLER = SLOTS + r"""
int f(int), chosen(int), v_old(int), v(int), replaced(int), uncalled(int), absent(int);
int missing(int) __attribute__((weak));
__asm__(".symver v_old,v@V1\n.symver v,v@V2");
static int seven(int n) { return n + 7; }
static int (*choose(void))(int) { return f(0) == 1 ? seven : NULL; }
static int own(int) __attribute__((ifunc("choose")));
int NAME_work(int what);
int NAME_work(int what)
{
    int n = 0;
    if (what < 0)
        return uncalled(1) + ABSENT;
    for (int i = 0; i < 3; i++)
        n = chosen(f(n)) + v_old(0) + v(0) + own(0) + replaced(0) + (missing ? missing(1) : 0);
    printf("NAME\n");
    slots("f"), slots("chosen"), slots("v"), slots("replaced"), slots("uncalled"), slots(NULL);
    return n;
}
"""
EACH = 3 * (11 + 100 + 200 + 7) # what a caller comes to

# An auditor that wants to see each call.
WATCHER = r"""
#define _GNU_SOURCE
#include <link.h>
#include <string.h>
#include <unistd.h>
unsigned la_version(unsigned v) { return v; }
unsigned la_objopen(struct link_map *m, Lmid_t l, uintptr_t *c) { return LA_FLG_BINDTO | LA_FLG_BINDFROM; }
uintptr_t la_symbind64(ElfW(Sym) *s, unsigned n, uintptr_t *r, uintptr_t *d, unsigned *flags, const char *name) { return s->st_value; }
ElfW(Addr) la_x86_64_gnu_pltenter(ElfW(Sym) *s, unsigned n, uintptr_t *r, uintptr_t *d, La_x86_64_regs *regs,
                                  unsigned *flags, const char *name, long *size)
{
    if (!strcmp(name, "f"))
        write(2, "called: f\n", 10);
    return s->st_value;
}
"""


class Bound(Loader):
    def functions(self):
        self.write("sw/f.map", MAP)
        return self.library("lib/libf.so", FUNCTIONS, "-Wl,--version-script," + self.at("f.map"))

    def caller(self, name, absent=True):
        return CALLER.replace("NAME", name).replace("ABSENT", "absent(1)" if absent else "0")

    def callers(self):
        """Libraries that are linked lazily, eagerly, and lazily with nothing protected."""
        return [self.library("lib/lib%s.so" % name, self.caller(name, name != "now"), "-L" + self.at("lib"), "-lf",
                             "-Wl,%s,-rpath,$ORIGIN" % how)
                for name, how in (("lazy", "-z,lazy,-z,relro"), ("now", "-z,now,-z,relro"), ("bare", "-z,lazy,-z,norelro"))]

    def program(self, *flags):
        """One that calls by itself, and lets all of these call."""
        text = self.caller("own", False) + "int lazy_work(int), now_work(int), bare_work(int);\nint main(void)\n{\n" \
            "    int n = own_work(1);\n    n += lazy_work(1) + now_work(1) + bare_work(1);\n    printf(\"%d\\n\", n);\n" \
            "    return 0;\n}\n"
        return self.compile("bin/p", text, "-L" + self.at("lib"), "-llazy", "-lnow", "-lbare", "-lf",
                            "-Wl,--unresolved-symbols=ignore-in-shared-libs,-rpath,$ORIGIN/../lib", *flags)

    def test_objects_of_each_kind(self):
        """Slots, the dynamic section and what can be written to are as natively, of IFUNCs, of two versions of a name,
        of what is never called and what is nowhere."""
        self.functions()
        self.callers()
        called = "f: bound\nchosen: bound\nv: bound\nv: bound\nreplaced: bound\nuncalled: "
        for flags, lazy in ((("-Wl,-z,lazy,-z,relro",), 3), (("-Wl,-z,lazy,-z,norelro",), 3),
                            (("-Wl,-z,lazy,-z,relro", "-fno-pic", "-no-pie"), 3), (("-Wl,-z,now,-z,relro",), 2),
                            (("-Wl,-z,now,-z,relro", "-fno-pic", "-no-pie"), 2)):
            said = self.record_and_compare(self.program(*flags))
            self.assertEqual((said.count(called + "not bound\n"), said.count(called + "bound\n")), (lazy, 4 - lazy), said)
            self.assertEqual(said.splitlines()[-1], str(4 * EACH), flags)
            self.assertEqual(said.count("its slots r--p\n"), 4 - lazy)

    def test_however_it_is_run(self):
        """While recording, without auditing, with all bound at the start, with a profile, and with another's functions."""
        self.functions()
        self.callers()
        program = self.program("-Wl,-z,lazy")
        other = self.library("../other.so", "int replaced(int n);\nint replaced(int n) { return n + 1000; }\n")
        d = self.staged(program)
        native = self.run_command([program], env=self.env).stdout
        recorded = self.dlcache("record", "-o", self.path("again.json"), "--", program, env=self.env)
        self.assertEqual(recorded.stdout, native)
        profiled = {"LD_PROFILE": "libf.so", "LD_PROFILE_OUTPUT": self.tmp}
        said = {}
        for name, env in (("", {}), ("off", {"DLCACHE_AUDIT": "off"}), ("now", {"LD_BIND_NOW": "1"}), ("not", {"LD_BIND_NOT": "1"}),
                          ("profile", profiled), ("other", {"LD_PRELOAD": other})):
            env = dict(self.env, **env)
            argv = [self.at("bin/p")] if name != "now" else [self.compile("bin/q", self.caller("own", False) + "int main(void)\n"
                                                                          "{ return own_work(1) != %d; }\n" % EACH,
                                                                          "-L" + self.at("lib"), "-lf", "-Wl,-z,lazy,-rpath,"
                                                                          "$ORIGIN/../lib")]
            said[name] = self.run_command(argv, env=env).stdout
            self.assertEqual(self.run_command([d + "/run", *argv], env=env).stdout, said[name], name)
        self.assertEqual(said[""], native)
        self.assertIn("uncalled: bound", said["now"])
        self.assertEqual(said["not"].count(": not bound"), 3 * 6)
        self.assertEqual(said["other"].splitlines()[-1], str(4 * (EACH + 3000)))

    def test_what_is_nowhere(self):
        """An object that is linked with -z now is not loaded then; any other is, until it calls it."""
        self.functions()
        flags = ["-L" + self.at("lib"), "-lf", "-Wl,-rpath,$ORIGIN"]
        steps = []
        for name in ("lazy", "now"):
            lib = self.library("lib/lib%s.so" % name, self.caller(name), *flags, "-Wl,-z," + name)
            for mode in ("now", "lazy"):
                steps += ["flags=" + mode, "open=" + lib, "list"]
        said = self.record_and_compare(self.loaded(), *steps)
        self.assertEqual(said.count("undefined symbol: absent"), 3, said)

    def test_objects_come_and_go(self):
        """Callers are opened in each way, call, are closed and come again; what they call stays as long as they do."""
        functions = self.functions()
        callers = self.callers()
        program = self.compile("bin/p", SLOTS + r"""
static void gone(const char *path)
{
    void *h = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    printf("%s\n", h ? "there" : "gone");
    if (h)
        dlclose(h);
}
int main(int c, char **v)
{
    static const int modes[] = {RTLD_LAZY, RTLD_LAZY | RTLD_DEEPBIND, RTLD_LAZY | RTLD_GLOBAL, RTLD_LAZY};
    for (int i = 0; i < 4; i++)
        for (int k = 2; k + 1 < c; k += 2) {
            void *h = dlopen(v[k], modes[i]);
            int (*work)(int) = h ? (int (*)(int))dlsym(h, v[k + 1]) : NULL;
            if (!work) { puts(dlerror()); return 1; }
            printf("%d\n", work(0));
            dlclose(h);
            gone(v[k]), gone(v[1]);
        }
    /* What was bound in the global scope stays, though who opened it closes it. */
    void *lender = dlopen(v[1], RTLD_LAZY | RTLD_GLOBAL), *h = dlopen(v[c - 1], RTLD_LAZY);
    int (*borrow)(int) = h ? (int (*)(int))dlsym(h, "borrow") : NULL;
    if (!borrow) { puts(dlerror()); return 1; }
    printf("%d\n", borrow(1));
    dlclose(lender);
    gone(v[1]);
    printf("%d %d\n", borrow(2), borrow(3));
    dlclose(h);
    gone(v[1]);
    return 0;
}
""", "-Wl,-z,lazy")
        borrower = self.library("lib/borrower.so", "int f(int);\nint borrow(int);\nint borrow(int n) { return f(n); }\n", "-Wl,-z,lazy")
        argv = [program, functions]
        for path, name in zip(callers, ("lazy", "now", "bare")):
            argv += [path, name + "_work"]
        said = self.record_and_compare(*argv, borrower)
        self.assertEqual(said.count("\n%d\ngone\ngone\n" % EACH), 12, said)
        self.assertTrue(said.endswith("2\nthere\n3 4\ngone\n"), said)

    def test_threads(self):
        """They begin to call out of the same objects, and into them, at once."""
        names = ["g%d" % i for i in range(200)]
        self.library("lib/libg.so", "".join("int %s(int n);\nint %s(int n) { return n + %d; }\n" % (n, n, i)
                                            for i, n in enumerate(names)))
        for how in ("lazy", "now"):
            cases = "".join("        case %d: n = %s(n) & 0xffffff; break;\n" % (i, n) for i, n in enumerate(names))
            self.library("lib/lib%s.so" % how, "int %s(int);\nint all_%s(int n, int by);\nint all_%s(int n, int by)\n{\n"
                         "    for (int i = 0; i < 200; i++)\n        switch ((i * by + n) %% 200) {\n%s        }\n    return n;\n}\n" %
                         ("(int), ".join(names), how, how, cases), "-L" + self.at("lib"), "-lg",
                         "-Wl,-z,%s,-z,relro,-rpath,$ORIGIN" % how)
        program = self.compile("bin/p", r"""
#include <pthread.h>
#include <stdio.h>
int all_lazy(int, int), all_now(int, int);
static pthread_barrier_t barrier;
static long sums[16];
static void *work(void *at)
{
    const int i = (int)((long *)at - sums);
    pthread_barrier_wait(&barrier);
    for (int k = 0; k < 3; k++)
        *(long *)at += all_lazy(i * 12, 1 + i % 4 * 2) + 7L * all_now(i * 11, 3 + i % 3 * 4);
    return NULL;
}
int main(void)
{
    pthread_t threads[16];
    long sum = 0;
    pthread_barrier_init(&barrier, NULL, 16);
    for (int i = 0; i < 16; i++)
        pthread_create(&threads[i], NULL, work, &sums[i]);
    for (int i = 0; i < 16; i++)
        pthread_join(threads[i], NULL), sum = sum * 31 + sums[i];
    printf("%ld\n", sum);
    return 0;
}
""", "-L" + self.at("lib"), "-llazy", "-lnow", "-lg", "-Wl,-z,now,-rpath,$ORIGIN/../lib")
        d = self.staged(program)
        native = self.run_command([program], env=self.env).stdout
        for _ in range(30):
            self.assertEqual(self.run_command([d + "/run", program], env=self.env).stdout, native)

    @unittest.skipUnless(platform.machine() == "x86_64", "the flag is x86-64's")
    def test_descriptors_of_thread_local_storage(self):
        """TLSDESC relocations are among those of calls, and ld.so does them lazily as well."""
        text = "#include <stdio.h>\n#include <pthread.h>\n__thread int NAME_n = 5;\nextern __thread int other_n;\nint NAME(void);\n" \
            "int NAME(void) { return NAME_n++ * 100 + other_n++ + (getchar() == 7); }\n"
        self.library("lib/libother.so", "__thread int other_n = 3;\n")
        libs = [self.library("lib/lib%s.so" % name, text.replace("NAME", name), "-mtls-dialect=gnu2", "-L" + self.at("lib"), "-lother",
                             "-Wl,-z,%s,-rpath,$ORIGIN" % name) for name in ("lazy", "now")]
        self.assertEqual(sum("R_X86_64_TLSDESC" in self.run_command(["readelf", "-rW", lib]).stdout for lib in libs), 2)
        steps = []
        for lib, name in zip(libs, ("lazy", "now")):
            steps += ["open=" + lib, "call=" + name, "thread=" + name, "call=" + name, "close"]
        said = self.record_and_compare(self.loaded(), "flags=lazy", *steps, *steps)
        self.assertIn("604", said)
        program = self.compile("bin/p", "#include <stdio.h>\nint lazy(void), now(void);\nint main(void)\n"
                               "{ int n = lazy(); printf(\"%d %d\\n\", n, now()); }\n", "-L" + self.at("lib"), "-llazy", "-lnow",
                               "-Wl,-rpath,$ORIGIN/../lib", "-Wl,-rpath-link," + self.at("lib"))
        self.assertEqual(self.record_and_compare(program), "503 504\n")

    def test_an_odd_object(self):
        """One whose relocations of calls do not follow on the others: its calls stay slow before 2.35, and work."""
        self.functions()
        lib = self.callers()[1]
        with open(lib, "r+b") as f:
            data = bytearray(f.read())
            sections = self.run_command(["readelf", "-SW", lib]).stdout
            at, size = (int(x, 16) for x in next(line for line in sections.splitlines() if " .dynamic " in line).split("DYNAMIC")[1].split()[1:3])
            for i in range(at, at + size, 16):
                tag, value = struct.unpack_from("<QQ", data, i)
                if tag == 8: # DT_RELASZ: without the last, of a weak symbol
                    struct.pack_into("<QQ", data, i, tag, value - 24)
            f.seek(0)
            f.write(data)
        program = self.program("-Wl,-z,now")
        native = self.run_command([program], env=self.env).stdout
        d = self.staged(program)
        said = self.run_command([d + "/run", program], env=self.env).stdout
        if glibc() < (2, 35):
            head, tail = said.split("now\n", 1)
            self.assertTrue(tail.startswith("f: bound\nchosen: not bound\n"), tail) # the resolver's call is of another kind
            said = head + "now\n" + tail.replace("not bound", "bound", 5)
        self.assertEqual(said, native)

    @unittest.skipUnless(platform.machine() == "x86_64", "the other auditor is written for x86-64")
    def test_another_auditor_sees_each_call(self):
        self.library("lib/libf.so", "int f(int n);\nint f(int n) { return n + 1; }\n")
        text = "#include <stdio.h>\nint f(int);\nint main(void)\n{\n    int n = 0;\n    for (int i = 0; i < 7; i++) n = f(n);\n" \
            "    printf(\"%d\\n\", n);\n    return 0;\n}\n"
        watcher = self.compile("../watcher.so", WATCHER, "-shared")
        flags = ["-L" + self.at("lib"), "-lf", "-Wl,-z,lazy,-rpath,$ORIGIN/../lib"]
        program = self.compile("bin/p", text, *flags)
        watched = self.compile("bin/watched", text, *flags, "-Wl,--audit," + watcher)
        d = self.staged("sh", "-c", program + ";" + watched)
        for argv, env in (([program], dict(self.env, LD_AUDIT=watcher)), ([watched], self.env)):
            native = self.run_command(argv, env=env)
            self.assertIn(native.stderr.count("called: f\n"), (7,) if glibc() >= (2, 32) or argv == [program] else (0, 7))
            for by in ([d + "/run"], [DLCACHE, "record", "-o", self.path("x.json"), "--"]):
                result = self.run_command(by + argv, env=env)
                self.assertEqual((result.stdout, result.stderr.count("called: f\n")),
                                 (native.stdout, native.stderr.count("called: f\n")), by + argv)
