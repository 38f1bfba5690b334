#!/bin/sh
# Jobs and software of many kinds on a shared file system that counts.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here" exec /usr/bin/python3 -B "$here/../e2e/harness.py" long_lab
