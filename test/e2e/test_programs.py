"""Programs that nobody here wrote, on trees that are staged: what they print and leave on disk is byte for byte
that of a native run, and the original tree is hardly asked."""
import os
import re
import shutil
import stat
import subprocess

from harness import PYTHON, Case, environment

# Opens every regular file once, follows nothing, lists every directory.
WALK = """
import os, stat, sys
for root in sys.argv[1:]:
    for where, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(where, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                open(path, "rb").close()
            elif os.path.islink(path):
                os.readlink(path)
"""
WHEN = 1_700_000_000  # seconds: every file of a tree has its own time of modification, none is now


def output_of(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Programs(Case):
    def setUp(self):
        super().setUp()
        self.tree = self.path("tree")
        self.work = self.path("work")
        # The same for both runs, and nobody's own settings.
        self.env = environment(PATH="/usr/bin:/bin", HOME=self.tmp, LC_ALL="C.UTF-8", TZ="UTC", GIT_CONFIG_NOSYSTEM=1,
                               GIT_AUTHOR_NAME="A", GIT_AUTHOR_EMAIL="a@example.org", GIT_COMMITTER_NAME="C",
                               GIT_COMMITTER_EMAIL="c@example.org", GIT_AUTHOR_DATE="%d +0000" % WHEN,
                               GIT_COMMITTER_DATE="%d +0000" % WHEN)

    # --- trees and stages ---
    def fill(self):
        """A tree of 150 files in 12 directories, with links of both kinds, an odd name and an unreadable mode."""
        for d in range(12):
            for f in range(12):
                text = "".join("%d %d %d\n" % (d, f, (f * 7919 + n * 104729) % 1009) for n in range(20 + f))
                self.write("tree/d%02d/file-%02d.txt" % (d, f), text, 0o755 if f == 3 else 0o644)
        self.write("tree/d00/" + os.fsdecode(b"odd \xff\n name"), "odd\n", 0o600)
        self.write("tree/d01/empty")
        os.mkdir(self.tree + "/d02/nothing", 0o700)
        os.link(self.tree + "/d00/file-00.txt", self.tree + "/d03/hard")
        os.symlink("../d00/file-01.txt", self.tree + "/d04/soft")
        os.symlink("d05", self.tree + "/to-d05")
        os.symlink("nowhere", self.tree + "/dangling")
        self.age(self.tree)

    @staticmethod
    def age(root):
        paths = sorted([os.path.join(w, n) for w, ds, fs in os.walk(root) for n in ds + fs], reverse=True) + [root]
        for i, path in enumerate(paths):
            os.utime(path, ns=((WHEN + i) * 10 ** 9, (WHEN + i) * 10 ** 9 + 123456789), follow_symlinks=False)

    def staged(self, *pilot, include=None):
        """Stages what the pilot touches below the prefixes; without one, the whole tree."""
        manifest = self.path("m.json")
        command = list(pilot) or [PYTHON, "-S", "-c", WALK, self.tree]
        self.fresh()
        self.record(manifest, command, include=include or [self.tree], env=self.env)
        self.fresh()
        return self.stage(manifest)

    # --- one program, twice ---
    def fresh(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.mkdir(self.work)

    def left_behind(self, ignore=()):
        """{path: what it is} of all that lies in the working directory."""
        result = {}
        for where, dirs, files in os.walk(self.work):
            for name in dirs + files:
                path = os.path.join(where, name)
                short = os.path.relpath(path, self.work)
                if short in ignore:
                    continue
                st = os.lstat(path)
                if stat.S_ISLNK(st.st_mode):
                    what = os.readlink(path)
                elif stat.S_ISREG(st.st_mode):
                    with open(path, "rb") as f:
                        what = f.read()
                else:
                    what = None
                old = st.st_mtime_ns if st.st_mtime_ns < (WHEN + 10 ** 6) * 10 ** 9 else "now"
                result[short] = (st.st_mode, st.st_nlink if stat.S_ISREG(st.st_mode) else 0, old, what)
        return result

    @staticmethod
    def calls_on(lines, prefixes):
        """Those that name a path below a prefix, by itself or from a directory that lies there. Extended attributes
        are not staged: what asks for them goes to the original; and the kernel's getcwd asks no file system."""
        spots = ['"' + p for p in prefixes] + ["<" + p for p in prefixes]
        asked = (re.sub(r'AT_FDCWD<[^>]*>, "/', '"/', line.rsplit(" = ", 1)[0]) for line in lines
                 if not re.match(r"(<\.\.\. )?(l?f?(get|list)xattr|getcwd)", line))
        asked = (line.split(", [", 1)[0] if line.startswith("execve") else line for line in asked)
        return [line for line in asked if any(s in line for s in spots)]

    def one(self, argv, ignore):
        self.fresh()
        result, lines = self.strace(argv, env=self.env, status=None, cwd=self.work)
        return (result.returncode, result.stdout, result.stderr), self.left_behind(ignore), lines

    def same(self, d, argv, bound, status=0, on=None, ignore=(), least=20, raw=None):
        """Runs argv natively and served: all the same, and at most `bound` calls on the originals, where natively
        there are `least` or more. `raw`: the name of a call that the program makes without the C library."""
        told, left, native = self.one(argv, ignore)
        self.assertEqual(told[0], status, told)
        served_told, served_left, served = self.one([d + "/run", *argv], ignore)
        self.assertEqual(served_told, told, argv)
        self.assertEqual(served_left, left, argv)
        before, after = (self.calls_on(lines, on or [self.tree]) for lines in (native, served))
        before, after = ([c for c in calls if not raw or not c.startswith(raw + "(")] for calls in (before, after))
        self.assertGreaterEqual(len(before), least, argv)
        self.assertLessEqual(len(after), bound, "%s\nof %d natively:\n%s" % (argv, len(before),
                                                                             "\n".join(after[:30])))
        return told[1]

    def strace(self, argv, env=None, cwd=None, **kw):
        return super().strace(["env", "-C", cwd, *argv] if cwd else argv, env=env, **kw)


class Tools(Programs):
    def setUp(self):
        super().setUp()
        self.fill()
        self.files = [self.tree + "/d%02d/file-%02d.txt" % (d, f) for d in range(12) for f in range(12)]

    def test_coreutils(self):
        d = self.staged()
        everything = [*self.files, *(self.tree + p for p in ("/d04/soft", "/to-d05/file-00.txt", "/d01/empty"))]
        listing = self.same(d, ["ls", "-lR", "--time-style=full-iso", self.tree], 0)
        self.assertEqual(listing.count("file-"), 145)
        # In the order of the original's lists; where "." and ".." stand in these is not kept.
        self.same(d, ["ls", "-liRU", self.tree], 0)
        self.same(d, ["ls", "-1U", *(self.tree + "/d%02d" % n for n in range(12))], 0)
        self.same(d, ["stat", *everything, self.tree + "/dangling", self.tree + "/d02/nothing"], 0)
        self.same(d, ["stat", "-L", "-c", "%n %i %h %s %b %Y %Z %d %u %a", *everything], 0)
        self.same(d, ["cat", *everything, self.tree + "/none"], 0, status=1)
        self.same(d, ["md5sum", *everything], 0)
        self.same(d, ["wc", *everything], 0)
        self.same(d, ["sort", "-n", "-k3", *everything], 0)
        self.same(d, ["du", "-a", "--apparent-size", "-b", self.tree], 1)  # statfs, which is never staged
        self.same(d, ["du", "-ah", "--time", self.tree], 1)
        # cp copies inside the kernel where it can, from the original then: three calls a file, and none to find it.
        self.same(d, ["cp", "-a", self.tree, "copy"], 450, least=650)
        self.same(d, ["cp", "-rL", self.tree + "/d04", "copy"], 39, least=42)
        self.same(d, ["diff", "-r", self.tree + "/d05", self.tree + "/d06"], 0, status=1)

    def test_findutils(self):
        d = self.staged()
        names = self.same(d, ["find", self.tree, "-printf", r"%p %y %Y %m %s %b %T@ %C@ %i %n %l %u %D %F\n"], 4)
        self.assertEqual(names.count("file-"), 145)
        self.same(d, ["find", self.tree, "-ls"], 4)
        self.same(d, ["find", "-L", self.tree, "-type", "f", "-size", "+0", "-newer", self.files[0]], 4)
        self.same(d, ["find", self.tree, "-name", "*-0[13]*", "-perm", "-u+x", "-execdir", "wc", "-c", "{}", "+"], 40)
        self.same(d, ["sh", "-c", "find '%s' -type f -print0 | sort -z | xargs -0 -n 40 md5sum" % self.tree], 4)
        self.same(d, ["find", self.tree + "/d06", "-type", "d", "-empty", "-o", "-samefile", self.files[72]], 4,
                  least=4)

    def test_tar(self):
        d = self.staged()
        self.same(d, ["tar", "--sort=name", "-cPf", "sorted.tar", self.tree], 4)
        self.same(d, ["tar", "-cPf", "unsorted.tar", self.tree], 4)
        self.same(d, ["tar", "-C", self.tree, "-cvzf", "all.tar.gz", "--exclude=d07", "."], 4)
        # A name below a descriptor of a directory that is not staged is the kernel's to find: the same, not less.
        self.same(d, ["tar", "-C", self.tmp, "-cf", "beside.tar", "tree"], 1000)
        self.run_command(["tar", "-C", self.tmp, "-cf", self.tree + "/archive.tar", "tree/d08", "tree/d00"])
        d = self.staged()
        self.same(d, ["tar", "-tvf", self.tree + "/archive.tar"], 0, least=1)
        self.same(d, ["tar", "-xpf", self.tree + "/archive.tar"], 0, least=1)
        self.same(d, ["tar", "-C", self.tmp, "-df", self.tree + "/archive.tar"], 4, least=1)


class Git(Programs):
    def setUp(self):
        super().setUp()
        self.fill()
        self.git("init", "-q", "-b", "main", ".")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "first")
        for n in range(3):
            self.write("tree/d0%d/file-00.txt" % n, "changed %d\n" % n)
            self.git("commit", "-q", "-a", "-m", "change %d" % n)
        self.git("gc", "-q")
        self.write("tree/d04/file-05.txt", "not committed\n")
        self.write("tree/d05/new", "not added\n")
        self.age(self.tree)
        self.git("status")
        self.age(self.tree + "/.git")

    def git(self, *args, at=None):
        return self.run_command(["git", "-C", at or self.tree, *args], env=self.env).stdout

    def test_reading(self):
        d = self.staged()
        git = ["git", "-C", self.tree, "--no-optional-locks"]
        status = self.same(d, [*git, "status"], 8)
        self.assertIn("modified:   d04/file-05.txt", status)
        self.assertIn("d05/new", status)
        self.same(d, [*git, "log", "--stat", "-p"], 8)
        self.same(d, [*git, "diff"], 8)
        self.same(d, [*git, "fsck", "--full", "--strict"], 8)
        self.same(d, [*git, "ls-files", "-s"], 8, least=5)
        self.same(d, [*git, "grep", "-c", "changed"], 8)
        self.same(d, [*git, "archive", "--output", self.work + "/a.tar", "HEAD"], 8)
        # With its lock it makes a name in .git, which from then on is the kernel's.
        self.assertEqual(self.same(d, ["git", "-C", self.tree, "status"], 20), status)

    def test_cloning(self):
        d = self.staged()
        # The index of a clone holds times and inode numbers.
        self.same(d, ["git", "clone", "--no-hardlinks", self.tree, "clone"], 4, ignore=("clone/.git/index",))
        self.same(d, ["git", "clone", "-q", "file://" + self.tree, "clone"], 4, ignore=("clone/.git/index",))
        self.same(d, ["git", "clone", self.tree, "clone"], 16, ignore=("clone/.git/index",))

    def test_a_commit_into_a_served_repository(self):
        twin = self.path("twin")
        self.run_command(["cp", "-a", self.tree, twin])
        d = self.staged()
        said = []
        for repository, launcher in ((twin, []), (self.tree, [d + "/run"])):
            steps = [["add", "-A"], ["commit", "-m", "in the job"], ["mv", "d06/file-00.txt", "d07/moved"],
                     ["commit", "-am", "moved"], ["log", "--format=%H %s", "--name-status"], ["status"],
                     ["checkout", "-q", "-b", "other", "HEAD~2"], ["status"], ["fsck", "--full"]]
            said.append([self.run_command([*launcher, "git", "-C", repository, *step], env=self.env).stdout
                         for step in steps])
        self.assertEqual(said[1], said[0])
        self.assertEqual(self.git("fsck", "--full"), "")
        self.assertEqual(self.git("log", "--all", "--format=%H"), self.git("log", "--all", "--format=%H", at=twin))
        self.assertEqual(self.git("status"), self.git("status", at=twin))


class Gcc(Programs):
    def setUp(self):
        super().setUp()
        for n in range(30):
            self.write("tree/include/part/h%02d.h" % n, "#ifndef H%02d\n#define H%02d\n%s\n"
                       "static inline int f%02d(int x) { return x + %d; }\n#endif\n" %
                       (n, n, '#include "h%02d.h"' % (n - 1) if n else "", n, n))
        self.write("tree/src/main.c", "#include <math.h>\n#include <stdio.h>\n#include <sys/stat.h>\n"
                   "#include <part/h29.h>\nint part(int);\nint main(void)\n{\n"
                   '    printf("%d %s %g\\n", part(f29(1)), __FILE__, sqrt(part(2)));\n    return 0;\n}\n')
        self.write("tree/src/part.c", '#include "../include/part/h07.h"\nint part(int x);\n'
                                      "int part(int x) { return f07(x); }\n")
        self.sources = [self.tree + "/src/main.c", self.tree + "/src/part.c"]
        self.compile = ["gcc", "-Wall", "-g", "-O1", "-I", self.tree + "/none", "-I", self.tree + "/include",
                        *self.sources, "-o", "program", "-lm"]

    def test_sources_and_headers_on_a_served_tree(self):
        d = self.staged()
        self.same(d, self.compile, 4)
        self.assertEqual(self.run_command([self.work + "/program"]).stdout, "37 %s 3\n" % self.sources[0])
        self.same(d, [*self.compile[:-4], "-MMD", "-E"], 4)

    def test_the_compiler_itself(self):
        inside = "/usr/lib/gcc/" + output_of("gcc", "-dumpmachine")
        prefixes = [self.tree, "/usr/include", "/usr/lib/gcc"]
        d = self.staged("env", "-C", self.tmp, *self.compile[:-2], "work-program", "-lm", include=prefixes)
        # cc1 calls realpath, with a buffer of its own, for each header in each place where it might be: where it is
        # not, glibc says in the buffer how far it came, and is therefore let through.
        self.same(d, self.compile, 330, on=["/usr/include", inside, self.tree], least=660)
        self.assertEqual(self.run_command([self.work + "/program"]).stdout, "37 %s 3\n" % self.sources[0])


class Languages(Programs):
    def test_functions_with_an_older_version_too(self):
        """An older posix_spawn gives what is no program to a shell; an older realpath wants a buffer."""
        self.write("tree/no-program", "echo from a shell\n", 0o755)
        code = """
import ctypes, os, sys
for spawn in os.posix_spawn, os.posix_spawnp:
    try:
        os.waitpid(spawn(sys.argv[1], sys.argv[1:], {}), 0)
        print("runs")
    except OSError as e:
        print(e.errno)
libc = ctypes.CDLL(None)
libc.realpath.restype = ctypes.c_char_p
print(libc.realpath(b"/proc/self/..", None))
"""
        argv = [PYTHON, "-c", code, self.tree + "/no-program"]
        d = self.staged()
        served = self.run_command([d + "/run", *argv], env=self.env)
        self.assertEqual((served.stdout, served.stderr), ("8\n8\nb'/proc'\n", ""))

    def test_perl_with_its_own_modules(self):
        prefixes = sorted({p for p in output_of("perl", "-e", 'print join "\\n", @INC').split("\n")
                           if p.startswith("/usr/") and not p.startswith("/usr/local") and os.path.isdir(p)})
        code = ("use strict; use POSIX qw(floor strftime); use List::Util qw(sum shuffle first); use Data::Dumper; "
                "use File::Find; use Storable qw(freeze); use Encode; use Socket; use Time::HiRes; "
                "$Data::Dumper::Sortkeys = 1; print Dumper({a => [1, floor(2.5)], s => sum(1 .. 10)}); "
                "print strftime('%Y', gmtime 0), ' ', length(freeze([1])), qq(\\n); "
                "print join(qq(\\n), map { qq($_ $INC{$_}) } sort keys %INC), qq(\\n); "
                "eval { require No::Such::Module }; print $@")
        argv = ["perl", "-e", code]
        d = self.staged(*argv, include=prefixes)
        self.same(d, argv, 4, on=prefixes)

    def test_node_requires_a_package_tree(self):
        for n in range(40):
            below = "require('p%02d')" % (n - 1) if n else "0"
            self.write("tree/node_modules/p%02d/package.json" % n, '{"name": "p%02d", "version": "1.0.0", '
                       '"main": "lib/main.js"}' % n)
            self.write("tree/node_modules/p%02d/lib/main.js" % n,
                       "const data = require('./data');\nmodule.exports = %s + data.n;\n" % below)
            self.write("tree/node_modules/p%02d/lib/data.json" % n, '{"n": %d}' % n)
        self.write("tree/app/main.js", "const fs = require('fs');\n"
                   "console.log(require('p39'), require.resolve('p07'));\n"
                   "console.log(fs.readdirSync(__dirname + '/../node_modules').length, __filename);\n"
                   "console.log(fs.realpathSync(__dirname + '/../link'), fs.statSync(__filename).ino);\n"
                   "try { require('nothing') } catch (e) { console.log(e.message) }\n")
        os.symlink("node_modules/p00", self.tree + "/link")
        self.age(self.tree)
        d = self.staged()
        # libuv asks for stat data with syscall(2): that is the kernel's.
        said = self.same(d, ["node", self.tree + "/app/main.js"], 4, raw="statx")
        self.assertTrue(said.startswith("780 "), said)

    def test_bash_scripts(self):
        self.fill()
        for n in range(20):
            self.write("tree/lib/part%02d.sh" % n, "part%02d() { echo part %d \"$@\"; }\n" % (n, n))
        self.write("tree/bin/main.sh", """#!/bin/bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
for part in "$here"/lib/*.sh; do source "$part"; done
part03 "$(type -t part19)" "${0##*/}"
shopt -s nullglob globstar
for f in "$here"/d0?/file-0[0-4]*; do
    [ -f "$f" ] && [ ! -L "$f" ] && [ -r "$f" ] && read -r first <"$f" && echo "${f#$here} $first"
    [ -x "$f" ] && echo executable
done
echo "$here"/**/hard "$here"/none* "$here"/d1*/
[ "$here/d00/file-00.txt" -ef "$here/d03/hard" ] && echo same
[ "$here/d00/file-00.txt" -nt "$here/d03/file-00.txt" ] && echo newer
while read -r a b c; do total=$((total + c)); done <"$here/d05/file-05.txt"
echo $total >result
for f in "$here"/d11/*; do cp -p "$f" .; done
. "$here/none.sh" || exit 3
""", 0o755)
        self.age(self.tree)
        d = self.staged()
        self.same(d, [self.tree + "/bin/main.sh"], 42, status=3, least=800)  # what cp asks: see above
        self.same(d, ["bash", "-p", self.tree + "/bin/main.sh"], 42, status=3, least=800)
