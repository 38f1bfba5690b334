"""What programs, compilers' runtimes, debuggers and other libraries in the process see of objects that come from a stage:
what they see natively."""
import os
import re
import signal

from harness import BUILD, PYTHON, environment, glibc
from loader import Loader

SUPPRESSIONS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                            "libdlcache/dlcache.supp")


class Told(Loader):
    """Through the loader's own calls."""

    def test_flags_and_lives(self):
        text = r"""
#include <stdio.h>
static int count = 40;
__attribute__((constructor)) static void start(void) { printf("begins with %d\n", count); }
__attribute__((destructor)) static void end(void) { printf("ends with %d\n", count); }
int more(void);
int more(void) { return ++count; }
"""
        one = self.library("lib/one.so", text)
        kept = self.library("lib/kept.so", text, "-Wl,-z,nodelete")
        self.library("lib/libbelow.so", text.replace("more", "below"))
        two = self.library("lib/two.so", "int below(void);\nint two(void);\nint two(void) { return 100 + below(); }\n",
                           "-L" + self.at("lib"), "-lbelow", "-Wl,-rpath,$ORIGIN")
        both = ["call=more", "call=more", "close", "list"]
        steps = ["flags=now,noload", "open=" + one, "flags=lazy,local", "open=" + one, *both, "open=" + one, *both,
                 "flags=now,noload", "open=" + one, "open=" + two, "flags=now,global", "open=" + two, "call=two", "list",
                 "flags=now,noload,global", "open=" + two, "open=" + self.at("lib/libbelow.so"), "call=below", "close",
                 "list", "flags=now", "open=" + one, "flags=now,nodelete", "open=" + one, "call=more", "close", "open=" + one, "call=more", "list",
                 "flags=now", "open=" + kept, *both, "open=" + kept, *both, "open=" + self.at("bin/loaded"), "open=", "call=more", "list"]
        said = self.record_and_compare(self.loaded(), *steps)
        self.assertEqual(said.count("begins with 40\n"), 5, said)

    def test_names_that_are_looked_up_elsewhere(self):
        """RTLD_DEEPBIND, and symbol versions: each finds its own."""
        self.write("sw/old.map", "V1 { global: v; local: *; };\n")
        self.write("sw/new.map", "V1 { global: v; local: *; };\nV2 { global: v; } V1;\n")
        self.library("lib/old/libv.so.1", "int v(void); int v(void) { return 1; }\n",
                     "-Wl,--version-script," + self.at("old.map"), soname="libv.so.1")
        os.symlink("libv.so.1", self.at("lib/old/libv.so"))
        self.library("lib/libv.so.1", "int v1(void), v2(void);\n__asm__(\".symver v1,v@V1\\n.symver v2,v@@V2\");\n"
                     "int v1(void) { return 10; }\nint v2(void) { return 20; }\n",
                     "-Wl,--version-script," + self.at("new.map"), soname="libv.so.1")
        os.symlink("libv.so.1", self.at("lib/libv.so"))
        for name in ("old", "new"):
            self.library("lib/libuser%s.so" % name, "int v(void);\nint user_%s(void);\nint user_%s(void) { return v(); }\n" %
                         (name, name), "-L" + self.at("lib/old" if name == "old" else "lib"), "-lv", "-Wl,-rpath,$ORIGIN")
        self.library("lib/deep.so", "int getppid(void) { return 77; }\nint deep(void);\nint deep(void) { return getppid(); }\n",
                     "-fsemantic-interposition")
        steps = ["open=" + self.at("lib/libuserold.so"), "call=user_old", "open=" + self.at("lib/libusernew.so"),
                 "call=user_new", "flags=now,local,deepbind", "open=" + self.at("lib/deep.so"), "call=deep", "list"]
        said = self.record_and_compare(self.loaded(), *steps, env=dict(self.env, LD_BIND_NOW="1"))
        self.assertEqual(re.findall(r"call \w+: (\d+)", said), ["10", "20", "77"])

    def audited_in_vain(self, *argv):
        """Before 2.35 (or a vendor's correction) glibc itself crashes where a program opens a name space under an auditor."""
        died = self.run_command(argv, env=self.by_an_auditor(), status=None).returncode
        self.assertIn(died, (0, -signal.SIGSEGV) if glibc() < (2, 35) else (0,))
        return died != 0

    def test_name_spaces(self):
        self.library("lib/libbelow.so", "static int n; int below(void);\nint below(void) { return ++n; }\n")
        own = self.library("lib/own.so", "int below(void);\nint own(void);\nint own(void) { return below(); }\n",
                           "-L" + self.at("lib"), "-lbelow", "-Wl,-rpath,$ORIGIN")
        steps = ["open=" + own, "call=own", "call=own", "new=" + own, "call=own", "info", "where=own", "new=" + own,
                 "call=own", "info", "close", "list", "new=libm.so.6", "where=floor", "info"]
        argv = [self.loaded(), *steps]
        vain = self.audited_in_vain(*argv)
        env = dict(self.env, DLCACHE_AUDIT="off") if vain else self.env
        # The index does not answer there, but nothing else is different.
        d = self.staged(*argv, env=env)
        said = self.same(d, *argv, env=env, most=1000)
        if vain:
            self.run_command([d + "/run", *argv], env=self.env, status=-signal.SIGSEGV)
        self.assertEqual(re.findall(r"call own: (\d+)", said), ["1", "2", "1", "1"])

    def test_the_base_name_space_by_its_number(self):
        """dlmopen there is dlopen: by whatever names, an object comes in once; a caller's own RUNPATH holds."""
        for n in "ab":
            self.library("lib/lib%s.so" % n, "int n = 100;\n")
        self.library("lib/libcaller.so", "#define _GNU_SOURCE\n#include <dlfcn.h>\nvoid *by(Lmid_t l, const char *n)\n"
                     "{ void *volatile h = dlmopen(l, n, RTLD_NOW); return h; }\n", "-Wl,--enable-new-dtags,-rpath,$ORIGIN")
        program = self.compile("bin/p", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <link.h>\n#include <stdio.h>\n"
                               "void *by(Lmid_t l, const char *n);\n"
                               "static void tell(void *h)\n{\n    struct link_map *m;\n    if (!h) { puts(dlerror()); return; }\n"
                               "    dlinfo(h, RTLD_DI_LINKMAP, &m);\n"
                               "    printf(\"%s %d\\n\", m->l_name, (*(int *)dlsym(h, \"n\"))++);\n}\n"
                               "int main(int c, char **v)\n{\n    for (int i = 1; i < c; i++) {\n"
                               "        tell(i & 1 ? dlmopen(LM_ID_BASE, v[i], RTLD_NOW) : dlopen(v[i], RTLD_NOW));\n"
                               "        tell(by(LM_ID_BASE, v[i]));\n    }\n    if (c > 10) tell(by(LM_ID_NEWLM, \"libb.so\"));\n"
                               "    return 0;\n}\n",
                               "-L" + self.at("lib"), "-lcaller", "-Wl,--enable-new-dtags,-rpath," + self.at("lib/."))
        a, b, other = self.at("lib/liba.so"), self.at("lib/libb.so"), self.at("lib/../lib/")
        argv = [program, a, other + "liba.so", b, b, other + "libb.so", "libb.so", self.at("lib/none"), "liba.so", "$ORIGIN/liba.so"]
        argv += [] if self.audited_in_vain(*argv, b) else [b] # one in a name space of its own, too
        said = self.same(self.staged(*argv), *argv, least=4, most=1)
        self.assertEqual(said.count("/liba.so 100\n"), 1)

    def test_calls_are_bound_once(self):
        """The second call of a function goes there directly, as natively; before 2.35 glibc keeps each from that under another
        auditor (of objects of all kinds: test_loader_bound.py)."""
        self.library("lib/libf.so", "int f(int n);\nint f(int n) { return n + 1; }\n")
        program = self.compile("bin/p", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\nint f(int);\n"
                               "extern void *_GLOBAL_OFFSET_TABLE_[] __attribute__((visibility(\"hidden\")));\n"
                               "int main(void)\n{\n    int bound = 0, n = f(f(0));\n    void *at = dlsym(RTLD_DEFAULT, \"f\");\n"
                               "    for (int i = 3; i < 6; i++) bound += _GLOBAL_OFFSET_TABLE_[i] == at;\n"
                               "    printf(\"%d %d\\n\", n, bound);\n    return 0;\n}\n",
                               "-L" + self.at("lib"), "-lf", "-Wl,-z,lazy,-rpath,$ORIGIN/../lib")
        d = self.staged(program)
        self.assertEqual(self.run_command([program], env=self.env).stdout, "2 1\n")
        audited = self.run_command([program], env=self.by_an_auditor()).stdout
        self.assertIn(audited, ("2 1\n", "2 0\n") if glibc() < (2, 35) else ("2 1\n",))
        for env in ({}, {"LD_BIND_NOW": "1"}, {"DLCACHE_AUDIT": "off"}):
            self.assertEqual(self.run_command([d + "/run", program], env=dict(self.env, **env)).stdout, "2 1\n", env)

    def test_functions_chosen_at_run_time(self):
        text = "static int a(void) { return 1234; }\nstatic int (*choose(void))(void) { return a; }\n" \
               "int chosen(void) __attribute__((ifunc(\"choose\")));\nint via(void);\nint via(void) { return chosen(); }\n"
        lib = self.library("lib/libchosen.so", text)
        self.record_and_compare(self.loaded(), "open=" + lib, "call=chosen", "call=via", "info")
        program = self.compile("bin/program", "int chosen(void);\n#include <stdio.h>\nint main(void) { return printf(\"%d\\n\", "
                               "chosen()) != 5; }\n", "-L" + self.at("lib"), "-lchosen", "-Wl,-rpath,$ORIGIN/../lib",
                               "-Wl,-z,now")
        self.assertEqual(self.record_and_compare(program, least=2), "1234\n")

    def test_thread_local_storage(self):
        """Of all models, in what is linked (4 KiB of the initial one, as jemalloc has) and what is loaded later."""
        head = "#include <pthread.h>\n#include <stdio.h>\n"
        self.library("lib/libs20.so", "static __thread char t[4096] = {20};\nint s20(void);\nint s20(void) { return t[0]; }\n",
                     "-ftls-model=initial-exec")
        for n in range(20):
            self.library("lib/libs%d.so" % n, "static __thread int t = %d;\nint s%d(void);\nint s%d(void) { return t++; }\n" %
                         (n, n, n), "-ftls-model=initial-exec")
        big = self.library("lib/big.so", "static __thread char t[1200] = {7};\nint big(void);\nint big(void) { return t[0]++; }\n",
                           "-ftls-model=initial-exec")
        general = self.library("lib/general.so", head + "__thread int shared = 5; static pthread_key_t key;\n"
                               "static void gone(void *p) { printf(\"gone: %d\\n\", *(int *)p); }\n"
                               "__attribute__((constructor)) static void start(void) { pthread_key_create(&key, gone); }\n"
                               "int general(void);\nint general(void) { pthread_setspecific(key, &shared); return shared++; }\n",
                               "-ftls-model=global-dynamic", "-Wl,-z,nodelete")
        program = self.compile("bin/program", "#include <stdio.h>\n%sint main(void) { printf(\"%%d\\n\", %s); }\n" %
                               ("".join("int s%d(void);\n" % n for n in range(21)), " + ".join("s%d()" % n for n in range(21))),
                               "-L" + self.at("lib"), *("-ls%d" % n for n in range(21)), "-Wl,-rpath,$ORIGIN/../lib")
        self.assertEqual(self.record_and_compare(program, least=20), "210\n")
        steps = [step for n in range(20) for step in ("open=" + self.at("lib/libs%d.so" % n), "call=s%d" % n, "thread=s%d" % n)]
        steps += ["open=" + general, "call=general", "call=general", "thread=general", "thread=general", "list"]
        said = self.record_and_compare(self.loaded(), "open=" + big, "call=big", "call=big", "thread=big", *steps)
        self.assertEqual(re.findall(r"call (?:big|general): (\d+)", said), ["7", "8", "7", "5", "6", "5", "5"])
        self.assertEqual(said.count("gone: 6\n"), 2)

    def test_static_tls_of_what_is_not_staged(self):
        """More than there is by itself, in libraries outside of the stage: the program is started once more for each."""
        flags = ["-ftls-model=initial-exec"]
        self.library("../out/liba.so", "static __thread char block[400000]; char *a(void) { return block; }\n", *flags)
        self.library("../out/libb.so", "static __thread char block[30000]; char *b(void) { return block; }\n", *flags)
        program = self.compile("bin/p", "#include <stdio.h>\n#include <sys/auxv.h>\nchar *a(void), *b(void);\n"
                               "int main(int c, char **v)\n{\n    char comm[32];\n    a()[399999] = b()[29999] = 1;\n"
                               "    FILE *f = fopen(\"/proc/self/comm\", \"r\");\n"
                               "    fgets(comm, sizeof comm, f);\n    for (int i = 0; i < c; i++) printf(\"%s|\", v[i]);\n"
                               "    printf(\"%s %s\", (char *)getauxval(AT_EXECFN), comm);\n    return 0;\n}\n",
                               "-L" + self.path("out"), "-la", "-lb", "-Wl,-rpath," + self.path("out"))
        script = self.write("sw/bin/script", "#!%s -x y\n" % program, mode=0o755)
        outside = self.write("out/script", "#!%s\n" % program, mode=0o755)
        d = self.staged("sh", "-c", "'%s'; '%s'" % (program, script))
        for argv in ([program, "an argument"], [script, "b"], [outside, "c"], ["sh", "-c", "PATH=%s p; :" % self.at("bin")]):
            native, lines = self.strace([d + "/run", *argv], env=dict(self.env, GLIBC_TUNABLES="glibc.malloc.check=0"))
            self.assertEqual(native.stdout, self.run_command(argv, env=self.env).stdout)
            begun = [line.split('"')[1] for line in lines if line.startswith("execve(") and line.endswith(" = 0")]
            self.assertEqual(len([path for path in begun if path in (outside, d + "/root" + program, program)]), 3, begun)

    def test_forks_and_threads_in_constructors(self):
        text = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
static void *run(void *x) { return (char *)x + 1; }
__attribute__((constructor)) static void start(void)
{
    int status = 0;
    void *result = 0;
    pthread_t t;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) _exit(access("/", R_OK) == 0 ? 7 : 8);
    waitpid(pid, &status, 0);
    if (pthread_create(&t, 0, run, 0) == 0) pthread_join(t, &result);
    printf("child %d, thread %d\n", WEXITSTATUS(status), (int)(long)result);
}
int f(void);
int f(void) { return 1; }
"""
        lib = self.library("lib/libf.so", text)
        self.record_and_compare(self.loaded(), "open=" + lib, "call=f")
        program = self.compile("bin/program", "int f(void);\nint main(void) { return f() - 1; }\n", "-L" + self.at("lib"), "-lf",
                               "-Wl,-rpath," + self.at("lib"))
        self.assertEqual(self.record_and_compare(program, least=2), "child 7, thread 1\n")

    def test_death_while_loading(self):
        for name, death in (("kill", "kill(getpid(), SIGKILL)"), ("abort", "abort()"), ("exit", "_exit(0)"),
                            ("segv", "*(volatile int *)8 = 1")):
            self.library("lib/%s.so" % name, "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
                         "__attribute__((constructor)) static void start(void) { %s; }\n" % death)
        loaded = self.loaded()
        for name, status in (("kill", signal.SIGKILL), ("abort", signal.SIGABRT), ("exit", 0), ("segv", signal.SIGSEGV)):
            argv = [loaded, "open=" + self.at("lib/%s.so" % name)]
            d = self.staged(*argv, status=128 + status if status else 0)
            native = self.run_command(argv, status=-status, env=self.env)
            served = self.run_command([d + "/run", *argv], status=-status, env=self.env)
            self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))

    def test_another_environment_and_again(self):
        for n in ("one", "two"):
            self.library("lib/%s/libx.so" % n, "int x(void); int x(void) { return %d; }\n" % len(self.at("lib", n)))
        first, second = self.at("lib/one"), self.at("lib/two/")
        loaded = self.loaded()
        steps = ["open=libx.so", "again=LD_LIBRARY_PATH=%s:%s" % (second, first), "open=libx.so", "where=x", "info",
                 "again=DIR=x", "open=libx.so", "where=x", "list"]
        d = self.staged(loaded, *steps, env=dict(self.env, LD_LIBRARY_PATH=first))
        said = self.same(d, loaded, *steps, env=dict(self.env, LD_LIBRARY_PATH=first))
        self.assertEqual(len(re.findall("open .*/lib/two/libx.so\n", said)), 2, said)
        steps = ["open=" + first + "/libx.so", "bare", "open=libx.so", "open=" + first + "/libx.so", "info", "list"]
        # Without any variable it is not attached: one open, and what ld.so asks of what is open.
        self.same(d, loaded, *steps, env=dict(self.env, LD_LIBRARY_PATH=first), most=2)

    def test_debugging_output_of_the_loader(self):
        lib = self.library("lib/libx.so", "int x(void); int x(void) { return 1; }\n")
        argv = [self.loaded(), "open=libx.so", "call=x"]
        env = dict(self.env, LD_LIBRARY_PATH=self.at("lib"))
        d = self.staged(*argv, env=env)
        served = self.run_command([d + "/run", *argv], env=dict(env, LD_DEBUG="libs,files"))
        self.assertIn("call x: 1\n", served.stdout)
        self.assertIn("calling init: %s\n" % lib, served.stderr)
        # It looks whether an auditor has all that an auditor may have.
        self.assertEqual({m for m in re.findall("undefined symbol: (\\w+)", served.stderr) if not m.startswith("la_")}, set())


class Watched(Loader):
    """By a debugger, by valgrind, by another auditor, beside other preloaded libraries."""

    def linked(self):
        self.library("lib/libx.so", "#include <stdlib.h>\n#include <string.h>\nint x(int n);\nint x(int n)\n{\n"
                     "    char *p = strdup(\"text\");\n    n += p[0] == 't';\n    free(p);\n    return n; /* here */\n}\n")
        self.library("lib/plugin.so", "int x(int);\nint plugin(int n);\nint plugin(int n) { return x(n) + 1; }\n",
                     "-L" + self.at("lib"), "-lx", "-Wl,-rpath,$ORIGIN")
        return self.compile("bin/program", "#include <dlfcn.h>\n#include <stdio.h>\n#include <sys/stat.h>\nint x(int);\n"
                            "int main(int c, char **a)\n{\n    struct stat st;\n    (void)c;\n"
                            "    if (stat(a[1], &st)) return 1;\n    FILE *f = fopen(a[1], \"r\");\n    if (f) fclose(f);\n"
                            "    void *h = dlopen(a[1], RTLD_NOW);\n"
                            "    printf(\"%d %d\\n\", x(1), ((int (*)(int))dlsym(h, \"plugin\"))(4));\n    dlclose(h);\n"
                            "    return 3;\n}\n", "-L" + self.at("lib"), "-lx", "-Wl,-rpath,$ORIGIN/../lib")

    def test_gdb(self):
        argv = [self.linked(), self.at("lib/plugin.so")]
        d = self.staged(*argv, status=3)
        commands = ["set breakpoint pending on", "set pagination off", "break lib-libx.so.c:9", "run", "bt", "info sharedlibrary",
                    "continue", "bt", "info symbol plugin", "info sharedlibrary", "finish", "delete", "continue"]
        gdb = ["gdb", "-nx", "-batch", *(w for c in commands for w in ("-ex", c))]
        env = self.dlcache("env", "--stage", d, "--export", env=self.env).stdout.strip()
        native = self.run_command([*gdb, "--args", *argv], env=self.env)
        served = self.run_command([*gdb[:3], *(w for e in env.split(",") for w in ("-ex", "set environment " +
                                  e.replace("=", " = ", 1))), *gdb[3:], "--args", *argv], env=self.env)
        def cleaned(text):
            lines = [re.sub(r"0x[0-9a-f]+|process \d+", "#", line) for line in text.split("\n") if "libdlcache" not in line]
            return "\n".join(re.sub(r"\s+", " ", line) for line in lines)
        self.assertEqual(cleaned(served.stdout), cleaned(native.stdout))
        self.assertEqual(len(re.findall(r"#0  x \(n=", served.stdout)), 2, served.stdout)
        self.assertIn("%s\n" % self.at("bin/../lib/libx.so"), served.stdout)
        self.assertIn("exited with code 03", served.stdout)

    def test_valgrind(self):
        argv = [self.linked(), self.at("lib/plugin.so")]
        starts = self.compile("bin/starts", "#include <spawn.h>\n#include <sys/wait.h>\n#include <unistd.h>\n"
                              "extern char **environ;\nint main(void)\n{\n    char *argv[] = {\"true\", 0};\n    pid_t p = fork();\n"
                              "    if (p == 0) execv(\"/bin/true\", argv);\n    wait(0);\n"
                              "    posix_spawn(&p, \"/bin/true\", 0, 0, argv, environ);\n    wait(0);\n    return 3;\n}\n")
        d = self.staged(*argv, status=3)
        valgrind = ["valgrind", "-q", "--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all",
                    "--error-exitcode=99", "--suppressions=" + SUPPRESSIONS]
        env = dict(self.env, **dict(e.split("=", 1) for e in
                   self.dlcache("env", "--stage", d, "--export", env=self.env).stdout.strip().split(",")))
        for argv in (argv, [starts]):
            native = self.run_command([*valgrind, *argv], env=self.env, status=3)
            served = self.run_command([*valgrind, *argv], env=env, status=3)
            # A path that is first looked at: whether its page can be read is asked with a call that valgrind wonders about.
            wondering = re.sub(r"--\d+-- sigprocmask: unknown 'how' field -1\n", "", served.stderr)
            self.assertEqual((served.stdout, wondering), (native.stdout, native.stderr))

    def test_another_auditor(self):
        auditor = self.compile("../auditor.so", "#define _GNU_SOURCE\n#include <link.h>\n#include <stdio.h>\n#include <string.h>\n"
                               "unsigned la_version(unsigned v) { return v < LAV_CURRENT ? v : LAV_CURRENT; }\n"
                               "unsigned la_objopen(struct link_map *m, Lmid_t l, uintptr_t *c)\n{\n"
                               "    if (!strstr(m->l_name, \"libdlcache\")) dprintf(2, \"open %s %ld\\n\", m->l_name, (long)l);\n"
                               "    (void)c;\n    return 0;\n}\n"
                               "char *la_objsearch(const char *n, uintptr_t *c, unsigned f)\n{\n    (void)c;\n"
                               "    if (f == LA_SER_ORIG && !strstr(n, \"libdlcache\"))\n"
                               "        dprintf(2, \"search %s\\n\", strrchr(n, '/') ? strrchr(n, '/') : n);\n"
                               "    return (char *)n;\n}\n", "-shared")
        argv = [self.linked(), self.at("lib/plugin.so")]
        d = self.staged(*argv, status=3)
        # Ours comes first: the name of what is loaded is right by then. What it answers, the next one is asked for.
        said = self.same(d, *argv, status=3, env=dict(self.env, LD_AUDIT=auditor), least=3,
                         cleaned=lambda text: re.sub("search /?", "search ", text))
        self.assertEqual(said, "2 6\n")

    def test_other_preloaded_libraries(self):
        counter = self.compile("../counter.so", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n"
                               "#include <sys/stat.h>\n#include <fcntl.h>\nstatic int n;\n"
                               "int stat(const char *p, struct stat *s)\n{\n    n++;\n"
                               "    return ((int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, \"stat\"))(p, s);\n}\n"
                               "int puts(const char *s) { n += 100; return s[0]; }\n"
                               "__attribute__((destructor)) static void end(void) { dprintf(2, \"counted: %d\\n\", n > 100); }\n",
                               "-shared")
        program = self.linked()
        puts = self.compile("bin/puts", "#include <stdio.h>\nint main(void) { puts(\"x\"); puts(\"y\"); return 3; }\n")
        argv = ["sh", "-c", "\"$@\"; \"$0\"", puts, program, self.at("lib/plugin.so")]
        d = self.staged(*argv, status=3)
        asan = os.path.realpath(self.run_command(["gcc", "-print-file-name=libasan.so"]).stdout.strip())
        for library in (counter, "libjemalloc.so.2", "libtcmalloc_minimal.so.4", "/usr/libexec/coreutils/libstdbuf.so", asan,
                        counter + ":libjemalloc.so.2"):
            env = dict(self.env, LD_PRELOAD=library, _STDBUF_O="0")
            self.assertNotIn("cannot be preloaded", self.run_command(["true"], env=env).stderr)
            # Before 2.32, under any auditor, ld.so takes memory from jemalloc before the C library is ready for that.
            tunables = "glibc.rtld.optional_static_tls=8000"
            died = self.run_command(["true"], env=dict(self.by_an_auditor(), LD_PRELOAD=library, GLIBC_TUNABLES=tunables),
                                    status=None).returncode
            self.assertIn(died, (0, -signal.SIGSEGV) if glibc() < (2, 32) and "jemalloc" in library else (0,))
            if died:
                self.run_command([d + "/run", "true"], env=env, status=-signal.SIGSEGV)
                env["DLCACHE_AUDIT"] = "off"
            said = self.same(d, *argv, env=env, status=3, least=4, most=1000 if died else 0)
            self.assertTrue(said.startswith("2 6\n"))


class Runtimes(Loader):
    """Of C++ and of sanitizers."""

    def test_exceptions_across_libraries(self):
        head = "#include <iostream>\n#include <stdexcept>\n#include <string>\nstruct mine : std::runtime_error " \
               "{ using std::runtime_error::runtime_error; virtual ~mine(); };\n"
        self.library("lib/libthrows.so", head + "mine::~mine() {}\nvoid throws(int n)\n{\n"
                     "    if (n == 0) throw mine(\"mine\");\n    if (n == 1) throw std::string(\"text\");\n    throw n;\n}\n",
                     compiler="g++")
        self.library("lib/plugin.so", head + "void throws(int);\nextern \"C\" int plugin(void)\n{\n    int n = 0;\n"
                     "    try { throws(0); } catch (const std::exception &e) { n = std::string(e.what()) == \"mine\"; }\n"
                     "    try { throws(1); } catch (const std::string &s) { n += 10; }\n    return n;\n}\n",
                     "-L" + self.at("lib"), "-lthrows", "-Wl,-rpath,$ORIGIN", compiler="g++")
        program = self.compile("bin/program", head + "#include <dlfcn.h>\nvoid throws(int);\nthread_local std::string "
                               "t = \"thread\";\nint main(int, char **a)\n{\n    try { throws(0); } catch (mine &e) "
                               "{ std::cout << e.what() << std::endl; }\n    try { throws(3); } catch (int n) "
                               "{ std::cout << n << t << std::endl; }\n    void *h = dlopen(a[1], RTLD_NOW);\n"
                               "    std::cout << ((int (*)(void))dlsym(h, \"plugin\"))() << std::endl;\n    dlclose(h);\n"
                               "    throws(1);\n}\n", "-L" + self.at("lib"), "-lthrows", "-Wl,-rpath,$ORIGIN/../lib",
                               compiler="g++")
        argv = [program, self.at("lib/plugin.so")]
        d = self.staged(*argv, status=128 + signal.SIGABRT)
        said = self.same(d, "sh", "-c", "\"$@\" 2>&1; echo $?", "sh", *argv, least=3)
        self.assertIn("mine\n3thread\n11\nterminate called after throwing", said)

    def sanitized(self, sanitizer, body):
        self.library("lib/libx.so", "int x(int); int x(int n) { return n + 1; }\n", "-fsanitize=" + sanitizer)
        program = self.compile("bin/" + sanitizer, "#include <limits.h>\n#include <pthread.h>\n#include <stdio.h>\n"
                               "#include <stdlib.h>\n#include <sys/stat.h>\nint x(int);\n" + body, "-fsanitize=" + sanitizer,
                               "-L" + self.at("lib"), "-lx", "-Wl,-rpath,$ORIGIN/../lib")
        def cleaned(text):
            text = re.sub(r"0x[0-9a-f]+|==\d+==|pid=\d+|\(BuildId: \w+\)|tid=\d+", "#", text.replace("running", "finished"))
            return "\n".join(line for line in text.split("\n") if "Shadow" not in line and not re.match(r"[ =>]*#", line))
        env = dict(self.env, ASAN_OPTIONS="detect_leaks=0")
        for argument in ("right", "wrong"):
            argv = [program, argument]
            native = self.run_command(argv, env=env, status=None)
            d = self.staged("sh", "-c", "\"$@\" || :", "sh", program, "right", env=env)
            served, lines = self.strace([d + "/run", *argv], env=env, status=None)
            self.assertEqual((served.returncode, cleaned(served.stdout), cleaned(served.stderr)),
                             (native.returncode, cleaned(native.stdout), cleaned(native.stderr)))
        self.assertIn("x 2\n", native.stdout)
        return native.stderr

    MAIN = "int main(int c, char **a)\n{\n    struct stat st;\n    (void)c;\n" \
           "    printf(\"x %%d\\n\", x(1)); fflush(stdout);\n    if (stat(a[0], &st)) return 1;\n" \
           "    if (a[1][0] == 'w') { %s }\n    return 0;\n}\n"

    def test_address_sanitizer(self):
        said = self.sanitized("address", self.MAIN % "volatile char *p = malloc(8); p[8 + c - 2] = 1; free((void *)p);")
        self.assertIn("heap-buffer-overflow", said)

    def test_leak_sanitizer(self):
        program = self.compile("bin/leaks", "#include <stdlib.h>\nint main(int c, char **a) { char *volatile p = malloc(8); "
                               "(void)a; if (c == 1) free(p); p = NULL; return 0; }\n", "-fsanitize=leak")
        d = self.staged(program)
        for argv in ([program], [program, "leak"]):
            said = []
            for run in ([], [d + "/run"]):
                result = self.run_command([*run, *argv], env=self.env, status=None)
                said.append((result.returncode, "SUMMARY: LeakSanitizer: 8 byte(s)" in result.stderr))
            self.assertEqual(said, [(23, True) if argv[1:] else (0, False)] * 2)

    def test_undefined_behaviour_sanitizer(self):
        said = self.sanitized("undefined", self.MAIN % "volatile int n = INT_MAX; printf(\"%d\\n\", n + c);")
        self.assertIn("signed integer overflow", said)

    def test_thread_sanitizer(self):
        said = self.sanitized("thread", "static int n, done;\nstatic void *run(void *p)\n{\n    n++;\n"
                              "    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);\n    return p;\n}\n" + self.MAIN %
                              "pthread_t t; pthread_create(&t, 0, run, 0); "
                              "while (!__atomic_load_n(&done, __ATOMIC_RELAXED)); n++; pthread_join(t, 0);")
        self.assertIn("data race", said)
