"""What bench/model says with the parameters and points that were measured here: model.json, points.json, model.svg."""
import json
import subprocess
import sys

from start import measure
from start.machine import TOP

MODEL = TOP + "/bench/model/"
BANDWIDTH = float(2 << 30)  # nodes.SERVER's


def row_of(start, way, processes):
    return next(r for r in start["rows"] if (r["client"], r["way"], r["processes"]) == ("replay", way, processes))


def seconds(row, phase="ranks"):
    return row[phase]["seconds"]["median"]


def parameters(start):
    """Those of the model's own that can be measured here are; a network cannot."""
    with open(MODEL + "parameters.json", encoding="utf-8") as f:
        p = json.load(f)
    replays = [r for r in start["rows"] if r["client"] == "replay"]
    most = max(r["processes"] for r in replays)
    one, many = row_of(start, "native", 1), row_of(start, "native", most)
    mine, app = row_of(start, "dlcache", 1), start["application"]
    asked = one["ranks"]["requests"]["total"]
    nodes = many["nodes"]
    others = (many["ranks"]["requests"]["total"] - nodes * asked) / max(most - nodes, 1)
    names = sum(measure.metadata(mine["prepare"]["requests"]).values())
    latency = seconds(one) / asked
    p["application"] = {"name": app["program"], "operations": asked, "names": names, "files": app["files"],
                        "bytes": app["bytes"], "processor_s": seconds(row_of(start, "cached", 1))}
    p["node"].update(ranks=64, served_s=seconds(mine) / asked)
    p["file_system"].update(latency_s=latency, operations_per_s=many["ranks"]["requests"]["total"] / seconds(many),
                            bytes_per_s=BANDWIDTH, client_bytes_per_s=BANDWIDTH, cached_on_node=1 - others / asked)
    p["stage"].update(requests_per_node=max(start["checks"]["requests_per_node"], default=0),
                      requests_in_flight=max(1, (names + app["files"]) * latency / seconds(mine, "prepare")))
    p["origin"] = {"measured by make bench": "application (a replay: without Python's processor time), served_s, file_system,",
                   "and": "the stager's requests in flight and per node; assumed: all else"}
    return p


def points(start):
    result = []
    for r in start["rows"]:
        if r["client"] == "replay" and r["way"] in ("native", "dlcache"):
            # Here no job's manager starts the stager.
            result.append({"what": r["way"], "ranks": r["processes"], "ranks_per_node": r["processes"] // r["nodes"],
                           "seconds": r["seconds"]["median"], "start_s": 0})
    return {"points": result}


def run(directory):
    with open(directory + "/start.json", encoding="utf-8") as f:
        start = json.load(f)
    for name, data in (("parameters.json", parameters(start)), ("points.json", points(start))):
        with open("%s/%s" % (directory, name), "w", encoding="utf-8") as f:
            json.dump(data, f, indent=1)
            f.write("\n")
    command = [sys.executable, "-B", MODEL + "model.py", "-p", directory + "/parameters.json",
               "-m", directory + "/points.json"]
    with open(directory + "/model.json", "w", encoding="utf-8") as f:
        subprocess.run([*command, "-o", directory + "/model.svg", "--json"], stdout=f, check=True)
    print(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
