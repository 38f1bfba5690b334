"""Compares two runs of CPython's regression tests, test by test.

    compare_tests.py NATIVE SERVED [-m MODULE...]      the comparison; the last line is the plain count
    compare_tests.py NATIVE SERVED --differing -m ...  only the names of the modules that differ

NATIVE and SERVED are folders with a MODULE.xml each, written by `python3 -m test --junit-xml`. A module without one
(it crashed, or was ended) differs, whatever the other side says."""
import argparse
import collections
import os
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """"passed", "failed" or "skipped"; errors are failures."""
    for child in case:
        if child.tag in ("error", "failure"):
            return "failed"
        if child.tag == "skipped":
            return "skipped"
    return "passed" if case.get("result", "completed") == "completed" else case.get("result")


def load(folder, module):
    """{name of the test: its outcomes, sorted (a name can occur more than once)}, or None without a readable file."""
    try:
        tree = ElementTree.parse(os.path.join(folder, module + ".xml"))
    except (OSError, ElementTree.ParseError):
        return None
    tests = collections.defaultdict(list)
    for case in tree.iter("testcase"):
        tests[case.get("name")].append(outcome(case))
    return {name: tuple(sorted(outcomes)) for name, outcomes in tests.items()}


def compare(module, native, served):
    """(number of tests compared, lines about those that differ)."""
    if not native or not served:
        sides = [side for side, tests in (("natively", native), ("served", served)) if not tests]
        return 1, ["%s: no results %s" % (module, " and ".join(sides))]
    names = sorted(set(native) | set(served))
    differing = ["%s: natively %s, served %s" % (name, ",".join(native.get(name, ("absent",))),
                                                 ",".join(served.get(name, ("absent",))))
                 for name in names if native.get(name) != served.get(name)]
    return len(names), differing


def table(results):
    """Counts of outcomes, as people want to see them."""
    counts = collections.Counter(o for outcomes in (results or {}).values() for o in outcomes)
    return "%5d passed %4d failed %4d skipped" % (counts["passed"], counts["failed"], counts["skipped"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("native")
    parser.add_argument("served")
    parser.add_argument("--differing", action="store_true")
    parser.add_argument("-m", "--modules", nargs="+", required=True)
    args = parser.parse_args()
    total, lines = 0, []
    for module in args.modules:
        native, served = load(args.native, module), load(args.served, module)
        count, differing = compare(module, native, served)
        if args.differing and differing:
            print(module)
        if not args.differing:
            print("%-30s natively %s   served %s" % (module, table(native), table(served)))
        total += count
        lines += differing
    if args.differing:
        return 0
    for line in lines:
        print("DIFFERS " + line)
    print("%d passed, %d failed" % (total - len(lines), len(lines)))
    return 1 if lines or not total else 0


if __name__ == "__main__":
    sys.exit(main())
