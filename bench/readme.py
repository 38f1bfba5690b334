#!/usr/bin/python3
"""The numbers of the README, which come from bench/results and from nowhere else: between <!-- bench --> and
<!-- /bench -->.

    bench/readme.py [--check] [README.md [RESULTS]]

--check writes nothing: exit status 1 where the README says something else."""
import json
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- bench: written by bench/readme.py -->\n", "<!-- /bench -->"


def load(results, name):
    with open(os.path.join(results, name), encoding="utf-8") as f:
        return json.load(f)


def table(head, rows):
    return ["| %s |" % " | ".join(head), "|%s|" % "|".join([" --- "] + [" ---: "] * (len(head) - 1))] + [
        "| %s |" % " | ".join(row) for row in rows]


def requests(row):
    return row["prepare"]["requests"]["total"] + row["ranks"]["requests"]["total"]


def megabytes(n):
    return "%d MB" % round(n / 1e6)


def time_of(seconds):
    return "%.2f s" % seconds if seconds < 9.995 else "%.0f s" % seconds


def further(rows, way, nodes):
    """What a node that does not read for the others asks for, with one process on it."""
    row = rows.get(("replay", way, nodes))
    if not row:
        return ""
    return "{:,}".format(sum(row[phase]["by_node"]["node%d" % nodes]["total"] for phase in ("prepare", "ranks")))


def machine(facts):
    return "%d cores, %s, Linux %s, load %.1f before, %.1f after" % (
        facts["cores"], facts["system"], facts["kernel"].split("-")[0], facts["load_at_start"], facts["load_at_end"])


def starts(start):
    rows = {(r["client"], r["way"], r["processes"]): r for r in start["rows"]}
    counts = sorted({p for c, _, p in rows if c == "replay"})
    most = counts[-1]
    lines = ["`%s`, on %d nodes, from 1 to %d processes at once; requests at the file server, and seconds until the last "
             "process has started, staging (or broadcasting, or mounting) included:" % (
                 start["application"]["program"], start["nodes"], most), ""]
    shown = [n for n in (1, 16, most) if n in counts]
    head = ["", *("requests, %d" % n for n in shown), "each further node", *("time, %d" % n for n in shown),
            "of this before the ranks", "memory a node"]
    body = []
    for way, title in start["ways"].items():
        mine = [rows["replay", way, n] for n in shown]
        # Real Python touches what it maps.
        memory = max((r for r in start["rows"] if r["way"] == way and r["memory"]),
                     key=lambda r: (r["nodes"], r["client"] == "python", -r["processes"]))["memory"]
        node = memory[sorted(memory)[-1]]
        body.append([title, *("{:,}".format(requests(r)) for r in mine), further(rows, way, start["nodes"]),
                     *(time_of(r["seconds"]["median"]) for r in mine), time_of(mine[-1]["prepare"]["seconds"]["median"]),
                     megabytes(node["tmpfs"] + (node["page_cache"] or 0))])
    lines += table(head, body)
    mine = rows["replay", "dlcache", most]
    reader = mine["prepare"]["by_node"]["node1"]
    stale = max((s for s in start["stale"] if s["client"] == "replay"), key=lambda s: s["processes"], default=None)
    ranks = ", ".join(str(rows["replay", "dlcache", n]["ranks"]["requests"]["total"]) for n in counts)
    lines += ["", "Requests of all ranks together with dlcache, %s of them: %s. The node that reads makes %s, for %s files; each other node "
              "%s (for the stager's own program)." % (
                  ", ".join(map(str, counts)), ranks, "{:,}".format(reader["total"]), "{:,}".format(start["application"]["files"]),
                  " or ".join(map(str, start["checks"]["requests_per_node"])) or "none")]
    if stale:
        lines[-1] += " A module that came after the pilot: %d requests of %d processes." % (
            stale["requests"]["total"], stale["processes"])
    return lines + ["", "(%s; median of %d.)" % (machine(start["machine"]), max(r["runs"] for r in start["rows"]))]


def budgets(data):
    lines = table(["", "ratio", "bar", ""], [[b["what"], "%.3f" % b["ratio"], "%.2f" % b["bar"], "met" if b["met"] else
                                              "**not met**"] for b in data["budgets"]])
    return lines + ["", "(%s. `bench/README.md` says what each is.)" % machine(data["machine"])]


def section(results):
    lines = ["![Requests and seconds, by processes](bench/results/start.svg)", ""]
    lines += starts(load(results, "start.json")) + ["", "Costs, beside what they are measured against:", ""]
    lines += budgets(load(results, "budgets.json"))
    return BEGIN + "\n".join(lines) + "\n" + END


def filled(text, results):
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("readme.py: the README has no %s … %s" % (BEGIN.strip(), END))
    return before + section(results) + after


def main(argv):
    check = argv[:1] == ["--check"]
    readme, results = (argv[check:] + [TOP + "/README.md", TOP + "/bench/results"][len(argv[check:]):])[:2]
    with open(readme, encoding="utf-8") as f:
        text = f.read()
    wanted = filled(text, results)
    if check:
        if text != wanted:
            print("%s says other numbers than %s: bench/readme.py writes them" % (readme, results), file=sys.stderr)
        return text != wanted
    with open(readme, "w", encoding="utf-8") as f:
        f.write(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
