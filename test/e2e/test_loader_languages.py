"""Compiled modules of interpreters: perl's, R's, node's."""
import os
import shutil

from loader import Loader


class Languages(Loader):
    def test_perl(self):
        """Modules of the system, and one that has been put into a prefix such as local::lib's."""
        lib = self.at("perl5/lib/perl5")
        arch = self.run_command(["perl", "-MConfig", "-e", "print $Config{archname}"]).stdout
        code = "use List::Util; use DynaLoader; print qq($INC{'List/Util.pm'}\\n@DynaLoader::dl_shared_objects)"
        module, objects = self.run_command(["perl", "-e", code]).stdout.split("\n")
        for source, name in ((module, "List/Util.pm"), (objects.split()[0], "auto/List/Util/Util.so")):
            os.makedirs(os.path.dirname(os.path.join(lib, arch, name)), exist_ok=True)
            shutil.copy(source, os.path.join(lib, arch, name))
        code = "use strict; use List::Util qw(sum max reduce); use POSIX qw(floor fmod); use Storable qw(freeze thaw); " \
               "use Digest::SHA qw(sha1_hex); use Data::Dumper; use DynaLoader; " \
               "print join(' ', sum(1 .. 10), max(3, 7), floor(2.7), fmod(7, 4), thaw(freeze([5]))->[0], sha1_hex('x')), " \
               "qq(\\n); print map { qq($_\\n) } sort @DynaLoader::dl_shared_objects, $INC{'List/Util.pm'};"
        on = [self.top, "/usr/lib/x86_64-linux-gnu/perl", "/usr/lib/x86_64-linux-gnu/perl-base", "/usr/share/perl"]
        said = self.record_and_compare("perl", "-e", code, env=dict(self.env, PERL5LIB=lib), on=on, least=40)
        self.assertTrue(said.startswith("55 7 2 3 5 "), said)
        self.assertIn(os.path.join(lib, arch, "auto/List/Util/Util.so") + "\n", said)

    def test_r(self):
        code = "library(stats); library(tools); library(grid); library(splines); library(parallel); " \
               "x <- c(1, 2, 3, 4, 5.5); y <- x^2 + 1; print(coef(lm(y ~ x))); print(solve(matrix(c(2, 1, 1, 3), 2))); " \
               "print(dim(bs(x, df = 5))); print(md5sum(file.path(R.home('etc'), 'Makeconf')) != ''); " \
               "print(sapply(getLoadedDLLs(), function(d) d[['path']]))"
        on = ["/usr/lib/R", "/usr/share/R", "/usr/local/lib/R"]
        argv = ["/usr/lib/R/bin/exec/R", "--no-echo", "--no-restore", "--vanilla", "-e", code]
        env = dict(self.env, R_HOME="/usr/lib/R", R_SHARE_DIR="/usr/share/R/share", R_INCLUDE_DIR="/usr/share/R/include",
                   R_DOC_DIR="/usr/share/R/doc", LD_LIBRARY_PATH="/usr/lib/R/lib", TZ="UTC", TMPDIR=self.tmp)
        said = self.record_and_compare(*argv, env=env, on=on, least=100, most=4)
        self.assertIn("/usr/lib/R/library/stats/libs/stats.so", said)

    def test_the_command_of_r(self):
        """The shell script, which looks for much before it begins."""
        on = ["/usr/lib/R", "/usr/share/R"]
        env = dict(self.env, TMPDIR=self.tmp)
        said = self.record_and_compare("Rscript", "--vanilla", "-e", "cat(sum(1:10), R.home(), '\\n')", env=env, on=on,
                                       least=200, most=150)
        # R sets LD_LIBRARY_PATH: its own directory, and one of the system, which is not staged: ld.so looks itself then,
        # and stats each directory once a process.
        self.assertEqual(said, "55 /usr/lib/R \n")

    def test_node(self):
        """An addon, by hand: no headers needed."""
        text = "#include <stddef.h>\n#include <stdint.h>\ntypedef struct env__ *env; typedef struct value__ *value; " \
               "typedef struct info__ *info;\nextern int napi_create_function(env, const char *, size_t, value (*)(env, info), " \
               "void *, value *);\nextern int napi_create_int32(env, int32_t, value *);\nint below(void);\n" \
               "static value answer(env e, info i)\n{\n    value v = NULL;\n    (void)i;\n" \
               "    napi_create_int32(e, below(), &v);\n    return v;\n}\nvalue napi_register_module_v1(env e, value exports);\n" \
               "value napi_register_module_v1(env e, value exports)\n{\n    value f = exports;\n" \
               "    napi_create_function(e, \"answer\", 6, answer, NULL, &f);\n    return f;\n}\n"
        self.library("app/node_modules/addon/deps/libbelow.so", "int below(void);\nint below(void) { return 42; }\n")
        self.library("app/node_modules/addon/build/Release/addon.node", text, "-L" + self.at("app/node_modules/addon/deps"),
                     "-lbelow", "-Wl,-rpath,$ORIGIN/../../deps")
        self.write("sw/app/node_modules/addon/package.json", '{"name": "addon", "version": "1.0.0", "main": "index.js"}')
        self.write("sw/app/node_modules/addon/index.js", "module.exports = require('./build/Release/addon.node');\n")
        self.write("sw/app/main.js", "console.log(require('addon')(), require.resolve('addon'));\n"
                   "console.log(process.report.getReport().sharedObjects.filter(x => x.includes('/sw/')));\n")
        # libuv asks for stat data with syscall(2).
        d = self.staged("node", self.at("app/main.js"))
        said = self.same(d, "node", self.at("app/main.js"), least=10, most=40)
        self.assertTrue(said.startswith("42 "), said)
