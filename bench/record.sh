#!/bin/sh
# What recording costs: `import scipy.stats, pandas`, natively, noting (the environment alone), and by `dlcache record`
# with its collecting afterwards. Side by side, one after the other in turn, all in the page cache; medians.
#   BUILD=build bench/record.sh [ROUNDS]
exec /usr/bin/python3 -B - "${1:-15}" "${BUILD:-build}" <<'PYTHON'
import os, resource, shutil, statistics, subprocess, sys, tempfile, time

rounds, build = int(sys.argv[1]), os.path.abspath(sys.argv[2])
command = ["/usr/bin/python3", "-c", "import scipy.stats, pandas"]
scratch = tempfile.mkdtemp(prefix="dlcache-bench.")
plain = {k: v for k, v in os.environ.items() if not k.startswith(("DLCACHE_", "LD_", "PYTHON", "GLIBC_TUNABLES"))}


def run(argv, env):
    """Seconds: of the clock, and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, env=env, check=True, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def native():
    return run(command, plain)


def noting():
    spool = tempfile.mkdtemp(dir=scratch)
    result = run(command, dict(plain, DLCACHE_RECORD=spool, LD_PRELOAD=build + "/libdlcache.so",
                               LD_AUDIT=build + "/libdlcache-audit.so",
                               GLIBC_TUNABLES="glibc.rtld.optional_static_tls=16384"))
    shutil.rmtree(spool)
    return result


def record():
    return run([build + "/dlcache", "record", "-o", scratch + "/m.json", "--spool", scratch, "--include", "/usr", "--",
                *command], plain)


ways = {"native": native, "noting": noting, "dlcache record": record}
times = {name: [] for name in ways}
try:
    for way in ways.values():  # into the page cache
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
finally:
    shutil.rmtree(scratch)
print("import scipy.stats, pandas; %d rounds in turn, medians" % rounds)
print("%-16s %10s %8s %10s %8s" % ("", "clock, s", "ratio", "CPU, s", "ratio"))
median = {name: [statistics.median(t[i] for t in times[name]) for i in (0, 1)] for name in ways}
for name in ways:
    wall, cpu = median[name]
    # Of pairs that ran beside each other: a machine that is busy for a while is so for both.
    ratio = [statistics.median(a[i] / b[i] for a, b in zip(times[name], times["native"])) for i in (0, 1)]
    print("%-16s %10.3f %8.2f %10.3f %8.2f" % (name, wall, ratio[0], cpu, ratio[1]))
print("of dlcache record, collecting takes about %.3f s" % (median["dlcache record"][0] - median["noting"][0]))
PYTHON
