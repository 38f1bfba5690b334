"""bench/model: what the model says for numbers that can be worked out by hand."""
import json
import os
import sys
import xml.etree.ElementTree

from harness import PYTHON, TOP, Case

MODEL = os.path.join(TOP, "bench", "model", "model.py")
sys.path.insert(0, os.path.dirname(MODEL))
import model  # noqa: E402

PARAMETERS = {
    "application": {"operations": 1000, "names": 100, "files": 50, "bytes": 4000, "processor_s": 1},
    "node": {"ranks": 4, "served_s": 0.001, "tmpfs_bytes_per_s": 1000, "name_s": 0.01},
    "file_system": {"latency_s": 0.01, "operations_per_s": 100, "bytes_per_s": 2000, "client_bytes_per_s": 500,
                    "cached_on_node": 0.5},
    "network": {"latency_s": 0.5, "overhead_s": 0.25, "gap_s": 0.1, "gap_per_byte_s": 0.001, "children": 2},
    "stage": {"start_s": 3, "requests_in_flight": 10, "chunk_bytes": 1000, "requests_per_node": 20},
}


class Model(Case):
    def close(self, a, b):
        self.assertAlmostEqual(a, b, places=9)

    def test_native(self):
        # One rank: 1 s of processor, 1000 * 0.01 s, 4000 B at 500 B/s; 1000 requests at 100/s; 4000 B at 2000 B/s.
        for where, bounds in (((1,), (19, 31)),
                              # 2 nodes of 4: 2 * 1000 * (1 + 3 / 2) requests, 8000 B.
                              ((8,), (50, 73)),
                              # One node of 8: 1000 * (1 + 7 / 2).
                              ((8, 8), (45, 66))):
            low, high = model.native(PARAMETERS, *where)
            self.close(low, bounds[0])
            self.close(high, bounds[1])

    def test_the_tree(self):
        self.assertEqual([model.depth(n, 2) for n in (1, 2, 3, 4, 7, 8, 15, 16)], [0, 1, 1, 2, 2, 3, 3, 4])
        self.assertEqual(model.depth(5, 1), 4)

    def test_staging(self):
        # 3 to start, 150 * 0.01 / 10 to look up, 100 * 0.01 for names; 4 chunks: read 2 s each, written 1 s each.
        self.close(model.staging(PARAMETERS, 1), 3 + 0.15 + 1 + (2 + 1 + 3 * 2))
        # And sent, to two children, 1 s each: a hop is 0.5 + 2 * 0.25 + 2.
        self.close(model.staging(PARAMETERS, 8), 3 + 0.15 + 1 + (2 + 3 + 1 + 3 * 2))
        self.close(model.staging(PARAMETERS, 4 * 8), 3 + 0.15 + 1 + (2 + 3 * 3 + 1 + 3 * 2))

    def test_the_ranks(self):
        self.close(model.served(PARAMETERS, 1), 1 + 1 + 0.2)
        self.close(model.served(PARAMETERS, 8), 1 + 1 + 20 * 2 / 100)
        self.close(model.dlcache(PARAMETERS, 8), 16.15 + 2.4)

    def test_measured_points(self):
        points = [{"what": w, "ranks": 8, "seconds": s} for w, s in
                  (("native", 60), ("native", 100), ("native", 40), ("dlcache", 20), ("staging", 17))]
        points.append({"what": "native", "ranks": 8, "ranks_per_node": 8, "seconds": 33})
        expected = [0, -0.27, 0.25, (18.55 - 20) / 20, (16.15 - 17) / 17, (45 - 33) / 33]
        for row, error in zip(model.errors(PARAMETERS, points), expected, strict=True):
            self.close(row["error"], error)

    def test_the_command(self):
        parameters = self.write("p.json", json.dumps(PARAMETERS))
        points = self.write("m.json", json.dumps({"points": [{"what": "native", "ranks": 8, "seconds": 100}]}))
        told = json.loads(self.run_command([PYTHON, "-B", MODEL, "-p", parameters, "-m", points, "--json"]).stdout)
        self.assertEqual([c["ranks"] for c in told["curve"]], [10 ** e for e in range(7)])
        self.assertEqual(told["curve"][0]["native_s"], [19, 31])
        self.close(told["points"][0]["error"], -0.27)
        out = self.run_command([PYTHON, "-B", MODEL, "-p", parameters, "-m", points, "-o", self.path("plot.svg")]).stdout
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        self.assertIn("native           8          100           73   -27.0%\n", out)
        root = xml.etree.ElementTree.parse(self.path("plot.svg")).getroot()
        text = " ".join(t.text for t in root.iter("{http://www.w3.org/2000/svg}text"))
        for words in (*model.ASSUMPTIONS, "A model, not a measurement", "100 operations/s", "1,000,000"):
            self.assertIn(words, text)
        self.assertEqual(len(list(root.iter("{http://www.w3.org/2000/svg}circle"))), 1)

    def test_the_parameters_that_are_there(self):
        p = model.load(os.path.join(os.path.dirname(MODEL), "parameters.json"))
        for ranks in model.RANKS:
            low, high = model.native(p, ranks)
            self.assertLessEqual(low, high)
            self.assertLess(model.staging(p, ranks), model.dlcache(p, ranks))

    def test_wrong_parameters(self):
        for group, name, value in (("node", "ranks", "x"), ("network", "children", None), ("stage", "start_s", -1)):
            wrong = {**PARAMETERS, group: {**PARAMETERS[group], name: value}}
            result = self.run_command([PYTHON, "-B", MODEL, "-p", self.write("w.json", json.dumps(wrong))], status=1)
            self.assertIn("%s.%s is no number" % (group, name), result.stderr)
        wrong = {**PARAMETERS, "node": {**PARAMETERS["node"], "ranks": 0}}
        result = self.run_command([PYTHON, "-B", MODEL, "-p", self.write("w.json", json.dumps(wrong))], status=1)
        self.assertIn("node.ranks is 0", result.stderr)
