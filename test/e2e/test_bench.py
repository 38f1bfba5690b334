"""make bench, in small: what it writes, and that it counts; and that the README says what bench/results does."""
import json
import os
import shutil
import subprocess
import time

from harness import BUILD, PYTHON, TOP, Case, environment

BENCH = os.path.join(TOP, "bench")
WAYS = ["native", "cached", "tar", "squashfs", "dlcache"]


class Small(Case):
    def bench(self, *args, status=0):
        return self.run_command([PYTHON, "-B", BENCH + "/run.py", "-o", self.path("results"), *args],
                                env=environment(BUILD=BUILD), status=status)

    def load(self, name):
        with open(self.path("results", name), encoding="utf-8") as f:
            return json.load(f)

    def test_it_measures_and_writes(self):
        result = self.bench("--only", "start,model", "--rounds", "2", "--processes", "1,4", "--python", "4", "--program",
                            "import json")
        start = self.load("start.json")
        rows = {(r["client"], r["way"], r["processes"]): r for r in start["rows"]}
        self.assertEqual(set(rows), {(c, w, n) for c, n in (("replay", 1), ("replay", 4), ("python", 4)) for w in WAYS})
        for (client, way, processes), r in rows.items():
            self.assertEqual((r["nodes"], r["runs"], len(r["ranks"]["totals"])), (processes, 2, 2))
            self.assertEqual(set(r["memory"]), {"node%d" % (i + 1) for i in range(processes)})
            s = r["seconds"]
            self.assertTrue(0 < s["least"] <= s["median"] <= s["most"])
            asked = r["ranks"]["requests"]["total"]
            self.assertEqual(asked, sum(n["total"] for n in r["ranks"]["by_node"].values()))
            if way in ("dlcache", "tar", "cached"):
                self.assertEqual(asked, 0, (client, way, processes))
            else:
                self.assertGreater(asked, 10)
        # Natively each node asks for as much as one; dlcache's reader does so once.
        native, mine = ([rows["replay", way, n] for n in (1, 4)] for way in ("native", "dlcache"))
        self.assertEqual(native[1]["ranks"]["requests"]["lookup"], 4 * native[0]["ranks"]["requests"]["lookup"])
        by_node = mine[1]["prepare"]["by_node"]
        self.assertEqual({n: c["lookup"] for n, c in by_node.items() if n != "node1"}, dict.fromkeys(
            ("node2", "node3", "node4"), by_node["node2"]["lookup"]))
        # Alone it needs no MPI, and does not look for dlcache-mpi.so.
        self.assertEqual(by_node["node1"]["lookup"], mine[0]["prepare"]["requests"]["lookup"] + 1)
        # What was looked up is known: nobody looks at the server for it again.
        reader = mine[0]["prepare"]["requests"]
        self.assertLess(reader["getattr"], reader["opendir"], reader)
        self.assertLess(mine[1]["memory"]["node2"]["tmpfs"], rows["replay", "tar", 4]["memory"]["node2"]["tmpfs"] / 2)
        self.assertEqual(start["checks"]["no_request_per_rank"], True)
        self.assertEqual(start["checks"]["staging_is_flat"], True)
        # One module that came after the pilot is looked up, opened and read; nothing else is.
        late = {(s["client"], s["processes"]): s["requests"] for s in start["stale"]}
        self.assertEqual(late["replay", 4]["open"], 4)
        self.assertLess(late["replay", 4]["total"], 40)
        for key in ("cores", "kernel", "load_at_start", "load_at_end", "memory_bytes", "revision", "date"):
            self.assertIn(key, start["machine"])
        self.assertEqual(start["server"]["slots"], 2)
        self.assertIn("dlcache: requests of all ranks: replay, 1: 0, replay, 4: 0, python, 4: 0", result.stdout)
        for name in ("start.svg", "model.svg"):
            self.run_command([PYTHON, "-c", "import sys, xml.dom.minidom as x; x.parse(sys.argv[1])",
                              self.path("results", name)])
        measured = {(r["what"], r["ranks"]) for r in self.load("model.json")["points"]}
        self.assertEqual(measured, {(w, n) for w in ("native", "dlcache") for n in (1, 4)})

    def test_nothing_is_left(self):
        def mounts():
            with open("/proc/self/mountinfo", encoding="utf-8") as f:
                return [line for line in f if line.split()[4].startswith(("/media/", "/srv"))]
        proc = subprocess.Popen([PYTHON, "-B", BENCH + "/run.py", "-o", self.path("results"), "--only", "start",
                                 "--program", "import json"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                text=True, env=environment(BUILD=BUILD))
        line = "begun"
        while "native" not in line:
            line = proc.stderr.readline()
            self.assertNotEqual(line, "", "it has ended")
        children = []
        while len(children) < 4:  # the benchmark, a server, a node, a command on it
            self.assertIsNone(proc.poll())
            children = self.below(proc.pid)
        proc.kill()
        proc.wait()
        proc.stderr.close()
        end = time.monotonic() + 20
        while any(os.path.exists("/proc/%d/exe" % pid) for pid in children):
            self.assertLess(time.monotonic(), end, "they go on")
        self.assertEqual(mounts(), [])

    @staticmethod
    def below(pid):
        """All processes that it has started."""
        found, todo = [], [pid]
        while todo:
            last = todo.pop()
            try:
                with open("/proc/%d/task/%d/children" % (last, last), encoding="ascii") as f:
                    todo += [int(c) for c in f.read().split()]
            except FileNotFoundError:
                continue
            found.append(last)
        return found[1:]

    def test_wrong_usage(self):
        self.bench("--processes", "x", status=2)
        self.bench("--none", status=2)


class Readme(Case):
    def check(self, readme, results, status=0):
        return self.run_command([PYTHON, "-B", BENCH + "/readme.py", "--check", readme, results], status=status)

    def test_it_says_what_was_measured(self):
        self.check(TOP + "/README.md", BENCH + "/results")

    def test_another_number_is_seen(self):
        shutil.copytree(BENCH + "/results", self.path("results"))
        with open(self.path("results/budgets.json"), encoding="utf-8") as f:
            data = json.load(f)
        data["budgets"][0]["ratio"] += 1
        with open(self.path("results/budgets.json"), "w", encoding="utf-8") as f:
            json.dump(data, f)
        self.assertIn("other numbers", self.check(TOP + "/README.md", self.path("results"), status=1).stderr)
        shutil.copy(TOP + "/README.md", self.path("README.md"))
        self.run_command([PYTHON, "-B", BENCH + "/readme.py", self.path("README.md"), self.path("results")])
        self.check(self.path("README.md"), self.path("results"))

    def test_the_picture_is_of_the_results(self):
        picture = self.path("start.svg")
        self.run_command([PYTHON, "-B", BENCH + "/plots.py", BENCH + "/results/start.json", picture])
        with open(picture, encoding="utf-8") as a, open(BENCH + "/results/start.svg", encoding="utf-8") as b:
            self.assertEqual(a.read(), b.read())
