#!/usr/bin/python3
"""The README's picture, of bench/results/start.json, as SVG: what starts of a job ask the file server for, and how long
they take.

    bench/plots.py [START.json [START.svg]]"""
import json
import math
import os
import sys
from xml.sax.saxutils import escape

HERE = os.path.dirname(os.path.abspath(__file__))
COLOURS = {"native": "#c0392b", "squashfs": "#b9770e", "tar": "#7d3c98", "cached": "#7f8c8d", "dlcache": "#1f618d"}
WIDTH, HEIGHT, TOP, GAP = 330, 300, 56, 80


class Panel:
    """Curves on two logarithmic axes."""

    def __init__(self, left, title, unit, columns, low, high):
        self.left, self.unit, self.columns = left, unit, columns
        self.low, self.high = math.floor(math.log10(low)), math.ceil(math.log10(high))
        self.parts = []
        self.text(left, TOP - 16, title, "start", 14)
        for n in columns:
            self.parts.append('<path class="grid" d="M%.1f %dv%d"/>' % (self.x(n), TOP, HEIGHT))
            self.text(self.x(n), TOP + HEIGHT + 17, str(n))
        for e in range(self.low, self.high + 1):
            self.parts.append('<path class="grid" d="M%.1f %.1fh%d"/>' % (left, self.y(10 ** e), WIDTH))
            number = format(10 ** e, ",") if e >= 0 else "%g" % 10 ** e
            self.text(left - 6, self.y(10 ** e) + 4, number + unit, "end")
        self.text(left + WIDTH / 2, TOP + HEIGHT + 36, "processes")

    def x(self, n):
        low, high = math.log(self.columns[0]), math.log(self.columns[-1])
        return self.left + (WIDTH * (math.log(n) - low) / (high - low) if high > low else WIDTH / 2)

    def y(self, value):
        return TOP + HEIGHT * (self.high - math.log10(value)) / (self.high - self.low)

    def text(self, x, y, text, anchor="middle", size=11, colour="#222"):
        self.parts.append('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="%s">%s</text>' % (
            x, y, anchor, size, colour, escape(text)))

    def curve(self, way, points):
        """points: (processes, median, least, most)."""
        colour, width = COLOURS[way], 3 if way == "dlcache" else 1.8
        line = "L".join("%.1f %.1f" % (self.x(n), self.y(m)) for n, m, _, _ in points)
        self.parts.append('<path d="M%s" stroke="%s" stroke-width="%g"/>' % (line, colour, width))
        for n, m, least, most in points:
            x, y = self.x(n), self.y(m)
            self.parts.append('<path d="M%.1f %.1fV%.1f" stroke="%s"/>' % (x, self.y(least), self.y(most), colour))
            self.parts.append('<circle cx="%.1f" cy="%.1f" r="3.2" fill="%s"/>' % (x, y, colour))


def bounds(curves):
    values = [v for points in curves.values() for point in points for v in point[1:]]
    return (min(values) * 0.9, max(values) * 1.1) if values else (1, 10)


def panel(left, title, unit, columns, curves):
    result = Panel(left, title, unit, columns, *bounds(curves))
    for way, points in curves.items():
        result.curve(way, points)
    return result


def legend(start):
    parts, y = [], TOP + HEIGHT + 62
    for i, (way, title) in enumerate(start["ways"].items()):
        x = 76 + (WIDTH + GAP) * (i % 2)
        parts.append('<path d="M%d %.1fh22" stroke="%s" stroke-width="3"/>' % (x, y - 4, COLOURS[way]))
        parts.append('<text x="%d" y="%.1f" font-size="12">%s</text>' % (x + 28, y, escape(title)))
        y += 19 * (i % 2)
    return parts, y


def start(result, path):
    rows = [r for r in result["rows"] if r["client"] == "replay"]
    columns = sorted({r["processes"] for r in rows})
    requests, seconds = {}, {}
    for way in result["ways"]:
        mine = [r for r in rows if r["way"] == way]
        totals = [(r["processes"], r["prepare"]["requests"]["total"] + r["ranks"]["requests"]["total"]) for r in mine]
        if all(n for _, n in totals):  # what asks for nothing has no place on a logarithmic axis
            requests[way] = [(p, n, n, n) for p, n in totals]
        seconds[way] = [(r["processes"], *(r["seconds"][k] for k in ("median", "least", "most"))) for r in mine]
    panels = [panel(76, "Requests at the file server", "", columns, requests),
              panel(76 + WIDTH + GAP, "Seconds until the last process has started", " s", columns, seconds)]
    parts, bottom = legend(result)
    machine = result["machine"]
    server = result["server"]
    notes = ["%s: its file operations, replayed, on %d simulated nodes of one machine with %d cores, which they share." % (
                 result["application"]["program"], result["nodes"], machine["cores"]),
             "What comes before is included: staging, broadcasting, mounting. Medians, least and most of %d." % (
                 max(r["runs"] for r in rows)),
             "The server: %d requests at a time, %d µs a lookup, %d µs an open, and %d µs of network." % (
                 server["slots"], *(server["service_us"][k] for k in ("lookup", "open", "network")))]
    parts += ['<text x="76" y="%.1f" font-size="11" fill="#555">%s</text>' % (bottom + 28 + 15 * i, escape(note))
              for i, note in enumerate(notes)]
    with open(path, "w", encoding="utf-8") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 850 %.0f" font-family="sans-serif">\n'
                '<style>path{fill:none}.grid{stroke:#e4e4e4}</style>\n<rect width="100%%" height="100%%" fill="#fff"/>\n%s\n</svg>\n' % (
                    bottom + 70, "\n".join(p for part in (*(p.parts for p in panels), parts) for p in part)))


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else HERE + "/results/start.json"
    with open(source, encoding="utf-8") as file:
        start(json.load(file), sys.argv[2] if len(sys.argv) > 2 else HERE + "/results/start.svg")
