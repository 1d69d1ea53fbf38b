#!/usr/bin/env python3
"""random_ops on a mount and a plain folder: test_random.py PROGRAM (passthrough|disk|memory) STEPS SECONDS [MOUNT-OPTION...]"""

import contextlib
import subprocess
import sys

import mounts
from runner.script import Script


def main():
    program, kind, steps, seconds, *options = sys.argv[1:]
    reason = mounts.why_not()
    if reason:
        script = Script()
        script.skip("random program", reason)
        script.finish()
    with contextlib.ExitStack() as stack:
        if kind == "memory":
            point = stack.enter_context(mounts.memory("--size", "256M", *options))
        else:
            _, point = stack.enter_context(mounts.passthrough(*options, on_disk=kind == "disk"))
        plain = stack.enter_context(mounts.tmpfs())
        status = subprocess.run([program, point, plain, steps, seconds]).returncode
    sys.exit(status)


main()
