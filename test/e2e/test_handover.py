"""One attachment for both libraries, and what programs are told before the preloaded library's constructor has run."""
import os

from loader import Loader


class HandedOver(Loader):
    """The audit library's attachment is the preloaded library's as well, where nothing came in between."""

    EARLY = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((constructor)) static void early(void)
{
    const char *what = getenv("EARLY");
    if (strcmp(what, "unset") == 0)
        unsetenv("DLCACHE_STAGE");
    if (strcmp(what, "user") == 0)
        syscall(SYS_setresuid, -1, 65534, -1);
    if (strcmp(what, "elsewhere") == 0)
        syscall(SYS_unshare, CLONE_NEWNS);
}
"""

    def test_one_attachment(self):
        program = self.compile("bin/p", "#include <sys/stat.h>\nint main(int c, char **a) "
                               "{ struct stat st; (void)c; return stat(a[1], &st); }\n")
        early = self.compile("../early.so", self.EARLY, "-shared")
        os.chmod(self.tmp, 0o755)
        data = self.write("sw/data", "text")
        d = self.staged(program, data)
        # What is done before our constructor: how often a stage is opened, once by D/run; how often the original is asked.
        for name, preload, env, opened, asked in (("both", None, {}, 2, 0), ("none", early, {}, 2, 0), ("unset", early, {}, 2, 1),
                                                  ("user", early, {}, 2, 1), ("elsewhere", early, {}, 3, 0),
                                                  ("alone", None, {"DLCACHE_AUDIT": "off"}, 2, 0)):
            exports = ["EARLY=" + name, *(["LD_PRELOAD=" + preload] if preload else [])]
            _, lines = self.strace([d + "/run", program, data], env=dict(self.env, **env), exports=exports)
            self.assertEqual((len([line for line in lines if '"index"' in line]), len(self.calls_on(lines, data))),
                             (opened, asked), (name, "\n".join(lines)))


class BeforeOurConstructor(Loader):
    """That of a library which the program needs comes first."""

    def test_errors_there(self):
        self.library("lib/liba.so", "int a = 1;\n")
        self.library("lib/libearly.so", "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n"
                     "__attribute__((constructor)) static void early(void)\n{\n"
                     "    char origin[4096];\n"
                     "    dlopen(\"libnone.so\", RTLD_NOW); printf(\"%s\\n\", dlerror());\n"
                     "    void *h = dlopen(\"liba.so\", RTLD_NOW); printf(\"%d\\n\", *(int *)dlsym(h, \"a\"));\n"
                     "    dlinfo(h, RTLD_DI_ORIGIN, origin); printf(\"%s\\n\", origin);\n"
                     "    dlopen(\"/none.so\", RTLD_NOW); dlsym(h, \"a\"); printf(\"%d\\n\", dlerror() == NULL);\n}\n",
                     "-Wl,-rpath,$ORIGIN")
        program = self.compile("bin/p", "int main(void) { return 0; }\n", "-L" + self.at("lib"), "-Wl,--no-as-needed", "-learly",
                               "-Wl,-rpath,$ORIGIN/../lib")
        said = self.record_and_compare(program)
        self.assertEqual(said, "libnone.so: cannot open shared object file: No such file or directory\n1\n%s\n1\n" %
                         self.at("bin/../lib"))
