"""Some programs of this machine, of many kinds; all of them: test/long/programs.sh."""
import os

from everything import Everything, is_dynamic

NAMES = """ar as awk bash cat chmod clang cp curl cut date dash diff dpkg env expr file find gcc g++ gdb getconf git gpg
gprof grep gzip head hostname iconv id install join kill ld less ln localedef ls lsblk make md5sum mkdir mount mpicc.mpich
mpiexec.hydra mv nl nm node objdump od openssl perl python3 Rscript readelf realpath rm sed seq sh sleep sort sqlite3 ssh
stat strip sync tail tar tee touch tr truncate tty uname unzip wc wget which xargs xz zstd""".split()


class Some(Everything):
    def test_programs_of_many_kinds(self):
        paths = [p for p in ("/usr/bin/" + n for n in NAMES) if os.path.exists(p) and is_dynamic(p)]
        self.assertGreater(len(paths), 50)
        self.assertGreater(self.everything(paths, paths[::2]), 50)
