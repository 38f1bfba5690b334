"""A program of many shared objects (bench/pynamic): natively and attached it gives the same output."""
import os

from harness import PYTHON, TOP, Case, environment

GENERATE = os.path.join(TOP, "bench/pynamic/generate.py")


class Pynamic(Case):
    def generate(self, kind, directories=3):
        out = self.path(kind)
        self.run_command([PYTHON, "-B", GENERATE, "--modules", "3", "--libraries", "4", "--functions", "3",
                          "--directories", str(directories), "--" + kind, out])
        with open(out + "/environment", encoding="ascii") as f:
            more = dict(line.rstrip("\n").split("=", 1) for line in f)
        return out, environment(PYTHONDONTWRITEBYTECODE=1, **more)

    def served(self, kind, directories=3):
        out, env = self.generate(kind, directories)
        prefix = out + "/prefix"
        commands = [[prefix + "/bin/program"], [PYTHON, prefix + "/driver.py"]]
        both = "; ".join(" ".join(command) + " >/dev/null" for command in commands)
        manifest = self.path(kind + ".json")
        self.record(manifest, ["/bin/sh", "-c", both], include=[prefix], env=env)
        d = self.stage(manifest, env=env)
        for command in commands:
            native = self.run_command(command, env=env)
            served, lines = self.strace([d + "/run", *command], env=env)
            self.assertRegex(native.stdout, r"^[0-9]+\n$")
            self.assertEqual((served.stdout, served.stderr), (native.stdout, native.stderr))
            # What is not served is the program itself, as the kernel and the launcher name it; and Python's list of a
            # directory that the pilot listed is the mirror's.
            self.assertEqual([line for line in self.touching(lines, prefix)
                              if not line.startswith(("execve(", "readlink"))], [], command)

    def test_library_path(self):
        self.served("library-path")

    def test_runpath(self):
        self.served("runpath")

    def test_rpath(self):
        self.served("rpath")

    def test_a_long_library_path(self):
        """The stager finds out whether auditing works with the job's LD_LIBRARY_PATH, however long that is."""
        self.served("library-path", 80)

    def test_the_same_arguments_make_the_same_sources(self):
        texts = []
        for _ in range(2):
            out, _ = self.generate("library-path")
            sources = {}
            for name in sorted(os.listdir(out + "/src")):
                if not name.endswith(".gch"):
                    with open(out + "/src/" + name, encoding="ascii") as f:
                        sources[name] = f.read()
            texts.append(sources)
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(len([name for name in texts[0] if name.endswith(".c")]), 3 + 4 + 1)
