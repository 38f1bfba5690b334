"""The budgets: what we have set ourselves, and what was measured side by side, by the benchmarks of their own (in short
forms, a few repetitions each)."""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

from start.machine import BUILD, TOP

BENCH = TOP + "/bench"


def ran(argv, say):
    say("  " + " ".join(argv).replace(TOP + "/", ""))
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            check=False, env={**os.environ, "BUILD": BUILD})
    if result.returncode:
        raise SystemExit("bench: %s: status %d\n%s" % (argv[0], result.returncode, result.stderr))
    return result.stdout


def told(argv, say):
    """What a benchmark writes with -o."""
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        ran([*argv, "-o", f.name], say)
        return json.load(f)


def budget(what, ratio, bar, by, **more):
    return {"what": what, "ratio": ratio, "bar": bar, "met": ratio <= bar, "by": by, **more}


def importing(pairs):
    low, middle, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return [budget("import scipy.stats, pandas: staged / native, all in the page cache", middle, 0.95, "bench/run.py",
                   quartiles=[low, high])]


def starting(say):
    names = {"100 libs, 80 dirs, start": "100 libraries over 80 directories: staged / native",
             "python3 -c pass": "python3 -c pass: staged / native",
             "script of 100 x /bin/true": "a script of 100 short commands: staged / native"}
    rows = told([sys.executable, "-B", BENCH + "/loader.py", "-n", "9", "100-80", "pass", "script"], say)["rows"]
    result = []
    for r in rows:
        if r["name"] in names and r["bar"]:
            low, middle, high = r["clock"]["attached_ratio"]
            floor = r["clock"].get("floor_ratio")  # with libraries that do nothing
            result.append(budget(names[r["name"]], middle, r["bar"], "bench/loader.py", quartiles=[low, high],
                                 floor=floor[1] if floor else None))
    return result


def calling(say):
    data = told([sys.executable, "-B", BENCH + "/micro/micro.py", "-n", "11"], say)
    names = {"stat": "stat of a path that is there: served / kernel", "stat-absent": "... that is not: served / kernel"}
    result = [budget(names[r["name"]], r["ratio"][1], r["bar"], "bench/micro/micro.py",
                     quartiles=[r["ratio"][0], r["ratio"][2]]) for r in data["calls"] if r["name"] in names]
    memory = data["memory_kB"]
    return result + [budget("private memory of the libraries in a process, of 64 kB", sum(memory.values()) / 64, 1,
                            "bench/micro/micro.py", kilobytes=memory)]


def recording(say):
    out = ran(["sh", BENCH + "/record.sh", "9"], say)
    ratio = float(re.search(r"^noting +\S+ +(\S+)", out, re.MULTILINE).group(1))
    return [budget("recording / native", ratio, 1.15, "bench/record.sh")]


def staging(say):
    row = told([sys.executable, "-B", BENCH + "/stage/run.py", "--sets", "small", "--nodes", "1", "--repeat", "5"],
               say)["results"][0]
    seconds = {way: row[way]["seconds"] for way in ("stage", "copy", "tar")}
    return [budget("stage of 100 MB on one node / reading and writing it", seconds["stage"] / seconds["copy"], 1.5,
                   "bench/stage/run.py", seconds=seconds)]


def measured(pairs, say):
    return importing(pairs) + starting(say) + calling(say) + recording(say) + staging(say)
