"""Recording under a real Slurm of two nodes: one command around srun, and one in every rank."""
import json
import os

from test_slurm import SHARED, LabCase

# Each rank of four reads a file of all, and looks for one of its own.
RANK = "cat %s/all >/dev/null; test -e %s/$SLURM_PROCID; exit 0"
OPTIONS = "-N2 -n4 --ntasks-per-node=2"


class RecordSlurm(LabCase):
    def setUp(self):
        super().setUp()
        self.tree = os.path.realpath(self.path("tree"))
        self.rank = self.write("rank.sh", RANK % (self.tree, self.tree), 0o755)
        self.write("tree/all", "x")

    def manifests(self, out):
        """What a script printed of manifests: one a line."""
        found = []
        for line in out.splitlines():
            if line.startswith("{"):
                m = json.loads(line)
                found.append((m, {e["path"][len(self.tree) + 1:]: e for e in m["entries"]
                                  if e["path"].startswith(self.tree + "/")}))
        return found

    def test_around_srun(self):
        """The spool is where every node sees it: all ranks are in one manifest, which knows how many touched what."""
        status, out, err = self.job(2, OPTIONS, "\n".join([
            "mkdir %s/spool" % SHARED,
            "dlcache record -o m.json --spool %s/spool --include %s -- srun sh %s || exit" % (SHARED, self.tree, self.rank),
            "ls -A %s/spool" % SHARED, "tr -d '\\n' <m.json"]).replace("m.json", SHARED + "/m.json"))
        self.assertEqual(status, 0, err)
        (m, entries), = self.manifests(out)
        self.assertEqual(len(out.splitlines()), 1, "something is left in the spool")
        self.assertEqual((m["ranks"], m["hosts"], m["exit_status"]), (4, ["node1", "node2"], 0), err)
        e = entries["all"]
        self.assertEqual((e["ranks"], e["processes"], e["counts"]["open"]), (4, 4, 4))
        for rank in range(4):
            e = entries[str(rank)]
            self.assertEqual((e["kind"], e["ranks"], e["counts"]), ("absent", 1, {"stat": 1}))
        self.assertRegex(err, r"m.json: \d+ processes, 4 ranks, 2 hosts\n")

    def test_in_every_rank(self):
        status, out, err = self.job(2, OPTIONS, "\n".join([
            "srun dlcache record -o %s/app-%%r.%%h.json --include %s -- sh %s || exit" % (SHARED, self.tree, self.rank),
            "cd %s && ls app-* && dlcache merge -o all.json app-*.json && tr -d '\\n' <all.json" % SHARED]))
        self.assertEqual(status, 0, err)
        self.assertEqual(out.splitlines()[:4], ["app-%d.node%d.json" % (r, 1 + r // 2) for r in range(4)])
        (m, entries), = self.manifests(out)
        self.assertEqual((m["ranks"], len(m["pilots"]), m["hosts"]), (4, 4, ["node1", "node2"]))
        e = entries["all"]
        self.assertEqual((e["ranks"], e["pilots"], e["counts"]["open"]), (4, 4, 4))
        self.assertEqual([entries[str(rank)]["ranks"] for rank in range(4)], [1] * 4)

    def test_one_name_for_all_ranks_is_refused(self):
        status, out, err = self.job(2, OPTIONS, "srun dlcache record -o %s/m.json -- touch %s/ran; ls %s" % (
            (SHARED,) * 3))
        self.assertIn("every rank would write this manifest", err)
        self.assertNotIn("ran", out.split())

    def test_what_production_missed_on_every_node(self):
        """The environment alone: every rank of the job notes what its stage lacks."""
        status, out, err = self.job(2, OPTIONS, "\n".join([
            "cd %s && mkdir misses" % SHARED,
            "dlcache record -o app.json --include %s -- /bin/true 2>/dev/null" % self.tree,
            "D=$(dlcache stage app.json) || exit",
            "srun --export=ALL,DLCACHE_RECORD=$PWD/misses $D/run sh %s || exit" % self.rank,
            "dlcache collect misses -o misses.json --include %s || exit" % self.tree,
            "dlcache merge -o app.json app.json misses.json && dlcache unstage $D && tr -d '\\n' <app.json"]))
        self.assertEqual(status, 0, err)
        (m, entries), = self.manifests(out)
        self.assertEqual((m["ranks"], m["hosts"], len(m["pilots"])), (4, ["node1", "node2"], 2), err)
        self.assertEqual((entries["all"]["ranks"], entries["all"]["counts"]["open"]), (4, 4))
