"""Production as README.md has it, in a lab whose software lies on a slow shared file system that counts."""
import collections
import json
import os
import re

from harness import BUILD, PYTHON, TOP, environment
from test_slurm import LAB, SHARED, LabCase

SW = "/media/sw"  # where the lab has the file system; what is on it is in self.sw
CONTROL = "/media/slowfs/1/control"
LOG = "/media/slowfs/1/log"
LIB = {"PYTHONPATH": SW + "/lib"}
IMPORTS = "import pkg.sub.deep, other, os, sys\n"
Run = collections.namedtuple("Run", "out err counts log")  # of a job: its lines, requests by node, and one by one
Request = collections.namedtuple("Request", "node pid kind path")
PILOT = """
srun -Q -N1 -n1 {options} dlcache record -o app.json -- {command} >pilot.out 2>pilot.err || {{ cat pilot.*; exit 1; }}
"""
BATCH = """
echo 1 >{control}/reset; from=$(wc -c <{log})
sbatch -W -Q {options} -o out-%a -e err-%a {path} >sbatch 2>&1; echo "status $?" >status
echo "== $(cat status sbatch | tr '\\n' ' ')"; cat out-*
echo; echo ==; cat err-*; echo; echo ==; cat {control}/counters
echo ==; tail -c +$((from + 1)) {log}; rm -f out-* err-*
echo ==; srun -Q -N $(sinfo -h -o %D) sh -c 'find /dev/shm -mindepth 2 | wc -l' | sort | uniq -c
"""


def readme_script(nodes, tasks, command):
    """The job's script as it stands in README.md: other numbers, another program."""
    with open(os.path.join(TOP, "README.md")) as f:
        text = re.search(r"(?m)^    #!/bin/bash\n(?:    .*\n)+", f.read()).group(0)
    lines = [line[4:] for line in text.splitlines()]
    assert lines[1:] == ["#SBATCH --nodes=64 --ntasks-per-node=32", "D=$(dlcache stage app.json) || exit",
                         "srun $D/run python app.py", "dlcache unstage $D"], lines
    script = "\n".join(lines) + "\n"
    return script.replace("=64", "=%d" % nodes).replace("=32", "=%d" % tasks).replace("python app.py", command)


class SlowLabCase(LabCase):
    # Clients keep nothing: whatever anybody asks for is a request.
    CLIENT = "attr=0,entry=0,no-page-cache,latency=all=0,latency=network=0"

    def setUp(self):
        super().setUp()
        self.sw = self.path("sw")
        os.mkdir(self.sw)

    def software(self, name, text="", mode=0o644):
        self.write(os.path.join("sw", name), text, mode)
        return os.path.join(SW, name)

    def slow_lab(self, nodes, script, env=None):
        more = {"PATH": "%s:%s" % (BUILD, os.environ["PATH"]), "PYTHONDONTWRITEBYTECODE": "1"}
        full = environment(**{**more, **(env or {})})
        script = "cd %s\n%s" % (SHARED, script)
        return self.run_command([LAB, "with", str(nodes), "--slowfs", "%s=%s,%s" % (self.sw, SW, self.CLIENT), "--",
                                 "bash", "-c", script], env=full).stdout

    def batch(self, script, options=""):
        """Lines of a lab's script that run a job, and print what it said and what was asked of the file system."""
        self.jobs = getattr(self, "jobs", 0) + 1
        path = self.write("job-%d.sh" % self.jobs, script, 0o755)
        return BATCH.format(control=CONTROL, log=LOG, options=options, path=path)

    def runs(self, text):
        """What `batch` printed, job by job."""
        parts = re.split(r"(?m)^==(?: (.*))?\n", text)
        found = []
        for i in range(1, len(parts), 10):
            status, out, _, err, _, counts, _, log, _, left = parts[i:i + 10]
            self.assertRegex(status, "^status 0 ", out + err)
            self.assertEqual(set(left.split()[1::2]), {"0"}, left)
            requests = [Request(*line.split(None, 3)) for line in log.splitlines()]
            counts = {n: c["total"] for n, c in json.loads(counts)["nodes"].items() if c["total"]}
            requests = [r for r in requests if not r.kind.startswith("release")]
            found.append(Run(out.split("\n"), err.strip(), counts, requests))
        return found

    def produce(self, command, nodes=4, tasks=(1, 3), env=None, before="", between="", options="", pilot="",
                edit=lambda script: script):
        """A pilot on one node, a stager alone, and the job with so many tasks on a node, once each: the runs. `before`
        the pilot and `between` it and the stager lines of a shell are run, where the file system is mounted; `options`
        are sbatch's, `pilot` those of the pilot's srun."""
        script = before + PILOT.format(command=command, options=pilot) + between
        script += self.batch("#!/bin/bash\n#SBATCH --nodes=1\nD=$(dlcache stage app.json) && dlcache unstage $D\n")
        for n in tasks:
            script += self.batch(edit(readme_script(nodes, n, command)), options)
        alone, *runs = self.runs(self.slow_lab(nodes, script, env))
        self.assertEqual(list(alone.counts), ["node1"])
        self.check_one_pass(alone)
        return (alone, *runs)

    def check_one_pass(self, run):
        """Nothing is opened, and no directory listed, twice."""
        opened = collections.Counter(r.path for r in run.log if r.kind in ("open", "opendir"))
        self.assertGreater(len(opened), 0)
        self.assertEqual({path: count for path, count in opened.items() if count != 1}, {})

    def imports(self, text="print(pkg.sub.deep.x, other.y)\n"):
        """A Python program, with modules of its own at LIB."""
        self.software("lib/pkg/__init__.py", "from . import a\n")
        self.software("lib/pkg/a.py", "import json\n")
        self.software("lib/pkg/sub/__init__.py")
        self.software("lib/pkg/sub/deep.py", "x = 3\n")
        self.software("lib/other.py", "y = 4\n")
        return "%s %s" % (PYTHON, self.software("app/app.py", IMPORTS + text))

    def check_nothing_per_rank(self, alone, *runs):
        """However many ranks there are on however many nodes: what a stager alone asks for, and nothing else. (In how
        many pieces a file is read ahead, and how often its attributes are asked for meanwhile, is up to the client.)"""
        for run in runs:
            self.assertEqual(list(run.counts), ["node1"], [r for r in run.log if r.node != "node1"][:10])
            self.assertEqual(self.asked(run), self.asked(alone))

    @staticmethod
    def asked(run, node="node1"):
        return collections.Counter((r.kind, r.path) for r in run.log
                                   if r.node == node and r.kind not in ("read", "getattr"))
