"""Where the products are, and the facts of the machine that a result belongs to."""
import os
import platform
import re
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(TOP, "build")))
MPIEXEC = os.environ.get("MPIEXEC", "mpiexec.mpich")
PYTHON = "/usr/bin/python3"


def first_match(pattern, file):
    try:
        with open(file, encoding="utf-8", errors="replace") as f:
            found = re.search(pattern, f.read(), re.MULTILINE)
        return found.group(1) if found else None
    except OSError:
        return None


def facts():
    git = subprocess.run(["sh", "-c", 'git -C "$1" describe --always --dirty', "git", TOP], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, check=False).stdout.strip()
    memory = first_match(r"^MemTotal: *(\d+) kB", "/proc/meminfo")
    return {"system": first_match(r'^PRETTY_NAME="(.*)"', "/etc/os-release"), "kernel": platform.release(),
            "architecture": platform.machine(), "libc": " ".join(platform.libc_ver()),
            "processor": first_match(r"^model name\s*: (.*)$", "/proc/cpuinfo"),
            "cores": len(os.sched_getaffinity(0)), "memory_bytes": int(memory) * 1024 if memory else None,
            "load_at_start": os.getloadavg()[0], "revision": git or None,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
