#!/usr/bin/env python3
"""Boots the guests of one kernel, one after the other, and keeps what they print. Runs where /dev/kvm is: on the
machine itself, or in scripts/nested. What it leaves in WORK is judged by test_guest.py, outside.

usage: inside.py WORK ORIEL KERNEL-FOLDER SCENARIO...
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scenarios import ALL


def answer(share):
    """Does what the guest suite asks the host for: a file ask-X in the share, removed when X is done."""
    request = share / "ask-truncate-victim"
    if request.exists():
        os.truncate(share / "victim", 1024 * 1024)
        request.unlink()


def boot(scenario, work, oriel, kernel):
    share = work / scenario.name
    trace = Path(tempfile.mkdtemp()) / "trace"  # in RAM when this is the emulated machine
    argv = [oriel, "run", "--kernel", kernel / scenario.image, "--modules", kernel / "modules", "--trace", trace,
            f"--stats={work / scenario.name}.stats",
            "--share", f"{share}:share,dax={scenario.window}" + (",ro" if scenario.read_only else ""),
            "--", "./guest_suite", *scenario.groups]
    start = time.monotonic()
    with open(work / f"{scenario.name}.out", "wb") as out, open(work / f"{scenario.name}.err", "wb") as err:
        machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        while (status := machine.poll()) is None:
            answer(share)
            time.sleep(0.05)
            if time.monotonic() - start > scenario.seconds:
                machine.send_signal(signal.SIGUSR1)  # the table tells how far it came
                time.sleep(1)
                machine.kill()
                status = f"none: it was ended after {scenario.seconds} s ({machine.wait()})"
                break
    (work / f"{scenario.name}.status").write_text(str(status))
    if trace.exists():
        shutil.copy(trace, work / f"{scenario.name}.trace")
    shutil.rmtree(trace.parent)


def main():
    work, oriel, kernel = map(Path, sys.argv[1:4])
    for scenario in ALL:
        if scenario.name in sys.argv[4:]:
            boot(scenario, work, oriel, kernel)


main()
