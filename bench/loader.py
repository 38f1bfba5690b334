#!/usr/bin/python3
"""What attaching costs and saves at the start of programs: natively and attached, side by side, interleaved.

    bench/loader.py [-n REPETITIONS] [-o FILE.json] [CASE]...

Generates trees (bench/pynamic), records and stages them, and prints a table. README.md says how to read it."""
import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
DLCACHE = BUILD + "/dlcache"
MPIEXEC = os.environ.get("MPIEXEC", "mpiexec.mpich")
PYTHON = "/usr/bin/python3"
UNWANTED = re.compile(r"^(DLCACHE_|LD_|PYTHON|PMI|PMIX|OMPI|SLURM|GLIBC_TUNABLES|VIRTUAL_ENV)")

SYSTEM = "/usr|/lib|/lib64|/bin"

# The smallest libraries that do nothing: what LD_PRELOAD and LD_AUDIT cost by themselves, whoever is behind them.
EMPTY_PRELOAD = "int dlcache_bench_nothing;\n"
EMPTY_AUDIT = """#define _GNU_SOURCE
#include <link.h>
unsigned la_version(unsigned version) { return version < LAV_CURRENT ? version : LAV_CURRENT; }
char *la_objsearch(const char *name, uintptr_t *cookie, unsigned flag)
{ (void)cookie; (void)flag; return (char *)(uintptr_t)name; }
unsigned la_objopen(struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{ (void)map; (void)lmid; (void)cookie; return 0; }
"""


def environment(more):
    env = {k: v for k, v in os.environ.items() if not UNWANTED.match(k)}
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # what is measured changes nothing
    env.update(more)
    return env


class Bench:
    def __init__(self, args):
        self.args = args
        self.tmp = tempfile.mkdtemp(prefix="dlcache-bench.")
        self.place = tempfile.mkdtemp(prefix="dlcache-bench.", dir="/dev/shm")
        self.rows = []
        self.trees = {}
        self.null = os.open("/dev/null", os.O_RDWR)

    def close(self):
        for path in (self.tmp, self.place):
            subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(path, ignore_errors=True)

    def build_floor(self):
        result = []
        for name, text, flags in (("preload", EMPTY_PRELOAD, []), ("audit", EMPTY_AUDIT, ["-nostdlib"])):
            source, library = "%s/%s.c" % (self.tmp, name), "%s/%s.so" % (self.place, name)
            with open(source, "w", encoding="ascii") as f:
                f.write(text)
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-Wl,-z,now", *flags, source, "-o", library], check=True)
            result.append(library)
        return {"LD_PRELOAD": result[0], "LD_AUDIT": result[1]}

    def tree(self, libraries, modules, directories, functions):
        key = "tree-%d-%d-%d" % (libraries, modules, directories)
        out = "%s/%s" % (self.tmp, key)
        if key not in self.trees:
            subprocess.run([PYTHON, "-B", TOP + "/bench/pynamic/generate.py", "--libraries", str(libraries),
                            "--modules", str(modules), "--directories", str(directories),
                            "--functions", str(functions), "--library-path", out], check=True)
            with open(out + "/environment", encoding="ascii") as f:
                self.trees[key] = (out + "/prefix", dict(line.rstrip("\n").split("=", 1) for line in f))
        return self.trees[key]

    def stage(self, name, command, more, include):
        manifest = "%s/%s.json" % (self.tmp, name)
        quiet = {"env": environment(more), "stdin": self.null, "check": True, "stderr": subprocess.PIPE}
        subprocess.run([DLCACHE, "record", "-o", manifest, "--include", include, "--", *command],
                       stdout=self.null, **quiet)
        result = subprocess.run([MPIEXEC, "-n", "1", DLCACHE, "stage", "--dir", self.place, manifest],
                                stdout=subprocess.PIPE, **quiet)
        return result.stdout.decode().strip()

    def once(self, command, env, at_once):
        """Seconds by the clock until all of them have ended, and their processor time."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, self.null, fd) for fd in (0, 1)]
        pids = [os.posix_spawn(command[0], command, env, file_actions=actions) for _ in range(at_once)]
        for pid in pids:
            status = os.waitpid(pid, 0)[1]
            if status:
                raise SystemExit("%s: status %d" % (command, status))
        clock = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def times(self, kinds, at_once):
        """{kind: [(clock, processor)]}; kinds: {kind: (command, environment)}. One of each in turn."""
        result = {kind: [] for kind in kinds}
        for i in range(self.args.n + 2):
            order = list(kinds) if i % 2 else list(reversed(list(kinds)))
            for kind in order:
                measured = self.once(*kinds[kind], at_once)
                if i >= 2:
                    result[kind].append(measured)
        return result

    def calls(self, command, env, below):
        """The system calls on files, and those of them that name a path below the tree."""
        log = self.tmp + "/strace"
        subprocess.run(["strace", "-f", "-y", "-qq", "-e", "signal=none", "-e", "trace=%file,getdents64", "-s", "4096",
                        "-o", log, *command], env=env, stdin=self.null, stdout=self.null, check=True)
        with open(log, errors="surrogateescape", encoding="utf-8") as f:
            lines = [line.rsplit(" = ", 1)[0] for line in f]
        return len(lines), sum(1 for line in lines if re.search("[\"<](%s)/" % below, line))

    def case(self, name, command, more, stage, below, bar=None, at_once=(1,), floor=None, count=True):
        env = environment(more)
        kinds = {"native": (command, env), "attached": ([stage + "/run", *command], env)}
        if floor:
            kinds["floor"] = (command, {**env, **floor})
        calls = {k: self.calls(*kinds[k], below) for k in ("native", "attached")} if count else None
        for n in at_once:
            self.add("%s%s" % (name, "" if n == 1 else " x%d" % n), self.times(kinds, n), bar if n == 1 else None,
                     calls if n == at_once[0] else None)

    def add(self, name, times, bar, calls):
        row = {"name": name, "bar": bar, "calls": calls, "times": times}
        for which, index in (("clock", 0), ("processor", 1)):
            column = {k: [t[index] for t in v] for k, v in times.items()}
            row[which] = {k: statistics.median(v) for k, v in column.items()}
            for kind in ("attached", "floor"):
                if kind in column:
                    pairs = [a / b for a, b in zip(column[kind], column["native"]) if b]
                    row[which][kind + "_ratio"] = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
        self.rows.append(row)
        show(row)


def show(row):
    clock, processor = row["clock"], row["processor"]
    low, ratio, high = clock["attached_ratio"]
    bar = "%.2f" % row["bar"] if row["bar"] else ""
    floor = "%5.2f" % clock["floor_ratio"][1] if "floor_ratio" in clock else ""
    calls = "%d>%d" % (row["calls"]["native"][1], row["calls"]["attached"][1]) if row["calls"] else ""
    print("%-26s %6.1f %6.1f %4.2f %4.2f-%4.2f %4.2f %4s %5s %s" % (
        row["name"], clock["native"] * 1e3, clock["attached"] * 1e3, ratio, low, high,
        processor["attached_ratio"][1], bar, floor, calls), flush=True)


def header():
    print("%-26s %6s %6s %4s %9s %4s %4s %5s %s" % ("milliseconds, medians", "native", "attach", "", "quartiles",
                                                    "cpu", "bar", "floor", "calls"))


def run_program(bench, label, libraries, directories, at_once, bar=0.85):
    prefix, more = bench.tree(libraries, 0 if libraries < 300 else bench.args.modules, directories, 10)
    command = [prefix + "/bin/program"]
    stage = bench.stage("program-%d-%d" % (libraries, directories), command, more, prefix)
    bench.case("%s start" % label, [*command, "start"], more, stage, prefix, bar, at_once, floor=bench.floor)
    bench.case("%s visit" % label, command, more, stage, prefix, count=False)


def long_search(bench):
    run_program(bench, "300 libs, 79 dirs,", 300, 79, (1, 2, 8))


def short_search(bench):
    run_program(bench, "300 libs, 14 dirs,", 300, 14, (1, 8), None)


def hundred(bench):
    run_program(bench, "100 libs, 80 dirs,", 100, 80, (1,))


def python_driver(bench):
    prefix, more = bench.tree(300, bench.args.modules, 79, 10)
    command = [PYTHON, prefix + "/driver.py"]
    stage = bench.stage("driver", command, more, prefix)
    env = environment(more)
    bench.case("Python driver", command, more, stage, prefix, at_once=(1, 2, 8))
    phases = {"native": [], "attached": []}
    for i in range(bench.args.n + 2):
        for kind, start in (("native", []), ("attached", [stage + "/run"])):
            out = subprocess.run([*start, *command, repr(time.monotonic())], env=env, stdout=subprocess.PIPE,
                                 check=True)
            if i >= 2:
                phases[kind].append([float(x) for x in out.stdout.split()])
    for i, phase in enumerate(("start", "import", "visit")):
        bench.add("  of this: " + phase, {k: [(p[i], p[i]) for p in v] for k, v in phases.items()}, None, None)


def python_pass(bench):
    command = [PYTHON, "-c", "pass"]
    stage = bench.stage("pass", command, {}, "/usr")
    bench.case("python3 -c pass", command, {}, stage, SYSTEM, 1.05, floor=bench.floor)


def shell_script(bench):
    script = bench.tmp + "/script.sh"
    with open(script, "w", encoding="ascii") as f:
        f.write("/bin/true\n" * 100)
    command = ["/bin/sh", script]
    stage = bench.stage("script", command, {}, "/usr")
    bench.case("script of 100 x /bin/true", command, {}, stage, SYSTEM, 1.15, floor=bench.floor)


CASES = {"300-79": long_search, "300-14": short_search, "100-80": hundred, "driver": python_driver,
         "pass": python_pass, "script": shell_script}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=31, help="repetitions (default: 31)")
    parser.add_argument("-o", help="write everything that was measured, as JSON")
    parser.add_argument("--modules", type=int, default=100, help="of the Python driver")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="of " + ", ".join(CASES))
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown or args.n < 2:
        parser.error("no such case: " + ", ".join(unknown) if unknown else "at least two repetitions")
    bench = Bench(args)
    try:
        bench.floor = bench.build_floor()
        header()
        for name in args.cases or CASES:
            CASES[name](bench)
    finally:
        bench.close()
    if args.o:
        with open(args.o, "w", encoding="ascii") as f:
            json.dump({"machine": " ".join(platform.uname()[i] for i in (0, 2, 4)),
                       "libc": " ".join(platform.libc_ver()), "cores": len(os.sched_getaffinity(0)),
                       "repetitions": args.n, "rows": bench.rows}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
