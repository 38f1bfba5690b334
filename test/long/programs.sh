#!/bin/sh
# Everything in /usr/bin, asked for its version: natively and attached the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here" exec /usr/bin/python3 -B "$here/../e2e/harness.py" long_programs
