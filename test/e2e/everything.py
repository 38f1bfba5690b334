"""Whatever programs a machine has: each is run natively and attached, and says the same."""
import os
import re
import signal
import subprocess

from loader import Loader

# Not run: what asks a server or a person, changes the machine, or says each time something else.
NOT_RUN = {
    "apt-key": "waits for a server of keys", "bashbug": "starts an editor", "bugpoint-14": "writes much",
    "chfn": "changes a user", "chsh": "changes a user", "gpasswd": "changes a group", "newgrp": "starts a shell",
    "passwd": "changes a user", "reset": "writes to the terminal", "sg": "starts a shell", "su": "starts a shell",
    "sudo": "starts a program of another user's", "systemctl": "asks the running system", "script": "makes a terminal",
    "scriptlive": "makes a terminal", "setpriv": "takes its own rights away", "prlimit": "tells its limits and its number",
    "unshare": "starts a shell elsewhere", "nsenter": "starts a shell elsewhere", "watch": "draws on the terminal",
    "wall": "writes to everybody", "mesg": "changes the terminal", "tset": "changes the terminal", "yes": "does not end",
    "uptime": "says the time", "w": "says the time", "top": "says the time", "date": "says the time", "ps": "says the time",
    "vmstat": "says what the machine does", "free": "says what the machine does", "slabtop": "says what the machine does",
    "groff": "says what its programs say as they come", "gdb": "is tested on its own", "gdbserver": "waits for a debugger", "strace": "is what the others are watched with",
    "valgrind": "is tested on its own", "ld.so": "is no program that is linked dynamically", "ssh-agent": "stays",
    "gpg-agent": "stays", "dirmngr": "stays", "dbus-daemon": "stays", "dbus-launch": "stays", "pinentry": "asks a person",
}


def is_dynamic(path):
    """An ELF program with an interpreter."""
    with open(path, "rb") as f:
        head = f.read(4096)
    return head[:4] == b"\x7fELF" and b"/ld-linux" in head


class Everything(Loader):
    def one(self, argv):
        """(its number, status, output, errors); None where it does not end."""
        work = self.path("work")
        os.makedirs(work, exist_ok=True)
        env = dict(self.env, HOME=work, TMPDIR=work, PATH="/usr/bin:/bin:/usr/sbin:/sbin", TERM="dumb", PAGER="cat")
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "EDITOR", "VISUAL"):
            env.pop(name, None)
        proc = subprocess.Popen(argv, env=env, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, start_new_session=True)
        try:
            out, err = proc.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            out = err = None
        try:
            os.killpg(proc.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if out is None:
            # Not read to their end: what has left the group (a daemon) may hold them for ever.
            proc.stdout.close()
            proc.stderr.close()
            proc.wait()
            return None
        return proc.pid, proc.returncode, out, err

    @staticmethod
    def same_but_for_numbers(one, other):
        """What they said is the same, apart from the number that each process had (another's may be in a year)."""
        if one is None or other is None:
            return one is other
        numbers = re.compile(rb"\b(%d|%d)\b" % (one[0], other[0]))
        return one[1] == other[1] and all(numbers.sub(b"#", a) == numbers.sub(b"#", b) for a, b in zip(one[2:], other[2:]))

    def everything(self, paths, pilots):
        """How many were compared; each of them said the same."""
        manifest = self.path("m.json")
        words = " ".join("'%s' --version </dev/null >/dev/null 2>&1;" % p for p in pilots)
        self.record(manifest, ["sh", "-c", words + " :"], include=["/usr", "/lib", "/bin", "/lib64"], env=self.env)
        d = self.stage(manifest)
        compared, wrong = 0, []
        for path in paths:
            argv = [path, "--version"]
            native = self.one(argv)
            served = self.one([d + "/run", *argv])
            same = self.same_but_for_numbers
            if not same(native, served) and same(native, self.one(argv)):
                wrong.append("%s: natively %r, attached %r" % (path, native, served))
            compared += native is not None
        self.assertEqual("\n".join(w[:1500] for w in wrong), "")
        return compared
