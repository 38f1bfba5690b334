#!/usr/bin/python3
"""How long a job of many ranks takes to start, natively and with dlcache: a model, and what it says.

    bench/model/model.py [-p PARAMETERS.json] [-m POINTS.json] [-o PLOT.svg] [--json]

README.md beside this file says what is assumed, and what each parameter means."""
import argparse
import json
import math
import os
import sys
from xml.sax.saxutils import escape

HERE = os.path.dirname(os.path.abspath(__file__))
RANKS = [10 ** (e / 8) for e in range(49)]  # 1 to 1,000,000

ASSUMPTIONS = (
    "Metadata is one server of so many operations a second; a rank waits for each request before the next.",
    "Native: the band is max(chain, metadata, data) to their sum. dlcache: staging (pipelined), then the ranks.",
)

KEYS = {
    "application": ("operations", "names", "files", "bytes", "processor_s"),
    "node": ("ranks", "served_s", "tmpfs_bytes_per_s", "name_s"),
    "file_system": ("latency_s", "operations_per_s", "bytes_per_s", "client_bytes_per_s", "cached_on_node"),
    "network": ("latency_s", "overhead_s", "gap_s", "gap_per_byte_s", "children"),
    "stage": ("start_s", "requests_in_flight", "chunk_bytes", "requests_per_node"),
}

DIVISORS = ("ranks", "tmpfs_bytes_per_s", "operations_per_s", "bytes_per_s", "client_bytes_per_s", "children",
            "requests_in_flight", "chunk_bytes")


def load(path):
    """The parameters; what is missing, or no number, is said and ends the program."""
    with open(path, encoding="utf-8") as f:
        p = json.load(f)
    for group, names in KEYS.items():
        for name in names:
            value = p.get(group, {}).get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise SystemExit("%s: %s.%s is no number of 0 or more" % (path, group, name))
            if value == 0 and name in DIVISORS:
                raise SystemExit("%s: %s.%s is 0" % (path, group, name))
    return p


def nodes_of(p, ranks, per_node=None):
    return math.ceil(ranks / (per_node or p["node"]["ranks"]))


def native(p, ranks, per_node=None):
    """(at least, at most), in seconds: the bounds of a closed network of queues."""
    app, fs = p["application"], p["file_system"]
    nodes = nodes_of(p, ranks, per_node)
    on_node = ranks / nodes
    # What one rank of a node has asked, the others find in its cache, in part; contents all of them do.
    requests = app["operations"] * nodes * (1 + (on_node - 1) * (1 - fs["cached_on_node"]))
    chain = app["processor_s"] + app["operations"] * fs["latency_s"] + app["bytes"] / fs["client_bytes_per_s"]
    metadata = requests / fs["operations_per_s"]
    data = app["bytes"] * nodes / fs["bytes_per_s"]
    return max(chain, metadata, data), chain + metadata + data


def depth(nodes, children):
    """Levels below the root of the least tree of so many nodes in which each has `children`."""
    levels, held, level = 0, 1, 1
    while held < nodes:
        level *= children
        held += level
        levels += 1
    return levels


def staging(p, ranks, per_node=None):
    """Seconds until the last node has laid down the last chunk, and all names."""
    app, fs, net, stage, node = (p[k] for k in ("application", "file_system", "network", "stage", "node"))
    nodes = nodes_of(p, ranks, per_node)
    size = min(stage["chunk_bytes"], app["bytes"])
    chunks = math.ceil(app["bytes"] / stage["chunk_bytes"])
    looked_up = (app["names"] + app["files"]) * fs["latency_s"] / stage["requests_in_flight"]
    read = size / fs["client_bytes_per_s"]
    # A node hands a chunk on to its children, one after the other.
    send = net["children"] * max(net["gap_s"], size * net["gap_per_byte_s"]) if nodes > 1 else 0
    write = size / node["tmpfs_bytes_per_s"]
    hops = depth(nodes, int(net["children"])) * (net["latency_s"] + 2 * net["overhead_s"] + send)
    # The first chunk goes all the way; each of the others comes as long after it as the slowest part takes.
    contents = read + hops + write + max(chunks - 1, 0) * max(read, send, write)
    return stage["start_s"] + looked_up + contents + app["names"] * node["name_s"]


def served(p, ranks, per_node=None):
    """Seconds of the ranks themselves."""
    app, fs = p["application"], p["file_system"]
    left = p["stage"]["requests_per_node"]
    nodes = nodes_of(p, ranks, per_node)
    return (app["processor_s"] + app["operations"] * p["node"]["served_s"] +
            max(left * fs["latency_s"], left * nodes / fs["operations_per_s"]))


def dlcache(p, ranks, per_node=None):
    return staging(p, ranks, per_node) + served(p, ranks, per_node)


def errors(p, points):
    """Each measured point beside what the model says: the relative error; of a band, from its nearer end."""
    rows = []
    start = p["stage"]["start_s"]
    for point in points:
        where = point["ranks"], point.get("ranks_per_node")
        measured = point["seconds"]
        p = dict(p, stage=dict(p["stage"], start_s=point.get("start_s", start)))
        if point["what"] == "native":
            low, high = native(p, *where)
            said = min(max(measured, low), high)
        elif point["what"] in ("dlcache", "staging"):
            said = {"dlcache": dlcache, "staging": staging}[point["what"]](p, *where)
        else:
            raise SystemExit("a point is of native, dlcache or staging, not of %r" % point["what"])
        rows.append(dict(point, model=said, error=(said - measured) / measured))
    return rows


# --- telling ---------------------------------------------------------------------------------------------------------

def span(seconds):
    for unit, size in (("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return "%.3g %s" % (seconds / size, unit)
    return "%.3g us" % (seconds * 1e6)


def show(p, rows):
    print("%9s %7s %21s %10s %10s %9s" % ("ranks", "nodes", "native", "staging", "dlcache", "gain"))
    for ranks in [1, 10, 100, 1000, 10000, 100000, 1000000]:
        low, high = native(p, ranks)
        with_ = dlcache(p, ranks)
        print("%9d %7d %10s %10s %10s %10s %8.3gx" % (ranks, nodes_of(p, ranks), span(low), span(high),
                                                    span(staging(p, ranks)), span(with_), low / with_))
    if rows:
        print("\n%-8s %9s %12s %12s %8s" % ("measured", "ranks", "seconds", "model", "error"))
        for r in rows:
            print("%-8s %9d %12.4g %12.4g %+7.1f%%" %
                  (r["what"], r["ranks"], r["seconds"], r["model"], 100 * r["error"]))


class Plot:
    """Curves on two logarithmic axes, as SVG."""
    LEFT, TOP, WIDTH, HEIGHT = 70, 40, 620, 380

    def __init__(self, low, high):
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        self.parts = []

    def x(self, ranks):
        return self.LEFT + self.WIDTH * math.log10(ranks) / 6

    def y(self, seconds):
        return self.TOP + self.HEIGHT * (self.high - math.log10(seconds)) / (self.high - self.low)

    def text(self, x, y, text, anchor="middle", size=12):
        self.parts.append('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' %
                          (x, y, anchor, size, escape(text)))

    def axes(self, title):
        for e in range(7):
            self.parts.append('<path class="grid" d="M%.1f %dv%d"/>' % (self.x(10 ** e), self.TOP, self.HEIGHT))
            self.text(self.x(10 ** e), self.TOP + self.HEIGHT + 18, format(10 ** e, ","))
        for e in range(self.low, self.high + 1):
            self.parts.append('<path class="grid" d="M%d %.1fh%d"/>' % (self.LEFT, self.y(10 ** e), self.WIDTH))
            self.text(self.LEFT - 8, self.y(10 ** e) + 4, "%g s" % 10 ** e, "end")
        self.text(self.LEFT + self.WIDTH / 2, 22, title, size=15)
        self.text(self.LEFT + self.WIDTH / 2, self.TOP + self.HEIGHT + 38, "ranks")

    def path(self, points):
        return "M" + "L".join("%.1f %.1f" % (self.x(r), self.y(s)) for r, s in points)

    def curve(self, name, points):
        self.parts.append('<path class="%s" d="%s"/>' % (name, self.path(points)))

    def band(self, name, low, high):
        self.parts.append('<path class="%s band" d="%sZ"/>' % (name, self.path(low + high[::-1])))

    def svg(self, notes):
        bottom = self.TOP + self.HEIGHT + 62
        for i, note in enumerate(notes):
            self.text(self.LEFT, bottom + 15 * i, note, "start", 11)
        return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 %d" font-family="sans-serif">\n<style>'
                '.grid{stroke:#ddd}path{fill:none}.native{stroke:#c0392b;stroke-width:2}.dlcache{stroke:#1f618d;'
                'stroke-width:2}.staging{stroke:#1f618d;stroke-dasharray:4 3}.band{fill:#c0392b;fill-opacity:.15;'
                'stroke:none}circle.native{fill:#c0392b}circle.dlcache,circle.staging{fill:#1f618d}</style>\n'
                '<rect width="100%%" height="100%%" fill="#fff"/>\n%s\n</svg>\n' %
                (bottom + 15 * len(notes), "\n".join(self.parts)))


def draw(p, rows, path):
    bounds = [(r, native(p, r)) for r in RANKS]
    low, high = [(r, b[0]) for r, b in bounds], [(r, b[1]) for r, b in bounds]
    with_, staged = [(r, dlcache(p, r)) for r in RANKS], [(r, staging(p, r)) for r in RANKS]
    seconds = [s for _, s in low + high + with_ + staged] + [r["seconds"] for r in rows]
    plot = Plot(min(seconds), max(seconds))
    plot.axes("Time to start: %s" % p["application"].get("name", "the application"))
    plot.band("native", low, high)
    for name, points in (("native", low), ("dlcache", with_), ("staging", staged)):
        plot.curve(name, points)
    plot.text(plot.x(1e5), plot.y(native(p, 1e5)[0]) - 14, "native", "end", 13)
    plot.text(plot.x(1e6) - 6, plot.y(with_[-1][1]) - 8, "dlcache (dashed: its staging)", "end", 13)
    for r in rows:
        plot.parts.append('<circle class="%s" cx="%.1f" cy="%.1f" r="4"/>' %
                          (r["what"], plot.x(r["ranks"]), plot.y(r["seconds"])))
    fs, net = p["file_system"], p["network"]
    notes = ["A model, not a measurement%s." % (" (dots: measured)" if rows else ""), *ASSUMPTIONS,
             "%g ranks a node; metadata %g operations/s, %s each; file system %.3g GB/s, a client %.3g GB/s; "
             "network %.3g GB/s." %
             (p["node"]["ranks"], fs["operations_per_s"], span(fs["latency_s"]), fs["bytes_per_s"] / 1e9,
              fs["client_bytes_per_s"] / 1e9, 1e-9 / net["gap_per_byte_s"] if net["gap_per_byte_s"] else math.inf)]
    notes += ["%s: %s" % i for i in p.get("origin", {}).items()]
    with open(path, "w", encoding="utf-8") as f:
        f.write(plot.svg(notes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-p", default=HERE + "/parameters.json", help="parameters (those beside this file)")
    parser.add_argument("-m", help="measured points, to compare with")
    parser.add_argument("-o", help="a plot, as SVG")
    parser.add_argument("--json", action="store_true", help="what the model says, for programs")
    args = parser.parse_args()
    p = load(args.p)
    rows = []
    if args.m:
        with open(args.m, encoding="utf-8") as f:
            rows = errors(p, json.load(f)["points"])
    if args.json:
        curve = [{"ranks": r, "nodes": nodes_of(p, r), "native_s": native(p, r), "staging_s": staging(p, r),
                  "served_s": served(p, r), "dlcache_s": dlcache(p, r)} for r in (10 ** e for e in range(7))]
        json.dump({"curve": curve, "points": rows}, sys.stdout, indent=1)
        print()
    else:
        show(p, rows)
    if args.o:
        draw(p, rows, args.o)


if __name__ == "__main__":
    main()
