"""The example manifests: they are what the format says, and what it was made for can be done with them."""
import json
import os
import re

from harness import TOP, Case

EXAMPLES = os.path.join(TOP, "manifests", "examples")
NAMES = ("python", "scipy-pandas")


class Examples(Case):
    def load(self, name):
        with open(os.path.join(EXAMPLES, name + ".json"), encoding="utf-8") as f:
            return json.load(f)

    def test_they_are_manifests(self):
        import jsonschema
        with open(os.path.join(TOP, "manifests", "manifest.schema.json"), encoding="utf-8") as f:
            schema = json.load(f)
        for name in NAMES:
            m = self.load(name)
            jsonschema.Draft202012Validator(schema).validate(m)
            self.assertEqual((m["host"], m["hosts"], m["cwd"], m["exit_status"]), ("login1", ["login1"], "/", 0))
            self.assertEqual(m["policy"]["exclude"], ["/usr/local"])
            self.assertEqual(m["interpreter"], "/usr/bin/python3.11")
            self.assertEqual(sorted(e["order"] for e in m["entries"]), list(range(len(m["entries"]))))
            for e in m["entries"]:
                self.assertRegex(e["path"], r"^/(usr|lib|lib64|etc|bin|var)(/|$)")

    def test_they_can_be_shown(self):
        for name, least in zip(NAMES, (50, 2000)):
            out = self.dlcache("show", "--json", os.path.join(EXAMPLES, name + ".json"))
            self.assertGreater(json.loads(out.stdout)["entries"], least)
            self.dlcache("show", os.path.join(EXAMPLES, name + ".json"))

    def test_they_differ_by_what_one_imports(self):
        a, b = (os.path.join(EXAMPLES, name + ".json") for name in NAMES)
        self.dlcache("diff", a, a)
        out = self.dlcache("diff", a, b, status=1)
        for package in ("scipy", "pandas", "numpy"):
            self.assertTrue(re.search(r"\b%s\b" % package, out.stdout), package)
