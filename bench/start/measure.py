"""One start of a job, in one way: what it took, what the server was asked for, what it left in the nodes' memory."""
import json
import statistics
import time

from start.nodes import Nodes
from start.ways import Cached, Dlcache

NODES = 4

# N at a time; they say themselves when they have started.
MANY = 'n=$1; shift; while [ "$n" -gt 0 ]; do "$@" & n=$((n - 1)); done; wait'


def summed(requests):
    result = {}
    for counts in requests.values():
        for kind, n in counts.items():
            result[kind] = result.get(kind, 0) + n
    return result


def replay(nodes, way, each, manifest):
    """Seconds from the first operation to the last one's end, of all nodes; what was not as the manifest says."""
    out = nodes.on_all([*way.replay(manifest), "-n", str(each)])
    told = [json.loads(text) for text in out.values()]
    wrong = {key: sum(t[key] for t in told) for key in ("missing", "appeared", "failed")}
    if any(wrong.values()):
        raise SystemExit("bench: %s: a replay differs from its pilot: %s, %s" % (
            way.name, wrong, [t.get("first_error") for t in told]))
    return max(t["ended"] for t in told) - min(t["began"] for t in told), told


def python(nodes, way, each, stale=False):
    """Seconds from the start of the first rank to the end of the last one's imports."""
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    out = nodes.on_all(["sh", "-c", MANY, "many", str(each), *way.python(stale)])
    ends = [float(line) for text in out.values() for line in text.split()]
    if len(ends) != each * len(nodes.names):
        raise SystemExit("bench: %s: %d ranks of %d have started" % (way.name, len(ends), each * len(nodes.names)))
    return max(ends) - began


def start(way, client, processes, with_memory=False, stale=False):
    """{"prepare": …, "ranks": …}: seconds and requests of both phases."""
    count = min(NODES, processes)
    each = processes // count
    with Nodes(count, way.served) as nodes:
        nodes.requests()
        before = time.monotonic()
        way.prepare(nodes)
        prepared = time.monotonic() - before
        prepare = nodes.requests()
        if client == "python":
            seconds = python(nodes, way, each, stale)
        else:
            seconds, _ = replay(nodes, way, each, way.software.stale_manifest if stale else way.manifest())
        ranks = nodes.requests()
        result = {"prepare": {"seconds": prepared, "requests": summed(prepare), "by_node": prepare},
                  "ranks": {"seconds": seconds, "requests": summed(ranks), "by_node": ranks},
                  "seconds": prepared + seconds}
        if with_memory:
            result["memory"] = nodes.memory(way.files)
    return result



# --- many starts ---------------------------------------------------------------------------------------------------

def metadata(requests):
    """How many reads one file takes depends on how the kernel reads ahead; all else is what somebody asked for."""
    return {kind: n for kind, n in sorted(requests.items()) if kind not in ("read", "total", "absent", "bytes_read")}


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def row(client, way, processes, runs):
    """Medians of the times; the requests of the first run, and the totals of all."""
    result = {"client": client, "way": way, "processes": processes, "nodes": min(NODES, processes), "runs": len(runs),
              "seconds": spread([r["seconds"] for r in runs])}
    for phase in ("prepare", "ranks"):
        result[phase] = {"seconds": spread([r[phase]["seconds"] for r in runs]), "requests": runs[0][phase]["requests"],
                         "by_node": runs[0][phase]["by_node"],
                         "totals": [r[phase]["requests"]["total"] for r in runs]}
    result["memory"] = runs[0].get("memory")
    return result


def imports(software, rounds):
    """Real Python on one node, everything in the page cache: [(seconds natively, seconds attached)], in turn."""
    pairs = []
    with Nodes(1, served=False) as nodes:
        attached = Dlcache(software)
        attached.prepare(nodes)
        for i in range(rounds + 2):
            pair = {way.name: python(nodes, way, 1) for way in ((Cached(software), attached)[::-1 if i % 2 else 1])}
            if i >= 2:
                pairs.append((pair["cached"], pair["dlcache"]))
    return pairs


def table(result):
    lines = ["", "Seconds until the last process has started, what comes before included; requests at the server",
             "%-9s %-9s" % ("client", "processes") + "".join("%20s" % w for w in result["ways"])]
    cells = {(r["client"], r["processes"], r["way"]): "%.2f s %9d" % (
        r["seconds"]["median"], r["prepare"]["requests"]["total"] + r["ranks"]["requests"]["total"])
             for r in result["rows"]}
    for client, processes in dict.fromkeys((r["client"], r["processes"]) for r in result["rows"]):
        lines.append("%-9s %-9d" % (client, processes) + "".join(
            "%20s" % cells[client, processes, way] for way in result["ways"]))
    checks = result["checks"]
    ranks = ", ".join("%s: %d" % i for i in checks["requests_of_ranks"].items())
    lines += ["", "dlcache: requests of all ranks: %s" % ranks,
              "dlcache: staging asks for the same at any number of processes: %s; a node that does not read: %s" % (
                  "yes" if checks["staging_is_flat"] else "NO", ", ".join(map(str, checks["requests_per_node"])) or "-"),
              "dlcache, a module that came after the pilot: " + ", ".join(
                  "%s %d: %d" % (s["client"], s["processes"], s["requests"]["total"]) for s in result["stale"])]
    return "\n".join(lines)
