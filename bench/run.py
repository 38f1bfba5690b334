#!/usr/bin/python3
"""make bench: how a job starts, natively and with dlcache and in other ways, side by side; the budgets; the model.

    bench/run.py [-o DIR] [--rounds N] [--minutes M] [--processes 1,4,…] [--python 1,4,…] [--program CODE] [--only PART,…]

As root. PART: start, budgets, model. DIR (bench/results) gets start.json, budgets.json, model.json and the pictures.
README.md beside this file says what is measured, and how. Exit status 1: what has to be flat is not."""
import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import plots
from start import budgets, machine, measure, nodes, predict, ways
from start.software import Software

PROGRAM = "import scipy.stats, pandas"
IMPORT_ROUNDS = 11


def say(text):
    print(text, file=sys.stderr, flush=True)


def numbers(text):
    return sorted(int(n) for n in text.split(","))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", default=machine.TOP + "/bench/results", help="directory of the results (bench/results)")
    parser.add_argument("--rounds", type=int, default=3, help="of each start, at most (3)")
    parser.add_argument("--minutes", type=float, default=14, help="no round is begun that would end later (14)")
    parser.add_argument("--processes", type=numbers, default=[1, 4, 16, 64, 256], help="of the replay (1,4,16,64,256)")
    parser.add_argument("--python", type=numbers, default=[1, 4, 16], help="of real Python (1,4,16)")
    parser.add_argument("--program", default=PROGRAM)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["start", "budgets", "model"])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- starts of a job -----------------------------------------------------------------------------------------------

def one_round(args, software, rows, turn):
    """One start of each: the ways in turn, and not always in the same order."""
    for client, counts in (("replay", args.processes), ("python", args.python)):
        for processes in counts:
            order = ways.WAYS[turn % len(ways.WAYS):] + ways.WAYS[:turn % len(ways.WAYS)]
            for way in order:
                result = measure.start(way(software), client, processes, with_memory=turn == 0)
                rows.setdefault((client, way.name, processes), []).append(result)
                say("  %-6s %-8s %3d processes: %6.2f s before, %6.2f s, %7d requests" % (
                    client, way.name, processes, result["prepare"]["seconds"], result["ranks"]["seconds"],
                    result["prepare"]["requests"]["total"] + result["ranks"]["requests"]["total"]))


def rounds(args, software, end):
    rows, longest = {}, 0.0
    for turn in range(args.rounds):
        begun = time.monotonic()
        if turn and begun + longest > end:
            say("bench: no time for round %d of %d" % (turn + 1, args.rounds))
            break
        say("round %d" % (turn + 1))
        one_round(args, software, rows, turn)
        longest = max(longest, time.monotonic() - begun)
    return [measure.row(client, way, processes, runs) for (client, way, processes), runs in rows.items()]


def stale(args, software):
    """A module came after the pilot: what the ranks then ask for, and at which numbers of processes."""
    result = []
    for client, counts in (("replay", [n for n in args.processes if n >= 4]), ("python", args.python)):
        for processes in counts:
            requests = measure.start(ways.Dlcache(software), client, processes, stale=True)["ranks"]["requests"]
            result.append({"client": client, "processes": processes, "requests": requests,
                           "per_process": requests["total"] / processes})
            say("  stale  %-8s %3d processes: %d requests" % (client, processes, requests["total"]))
    return result


def check(rows):
    """What the design promises of the requests: (the promises, whether they hold)."""
    mine = [r for r in rows if r["way"] == "dlcache"]
    wide = [r for r in mine if r["client"] == "replay" and r["processes"] >= measure.NODES]
    metadata = {json.dumps(measure.metadata(r["prepare"]["requests"])) for r in wide}
    others = {n["total"] for r in wide for name, n in r["prepare"]["by_node"].items() if name != "node1"}
    ranks = {"%s, %d" % (r["client"], r["processes"]): r["ranks"]["requests"]["total"] for r in mine}
    return {"requests_of_ranks": ranks,
            "no_request_per_rank": all(r["ranks"]["requests"]["total"] == 0 for r in mine if r["client"] == "replay"),
            "staging_is_flat": len(metadata) <= 1, "requests_per_node": sorted(others)}


def starts(args, software, end):
    result = {"machine": machine.facts(), "server": nodes.server_facts(), "nodes": measure.NODES,
              "application": software.facts(), "squashfs": software.squashfs_kind(),
              "ways": {way.name: way.title for way in ways.WAYS}}
    result["rows"] = rounds(args, software, end)
    result["stale"] = stale(args, software)
    result["checks"] = check(result["rows"])
    result["machine"]["load_at_end"] = os.getloadavg()[0]
    return result


def costs(software):
    result = {"machine": machine.facts()}
    result["budgets"] = budgets.measured(measure.imports(software, IMPORT_ROUNDS), say)
    result["machine"]["load_at_end"] = os.getloadavg()[0]
    return result


# --- all of it -----------------------------------------------------------------------------------------------------

def write(directory, name, data):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
        f.write("\n")


def inside(args):
    end = time.monotonic() + 60 * args.minutes
    os.makedirs(args.o, exist_ok=True)
    software = None
    if {"start", "budgets"} & set(args.only):
        nodes.prepare()
        say("the software, a tar and an image of it; the pilot")
        software = Software(args.program)
        software.make()
    if "budgets" in args.only:
        write(args.o, "budgets.json", costs(software))
    if "start" in args.only:
        result = starts(args, software, end)
        write(args.o, "start.json", result)
        plots.start(result, args.o + "/start.svg")
        print(measure.table(result))
        checks = result["checks"]
        if not (checks["no_request_per_rank"] and checks["staging_is_flat"]):
            raise SystemExit("bench: the number of requests is not independent of the number of ranks: %s" % checks)
    if "model" in args.only:
        predict.run(args.o)
    return 0


def main():
    args = parse()
    if args.inside:
        return inside(args)
    if os.getuid() != 0:
        raise SystemExit("bench: mounting wants root")
    for path in (nodes.TOP, nodes.SW):
        if not os.path.isdir(path) or (machine.TOP + "/").startswith(path + "/"):
            raise SystemExit("bench: %s has to be a directory, and not one that this is below: it is mounted upon" % path)
    # What is started here ends with this process, and what is mounted goes with it.
    os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-B",
                          os.path.abspath(__file__), *sys.argv[1:], "--inside"])


if __name__ == "__main__":
    sys.exit(main())
