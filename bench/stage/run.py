"""How long staging takes, beside what it cannot be faster than, and beside a broadcast of a tar that is unpacked: in
ratios, measured in turn on the simulated nodes of a lab (test/lab), which share one machine. As root.

usage: run.py [-o JSON] [--nodes 1,2,4] [--sets small,large] [--repeat N]"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
PROGS = os.path.join(BUILD, "bench")
LAB = os.path.join(TOP, "test/lab/lab")

# name: (what it is, files, bytes, repetitions)
SETS = {"small": ("1,500 files, 100 MB", 1500, 100_000_000, 5), "large": ("1,000 files, 2 GB", 1000, 2_000_000_000, 3)}
WAYS = ("stage", "copy", "bcast", "tar")
TITLES = {"stage": "dlcache stage", "copy": "(a) read and write, no network", "bcast": "(b) MPI_Bcast alone",
          "tar": "(c) MPI_Bcast of a tar, tar -x"}


def make(where, files, total):
    """Files of many sizes, as software has them, or of one; the list for copy, the manifest, the tar."""
    rnd = random.Random(1)
    weights = [rnd.lognormvariate(0, 1.5) for _ in range(files)] if total < 10 ** 9 else [1] * files
    scale = total / sum(weights)
    tree = os.path.join(where, "tree")
    block = rnd.randbytes(1 << 20)
    names, directories = [], []
    for i, weight in enumerate(weights):
        directory = "d%02d" % (i // 25)
        if directory not in directories:
            os.makedirs(os.path.join(tree, directory))
            directories.append(directory)
        names.append("%s/file%04d" % (directory, i))
        with open(os.path.join(tree, names[-1]), "wb") as f:
            left = int(weight * scale)
            f.write(b"%d\n" % i)
            while left > 0:
                f.write(block[:left])
                left -= len(block)
    with open(os.path.join(where, "list"), "w") as f:
        f.write("".join(d + "/\n" for d in directories) + "".join(n + "\n" for n in names))
    entries = [{"path": os.path.join(tree, n), "kind": "data", "counts": {"open": 1}, "order": i}
               for i, n in enumerate(names)]
    head = {"format": "dlcache-manifest", "version": 1, "command": ["x"], "cwd": "/", "host": "h",
            "recorded": "2026-01-01T00:00:00Z", "interpreter": "/bin/x", "processes": 1, "exit_status": 0,
            "search": [], "mounts": [],
            "policy": {"all": False, "include": [tree], "exclude": [], "prefixes": [tree]}}
    with open(os.path.join(where, "m.json"), "w") as f:
        f.write(json.dumps(head)[:-1] + ',"entries":[\n' + ",\n".join(map(json.dumps, entries)) + "\n]}\n")
    subprocess.run(["tar", "-C", tree, "-cf", os.path.join(where, "all.tar"), "."], check=True)
    # What was just written is written back before anything is measured; it stays in the page cache.
    os.sync()


def each(nodes):
    return ["-N%d" % nodes, "-n%d" % nodes, "--ntasks-per-node=1", "--nodelist=node[1-%d]" % nodes]


def measured(nodes, scratch, command):
    """One step of one rank a node: (seconds from the first start to the last end, processor seconds, memory a rank)."""
    out = os.path.join(scratch, "times")
    step = subprocess.run(["srun", "--mpi=pmi2", *each(nodes), os.path.join(PROGS, "timed"), out, *command],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if step.returncode:
        sys.exit("run.py: %s: %s" % (" ".join(command), step.stderr))
    rows = []
    for rank in range(nodes):
        with open("%s.%d" % (out, rank)) as f:
            rows.append([float(x) for x in f.read().split()])
        os.unlink("%s.%d" % (out, rank))
    return max(r[1] for r in rows) - min(r[0] for r in rows), sum(r[2] for r in rows), [r[3] for r in rows]


def one(way, nodes, where, scratch):
    place = "/dev/shm/bench"
    data = os.path.join(where, "tree")
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(data) for f in files)
    subprocess.run(["srun", *each(nodes), "rm", "-rf", place, place + ".tar"], check=True)
    command = {"stage": [os.path.join(BUILD, "dlcache"), "stage", "--dir", place, os.path.join(where, "m.json")],
               "copy": [os.path.join(PROGS, "copy"), data, place, os.path.join(where, "list")],
               "bcast": [os.path.join(PROGS, "bcast"), str(size)],
               "tar": [os.path.join(PROGS, "bcast"), os.path.join(where, "all.tar"), place]}[way]
    if way == "stage":
        subprocess.run(["srun", *each(nodes), "mkdir", "-m", "700", place], check=True)
    result = measured(nodes, scratch, command)
    subprocess.run(["srun", *each(nodes), "sh", "-c", "chmod -R u+w %s 2>/dev/null; rm -rf %s" % (place, place)],
                   check=True)
    return result


def available():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable: *(\d+)", f.read()).group(1)) * 1024


def inside(o):
    """In the lab, on its login node."""
    results = []
    for name in o.sets.split(","):
        what, _, size, repeat = SETS[name]
        where = os.path.join(o.data, name)
        for nodes in map(int, o.nodes.split(",")):
            need = {w: nodes * size * (2 if w == "tar" else 1) * 1.1 for w in WAYS}
            ways = [w for w in WAYS if w == "bcast" or need[w] < available()]
            runs = {w: [] for w in ways}
            for _ in range(o.repeat or repeat):
                for way in ways:
                    runs[way].append(one(way, nodes, where, o.data))
            row = {"set": name, "what": what, "nodes": nodes}
            for way in ways:
                walls = sorted(r[0] for r in runs[way])
                row[way] = {"seconds": statistics.median(walls), "from": walls[0], "to": walls[-1],
                            "cpu": statistics.median(r[1] for r in runs[way]),
                            "memory": max(max(r[2]) for r in runs[way])}
            results.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    return results


def requests(data):
    """Calls that name a path, of a rank that does not read: what a node's stager itself asks of file systems."""
    log = os.path.join(data, "calls")
    env = dict(os.environ)
    place = tempfile.mkdtemp(prefix="dlcache-bench.", dir="/dev/shm")
    script = 'if [ "$PMI_RANK" = 1 ]; then exec strace -f -qq -e trace=%%file -o %s "$@"; else exec "$@"; fi' % log
    try:
        subprocess.run(["mpiexec.mpich", "-n", "2", "sh", "-c", script, "sh", os.path.join(BUILD, "dlcache"), "stage",
                        "--dir", place, os.path.join(data, "small", "m.json")], env=env, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        subprocess.run("chmod -R u+w %s; rm -rf %s" % (place, place), shell=True, check=False)
    seen = {}
    with open(log) as f:
        for line in f:
            paths = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            # What is relative is below the stage, in the node's memory.
            own = paths and paths[0].startswith(BUILD)
            if not paths or not paths[0].startswith("/") or (
                    not own and paths[0].startswith(("/dev", "/proc", "/sys", "/run", "/tmp"))):
                continue
            call = line.split(None, 1)[1].split("(")[0]
            kind = ("of dlcache's own files" if own else
                    "of the system's libraries, MPI's first" if re.search(r"\.so|/lib", paths[0]) else
                    "of the system's other files")
            seen.setdefault(kind, []).append(call + " " + paths[0] + (" (not there)" if " = -1 ENOENT" in line else ""))
    return seen


def table(results, calls):
    out = ["Staging on N nodes of one machine with %d cores, which they share: no network, and what several" % os.cpu_count(),
           "nodes do at once takes as much longer. Medians of runs in turn; in brackets the fastest and the slowest;",
           "CPU: of all nodes together.", ""]
    for row in results:
        out.append("%s, %d node%s" % (row["what"], row["nodes"], "s" if row["nodes"] > 1 else ""))
        base = row["stage"]["seconds"]
        for way in WAYS:
            if way not in row:
                out.append("  %-31s not enough memory" % TITLES[way])
                continue
            r = row[way]
            out.append("  %-31s %6.2f s [%5.2f %5.2f] CPU %5.2f s  ratio %5.2f" % (
                TITLES[way], r["seconds"], r["from"], r["to"], r["cpu"], base / r["seconds"]))
        slower = max(row[w]["seconds"] for w in ("copy", "bcast") if w in row)
        total = sum(row[w]["seconds"] for w in ("copy", "bcast") if w in row)
        text = "  stage / the slower of (a), (b): %.2f; / both, one after the other: %.2f" % (base / slower, base / total)
        if "tar" in row:
            text += "; (c) / stage: %.2f" % (row["tar"]["seconds"] / base)
        out += [text, ""]
    out.append("Calls with a path that the stager of a node that does not read makes, /dev, /proc, /sys and /tmp apart:")
    for kind, lines in sorted(calls.items()):
        out.append("  %3d %s, %d of them not there" % (len(lines), kind, sum("(not there)" in l for l in lines)))
    return "\n".join(out)


def main():
    p = argparse.ArgumentParser(usage=__doc__.split("usage: ", 1)[1])
    p.add_argument("-o")
    p.add_argument("--nodes", default="1,2,4")
    p.add_argument("--sets", default="small,large")
    p.add_argument("--repeat", type=int)
    p.add_argument("--data", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.data:
        with open(os.path.join(o.data, "results"), "w") as f:
            json.dump(inside(o), f)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up
    o.data = tempfile.mkdtemp(prefix="dlcache-bench.", dir="/var/tmp")
    try:
        for name in set(o.sets.split(",")) | {"small"}:
            os.mkdir(os.path.join(o.data, name))
            make(os.path.join(o.data, name), *SETS[name][1:3])
        most = max(map(int, o.nodes.split(",")))
        subprocess.run([LAB, "with", str(most), "--", sys.executable, os.path.abspath(__file__), "--data", o.data, "--nodes", o.nodes,
                        "--sets", o.sets, *(["--repeat", str(o.repeat)] if o.repeat else [])], check=True)
        with open(os.path.join(o.data, "results")) as f:
            results = json.load(f)
        calls = requests(o.data)
        print(table(results, calls))
        if o.o:
            with open(o.o, "w") as f:
                json.dump({"cores": os.cpu_count(), "results": results, "calls": calls}, f, indent=1)
    finally:
        shutil.rmtree(o.data, ignore_errors=True)


main()
