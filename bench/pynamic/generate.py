#!/usr/bin/python3
"""Generates and builds a program of many shared objects, after the manner of LLNL's Pynamic: utility libraries, Python
extension modules that call into them, a Python driver, and a C program linked with every library.

    generate.py --modules 100 --libraries 300 --functions 10 --directories 80 --seed 1 --library-path OUT

OUT/prefix/dNN/   the shared objects, dealt out over the directories
OUT/prefix/bin/   program [start]: calls every function of every library, or ends at once; prints a sum
OUT/prefix/driver.py [TIME]: imports every module and calls each of its functions; prints the sum, or how long it took
OUT/environment   LD_LIBRARY_PATH=… where the objects are found by it (one NAME=VALUE a line)
OUT/src/          the sources, and a Makefile

The same arguments make the same sources. Whoever is to find a library has to search for it: a library's number says
nothing of its directory. Extension modules include the real Python.h, precompiled once."""
import argparse
import os
import random
import subprocess
import sys
import sysconfig

KINDS = ("library-path", "runpath", "rpath")


class Tree:
    def __init__(self, args):
        self.args = args
        self.src = os.path.join(args.out, "src")
        self.prefix = os.path.join(args.out, "prefix")
        self.random = random.Random(repr((args.modules, args.libraries, args.functions, args.directories, args.seed)))
        self.home = {}  # object: its directory
        self.needs = {}  # object: the libraries that it is linked with
        for prefix, count in (("u", args.libraries), ("m", args.modules)):
            homes = [i % args.directories for i in range(count)]
            self.random.shuffle(homes)
            for i in range(count):
                self.home["%s%04d" % (prefix, i)] = "d%02d" % homes[i]
        self.libraries = [o for o in self.home if o[0] == "u"]
        self.modules = [o for o in self.home if o[0] == "m"]

    def file(self, name):
        form = "lib%s.so" if name[0] == "u" else "%s.so"
        return os.path.join(self.prefix, self.home[name], form % name)

    def functions(self, name):
        return ["%s_f%03d" % (name, k) for k in range(self.args.functions)]

    def choose(self, among, least, most):
        return sorted(self.random.sample(among, min(len(among), self.random.randint(least, most))))

    def bodies(self, name, static):
        """C functions of which about every second calls one of a needed library: no cycles, as libraries need only
        those before them."""
        lines = ["long %s(long x);" % f for needed in self.needs[name] for f in self.functions(needed)]
        for k, function in enumerate(self.functions(name)):
            inner = "x"
            if self.needs[name] and (static or self.random.random() < 0.5):
                inner = "%s(x)" % self.random.choice(self.functions(self.random.choice(self.needs[name])))
            lines += ["long %s(long x);" % function] if not static else []
            lines += ["%slong %s(long x) { return (%s ^ %d) * 31 + %d; }" % (
                "static " if static else "", function, inner, self.random.randrange(1 << 30), k)]
        return lines

    def library(self, index):
        name = self.libraries[index]
        self.needs[name] = self.choose(self.libraries[:index], 1, 4)
        return self.bodies(name, False)

    def module(self, name):
        self.needs[name] = self.choose(self.libraries, 2, 5)
        lines = ["#include \"python.h\""] + self.bodies(name, True)
        for f in self.functions(name):
            lines += ["static PyObject *py_%s(PyObject *self, PyObject *arg)" % f,
                      "{ (void)self; return PyLong_FromLong(%s(PyLong_AsLong(arg)) & 0xffffff); }" % f]
        lines += ["static PyMethodDef methods[] = {",
                  *("    {\"f%03d\", py_%s, METH_O, NULL}," % (k, f) for k, f in enumerate(self.functions(name))),
                  "    {NULL, NULL, 0, NULL}};",
                  "static struct PyModuleDef definition = {",
                  "    PyModuleDef_HEAD_INIT, \"%s\", NULL, -1, methods, NULL, NULL, NULL, NULL};" % name,
                  "PyMODINIT_FUNC PyInit_%s(void) { return PyModule_Create(&definition); }" % name]
        return lines

    def program(self):
        every = [f for name in self.libraries for f in self.functions(name)]
        return ["#include <stdio.h>", *("long %s(long x);" % f for f in every),
                "int main(int argc, char **argv)", "{", "    unsigned long sum = 0;", "    (void)argv;",
                "    if (argc > 1)", "        return 0;",
                *("    sum = sum * 7 + (unsigned long)%s(%d);" % (f, i) for i, f in enumerate(every)),
                "    printf(\"%lu\\n\", sum);", "    return 0;", "}"]

    def driver(self):
        directories = sorted({self.home[m] for m in self.modules})
        return ["import sys, time",
                "started = time.monotonic()",
                "here = sys.path[0]",
                "sys.path[:1] = [here + '/' + d for d in %r]" % directories,
                "modules = [__import__('m%%04d' %% i) for i in range(%d)]" % len(self.modules),
                "imported = time.monotonic()",
                "total = 0",
                "for module in modules:",
                "    for k in range(%d):" % self.args.functions,
                "        total = total * 7 + getattr(module, 'f%03d' % k)(total & 0xffff) & 0xffffffff",
                "visited = time.monotonic()",
                "if len(sys.argv) > 1:",
                "    print(started - float(sys.argv[1]), imported - started, visited - imported)",
                "else:",
                "    print(total)"]

    def flags(self, name):
        """What the linker is told of the libraries that `name` needs, and of where they will be."""
        needed = self.needs[name]
        flags = [self.file(n) for n in needed]
        if self.args.kind != "library-path":
            up = "$$ORIGIN/../"
            paths = ":".join(up + d for d in sorted({self.home[n] for n in needed}))
            tags = "--enable-new-dtags" if self.args.kind == "runpath" else "--disable-new-dtags"
            flags += ["'-Wl,%s,-rpath,%s'" % (tags, paths)] if needed else []
        return " ".join(flags)

    def rule(self, name, target, how):
        return ["%s: %s.c%s %s" % (target, name, " python.h.gch" if name[0] == "m" else "",
                                   " ".join(self.file(n) for n in self.needs[name])),
                "\t@$(CC) -O1 %s -o $@ $< -Wl,--no-as-needed -Wl,--allow-shlib-undefined %s" % (how, self.flags(name))]

    def write(self, path, lines):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.writelines(line + "\n" for line in lines)

    def generate(self):
        rules = []
        for i, name in enumerate(self.libraries):
            self.write("%s/%s.c" % (self.src, name), self.library(i))
            rules += self.rule(name, self.file(name), "-shared -fPIC -Wl,-soname,lib%s.so" % name)
        for name in self.modules:
            self.write("%s/%s.c" % (self.src, name), self.module(name))
            rules += self.rule(name, self.file(name), "-shared -fPIC -I%s" % sysconfig.get_paths()["include"])
        self.needs["program"] = self.libraries
        self.write(self.src + "/program.c", self.program())
        program = self.prefix + "/bin/program"
        rules += self.rule("program", program, "-fPIE")
        self.write(self.src + "/python.h", ["#define PY_SSIZE_T_CLEAN", "#include <Python.h>"])
        everything = [program, *(self.file(n) for n in self.home)]
        self.write(self.src + "/Makefile", ["all: " + " ".join(everything), *rules, "python.h.gch: python.h",
                                            "\t@$(CC) -O1 -fPIC -I%s -x c-header $< -o $@" %
                                            sysconfig.get_paths()["include"]])
        self.write(self.prefix + "/driver.py", self.driver())
        os.makedirs(self.prefix + "/bin", exist_ok=True)
        for i in range(self.args.directories):
            os.makedirs("%s/d%02d" % (self.prefix, i), exist_ok=True)
        paths = ["%s/d%02d" % (self.prefix, i) for i in range(self.args.directories)]
        self.write(self.args.out + "/environment",
                   ["LD_LIBRARY_PATH=" + ":".join(paths)] if self.args.kind == "library-path" else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=int, default=100)
    parser.add_argument("--libraries", type=int, default=300)
    parser.add_argument("--functions", type=int, default=10, help="of each module and library")
    parser.add_argument("--directories", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    kind = parser.add_mutually_exclusive_group()
    for name in KINDS:
        kind.add_argument("--" + name, dest="kind", action="store_const", const=name)
    parser.add_argument("out")
    parser.set_defaults(kind=KINDS[0])
    args = parser.parse_args()
    if min(args.libraries, args.functions, args.directories) < 1 or args.modules < 0:
        parser.error("at least one library, function and directory")
    args.out = os.path.abspath(args.out)
    Tree(args).generate()
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", "-s", "-C", args.out + "/src", "-j%d" % len(os.sched_getaffinity(0))], env=env,
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
