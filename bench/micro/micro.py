#!/usr/bin/python3
"""What single calls cost, answered from the stage and by the kernel: side by side in one process (micro.c).

    bench/micro/micro.py [-n REPETITIONS] [-o FILE.json]

A line of the table: medians in ns a call, their ratio (median of the pairs) and its quartiles, and the bar. At the end
the private memory that the libraries of the stage have in one process."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
DLCACHE = BUILD + "/dlcache"
MPIEXEC = os.environ.get("MPIEXEC", "mpiexec.mpich")
UNWANTED = re.compile(r"^(DLCACHE_|LD_|PYTHON|PMI|PMIX|OMPI|SLURM|GLIBC_TUNABLES)")

BARS = {"stat": 0.2, "stat-absent": 0.2}
MEMORY_BAR = 64  # kB
FILES = 100


def make_tree(top):
    for d in ("dir-0", "dir-1"):
        os.makedirs("%s/%s" % (top, d))
        for i in range(FILES):
            with open("%s/%s/module-%d.py" % (top, d, i), "w", encoding="ascii") as f:
                f.write("x = %d\n" % i)
    os.makedirs(top + "/dir-0/a/b/c/d/e/f")
    with open(top + "/dir-0/a/b/c/d/e/f/module.py", "w", encoding="ascii") as f:
        f.write("x = 1\n")
    os.symlink("dir-0", top + "/link")


PILOT = """
import os, sys
for where, dirs, files in os.walk(sys.argv[1]):
    for name in files:
        open(os.path.join(where, name)).read()
os.readlink(sys.argv[1] + "/link")
"""


def measure(tmp, place, repetitions):
    env = {k: v for k, v in os.environ.items() if not UNWANTED.match(k)}
    tree = tmp + "/lib/python3/site-packages"  # as deep as modules lie
    make_tree(tree)
    quiet = {"env": env, "stdin": subprocess.DEVNULL, "check": True}
    subprocess.run(["cc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-o", tmp + "/micro",
                    TOP + "/bench/micro/micro.c", "-ldl"], **quiet)
    subprocess.run([DLCACHE, "record", "-o", tmp + "/m.json", "--include", tmp + "/lib", "--", "/usr/bin/python3", "-c",
                    PILOT, tree], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, **quiet)
    stage = subprocess.run([MPIEXEC, "-n", "1", DLCACHE, "stage", "--dir", place, tmp + "/m.json"], stderr=subprocess.PIPE,
                           stdout=subprocess.PIPE, text=True, **quiet).stdout.strip()
    out = subprocess.run([stage + "/run", tmp + "/micro", tree, str(repetitions)], stdout=subprocess.PIPE, text=True,
                         **quiet).stdout
    times, memory = {}, {}
    for line in out.splitlines():
        words = line.split()
        if words[0] == "memory":
            memory[words[1]] = int(words[2])
        else:
            times.setdefault(words[0], []).append((float(words[1]), float(words[2])))
    return times, memory


def summary(times):
    rows = []
    for name, pairs in times.items():
        ratios = [a / b for a, b in pairs]
        rows.append({"name": name, "served_ns": statistics.median(a for a, _ in pairs),
                     "native_ns": statistics.median(b for _, b in pairs),
                     "ratio": statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3,
                     "bar": BARS.get(name), "pairs": pairs})
    return rows


def show(rows, memory):
    print("%-22s %10s %10s %7s  %-13s %6s" % ("ns a call", "served", "kernel", "ratio", "quartiles", "bar"))
    for r in rows:
        low, middle, high = r["ratio"]
        bar = "" if r["bar"] is None else "%.2f%s" % (r["bar"], "" if middle <= r["bar"] else " MISSED")
        print("%-22s %10.0f %10.0f %7.3f  %.3f-%.3f   %s" %
              (r["name"], r["served_ns"], r["native_ns"], middle, low, high, bar))
    total = sum(memory.values())
    print("\nprivate memory, kB: %s; together %d (bar %d%s)" %
          (", ".join("%s %d" % i for i in memory.items()), total, MEMORY_BAR, "" if total <= MEMORY_BAR else ", MISSED"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-n", type=int, default=21, help="repetitions (21)")
    parser.add_argument("-o", help="all that was measured, as JSON")
    args = parser.parse_args()
    # Where the root file system is: what a tmpfs answers is not what is to be compared with.
    tmp = tempfile.mkdtemp(prefix="dlcache-bench.", dir="/var/tmp")
    place = tempfile.mkdtemp(prefix="dlcache-bench.", dir="/dev/shm")
    try:
        times, memory = measure(tmp, place, args.n)
    finally:
        for path in (tmp, place):
            subprocess.run(["chmod", "-R", "u+rwx", path], stderr=subprocess.DEVNULL, check=False)
            shutil.rmtree(path, ignore_errors=True)
    rows = summary(times)
    show(rows, memory)
    if args.o:
        with open(args.o, "w", encoding="utf-8") as f:
            json.dump({"host": os.uname().nodename, "kernel": os.uname().release, "calls": rows, "memory_kB": memory}, f,
                      indent=1)
            f.write("\n")


if __name__ == "__main__":
    sys.exit(main())
