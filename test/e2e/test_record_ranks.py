"""Recording parallel programs: one command around the launcher, or one in every rank."""
import json
import os

from harness import DLCACHE, MPIEXEC, PYTHON, Case, environment


class Ranks(Case):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        self.write("tree/all", "x")

    def record_in_ranks(self, output, command, ranks=4, status=0):
        return self.run_command([MPIEXEC, "-n", str(ranks), DLCACHE, "record", "-o", output, "--include", self.tree,
                                 "--", *command], status=status)

    def test_a_manifest_a_rank(self):
        code = "import os, sys; open(sys.argv[1] + '/all').close(); os.path.exists(sys.argv[1] + '/' + os.environ['PMI_RANK'])"
        self.record_in_ranks(self.path("app-%r.%h.%%.json"), [PYTHON, "-c", code, self.tree])
        for rank in range(4):
            with open(self.path("app-%d.%s.%%.json" % (rank, os.uname().nodename)), encoding="utf-8") as f:
                m = json.load(f)
            entries = {e["path"][len(self.tree) + 1:]: e for e in m["entries"]}
            self.assertEqual(sorted(n for n in entries if n), [str(rank), "all"])
            self.assertEqual((m["ranks"], entries["all"]["ranks"], entries["all"]["processes"]), (1, 1, 1))
        self.record_in_ranks(self.path("by-%p.json"), ["/bin/cat", self.tree + "/all"], 2)
        self.assertEqual(len([n for n in os.listdir(self.tmp) if n.startswith("by-")]), 2)

    def test_one_name_for_all_ranks_is_refused(self):
        ran = self.path("ran")
        out = self.record_in_ranks(self.path("app.json"), ["/bin/sh", "-c", 'echo >"$0"', ran], 2, status=None)
        self.assertNotEqual(out.returncode, 0)
        self.assertIn("every rank would write this manifest; name them apart (-o app-%r.json)", out.stderr)
        self.assertFalse(os.path.exists(ran), "the command was run")
        # One rank alone is no reason.
        self.record_in_ranks(self.path("app.json"), ["/bin/true"], 1)

    def test_unknown_parts_of_a_name(self):
        for output in ("a%x", "a%"):
            out = self.dlcache("record", "-o", output, "--", "/bin/true", status=2)
            self.assertEqual(out.stderr, "dlcache: record: -o knows %%r, %%h, %%p and %%%% alone: %s\n" % output)

    def test_a_directory_for_many_nodes(self):
        """The environment alone: programs of any number of nodes note into one directory. Host names differ there; here
        name spaces make them differ, and the numbers of processes collide."""
        os.mkdir(self.path("spool"))
        env = environment(DLCACHE_RECORD=self.path("spool"), LD_PRELOAD=os.path.join(os.path.dirname(DLCACHE), "libdlcache.so"),
                          LD_AUDIT=os.path.join(os.path.dirname(DLCACHE), "libdlcache-audit.so"))
        for rank, host in enumerate(("node1", "node2", "node2")):
            script = "hostname %s && exec env SLURM_STEP_ID=0 SLURM_PROCID=%d cat %s/all" % (host, rank, self.tree)
            out = self.run_command(["unshare", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", script], env=env)
            self.assertEqual(out.stdout, "x")
        self.dlcache("collect", self.path("spool"), "-o", self.path("m.json"), "--include", self.tree)
        with open(self.path("m.json"), encoding="utf-8") as f:
            m = json.load(f)
        entry = {e["path"]: e for e in m["entries"]}[self.tree + "/all"]
        self.assertEqual((m["ranks"], entry["ranks"], entry["processes"], entry["counts"]["open"]), (3, 3, 3, 3))
        self.assertEqual(m["hosts"], sorted({os.uname().nodename, "node1", "node2"}))
