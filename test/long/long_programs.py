"""Run by programs.sh."""
import os

from everything import NOT_RUN, Everything, is_dynamic


class All(Everything):
    def test_everything_in_usr_bin(self):
        names = sorted(set(os.listdir("/usr/bin")) - set(NOT_RUN))
        paths = [p for p in ("/usr/bin/" + n for n in names) if not os.path.islink(p) and is_dynamic(p)]
        self.assertGreater(self.everything(paths, paths[::5]), 200)

    def test_all_were_in_the_pilot(self):
        """Each is executed from the stage then, and so are its libraries."""
        names = sorted(set(os.listdir("/usr/bin")) - set(NOT_RUN))
        paths = [p for p in ("/usr/bin/" + n for n in names) if not os.path.islink(p) and is_dynamic(p)]
        self.assertGreater(self.everything(paths, paths), 200)
