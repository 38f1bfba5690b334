"""What the tests of the dynamic loader share: programs and libraries that are built in a moment, run natively and
attached; the same output, and attached no call at all on the originals."""
import os
import re
import shutil
import time

from harness import PROGS, Case, environment

class Loader(Case):
    def setUp(self):
        super().setUp()
        self.top = os.path.realpath(self.path("sw"))
        os.mkdir(self.top)
        self.env = environment(LC_ALL="C", HOME=self.tmp)

    # --- what is loaded ---
    def at(self, *names):
        return os.path.join(self.top, *names)

    def compile(self, out, text, *flags, compiler="gcc"):
        """The program `out` (below the top) of the source text; a library with -shared among the flags."""
        out = self.at(out)
        suffix = ".c" if compiler == "gcc" else ".cc"
        source = self.write("source/%s%s" % (os.path.relpath(out, self.top).replace("/", "-"), suffix), text)
        os.makedirs(os.path.dirname(out), exist_ok=True)
        self.run_command([compiler, "-O1", "-g", "-fPIC", "-o", out, source, *flags, "-ldl", "-lpthread"])
        return out

    def library(self, out, text, *flags, soname=None, compiler="gcc"):
        flags = ["-shared", "-Wl,-soname," + (soname or os.path.basename(out)), *flags]
        return self.compile(out, text, *flags, compiler=compiler)

    def loaded(self):
        """The program of test/progs/loaded.c, below the top: its steps say what it loads and tells."""
        os.makedirs(self.at("bin"), exist_ok=True)
        return shutil.copy(os.path.join(PROGS, "loaded"), self.at("bin/loaded"))

    def by_an_auditor(self, *argv):
        """The environment with another auditor than ours, which does nothing: what is glibc's own doing."""
        text = "unsigned la_version(unsigned v);\nunsigned la_version(unsigned v) { return v; }\n"
        return dict(self.env, LD_AUDIT=self.compile("../nothing.so", text, "-shared"))

    # --- natively and attached ---
    def staged(self, *argv, env=None, status=0, include=None):
        # What changed up to 20 ms before the pilot began is taken for its own doing, and the kernel's clock of files ticks.
        time.sleep(0.05)
        manifest = self.path("m.json")
        self.record(manifest, argv, include=include or [self.top], env=env or self.env, status=status)
        return self.stage(manifest)

    def calls_on(self, lines, *prefixes):
        """Those of strace's lines that ask the kernel for a path below one of the prefixes. Where it is now, a process
        does not ask a file system."""
        result = []
        for line in lines:
            m = re.match(r'\w+\((?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?,? ?)?(?:"((?:[^"\\]|\\.)*)")?', line)
            path = os.path.normpath(os.path.join(m[1] or "", m[2] or "")) if m else ""
            if not line.startswith(("chdir", "getcwd")) and any((path + "/").startswith(p + "/") for p in prefixes):
                result.append(line)
        return result

    def same(self, d, *argv, env=None, status=0, least=1, most=0, on=None, cleaned=None, native=None):
        """Runs argv natively and attached: exit status and output are the same, and attached there are at most `most`
        calls on the originals (`on`: below these prefixes), where natively there are `least` or more. What it printed.
        `cleaned` takes out of an output what is never twice the same."""
        env = env or self.env
        clean = cleaned or (lambda text: text)
        if native is None:
            native = self.strace(list(argv), env=env, status=status)
        (native, before), (served, after) = native, self.strace([d + "/run", *argv], env=env, status=None)
        self.assertEqual((served.returncode, clean(served.stdout), clean(served.stderr)),
                         (native.returncode, clean(native.stdout), clean(native.stderr)))
        on = on or [self.top]
        before, after = self.calls_on(before, *on), self.calls_on(after, *on)
        self.assertGreaterEqual(len(before), least)
        self.assertLessEqual(len(after), most, "\n".join(after[:40]))
        return clean(served.stdout)

    def record_and_compare(self, *argv, **kw):
        d = self.staged(*argv, env=kw.get("env"), status=kw.get("status", 0), include=kw.get("on"))
        return self.same(d, *argv, **kw)
