#!/usr/bin/env python3
"""The guest suite in guests with a stock kernel, judged from the host.

usage: test_guest.py SUITE ORIEL SERIES    boots kernel SERIES in `oriel run`, once for each scenario
       test_guest.py SUITE --control       runs the same checks on a share without oriel and DAX

The guests work on folders of this machine. When they are gone, the hashes that the guest suite printed are compared
with those of the files, and the traces are counted: what has to come through the window must not come by requests.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

SOURCE = Path(os.environ["ORIEL_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests"))
from runner import tap
from runner.script import Script
from scenarios import ALL, CONTROL

HERE = Path(__file__).resolve().parent
MIB = 1024 * 1024
LIMIT = 400  # seconds for the emulated machine with all guests in it


def has_virtualization():
    """As scripts/run decides it: flags of the processor, and a device that opens."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return bool(flags & {"vmx", "svm"}) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def prepare(scenario, suite, share):
    """The share's files, made by the host."""
    share.mkdir()
    shutil.copy(suite, share / "guest_suite")

    def make(name, length, seed):
        subprocess.run([suite, "--make", share / name, str(length), str(seed)], check=True)

    content = os.urandom(3 * MIB + 123)
    (share / "from-host").write_bytes(content)
    (share / "EXPECT").write_text(f"{hashlib.sha256(content).hexdigest()} from-host\n")
    if "counted" in scenario.groups:
        make("64m", 64 * MIB, 90)
        make("stored", 8 * MIB, 0)
    if "names" in scenario.groups:
        for folder in range(50):
            (share / f"tree/d{folder}").mkdir(parents=True)
            for file in range(100):
                path = f"tree/d{folder}/f{file}"
                (share / path).write_text(path)
    if "host-truncate" in scenario.groups:
        make("victim", 4 * MIB, 95)


def judge_guest(script, scenario, output):
    """The guest's own points, each as one of ours."""
    report = tap.parse(output)
    for name in report.passed:
        script.point(True, f"{scenario.name}: {name}")
    for name, why in report.failed:
        script.point(False, f"{scenario.name}: {name}", why)
    for name, reason in report.skipped:
        script.skip(f"{scenario.name}: {name}", reason)


def judge_hashes(script, scenario, share, output):
    """What the guest says it wrote is what this side finds."""
    published = re.findall(r"^# sha256 ([0-9a-f]{64}) (.+?)\r?$", output, re.MULTILINE)
    wrong = []
    for hexdigest, name in published:
        path = share / name
        if not path.exists():
            wrong.append(f"{name} is not there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != hexdigest:
            wrong.append(f"{name} differs")
    script.point(published and not wrong, f"{scenario.name}: the {len(published)} files the guest wrote arrived whole",
                 "\n".join(wrong) or "the guest named no file")


def main():
    suite = Path(sys.argv[1]).absolute()
    script = Script()
    work = Path(tempfile.mkdtemp())
    if sys.argv[2] == "--control":
        control(script, suite, work)
    else:
        guests(script, suite, work, Path(sys.argv[2]).absolute(), sys.argv[3])
    script.finish()


def control(script, suite, work):
    share = work / CONTROL.name
    prepare(CONTROL, suite, share)
    done = subprocess.run([SOURCE / "scripts/nested", "--timeout", "200", "--rw", share, "--", "./guest_suite",
                           *CONTROL.groups], cwd=share, capture_output=True, text=True, errors="replace")
    if done.stderr:
        print("\n".join(f"# {line}" for line in done.stderr.splitlines()[-40:]))
    script.point(done.returncode == 0, "the emulated machine ran the suite", done.returncode)
    judge_guest(script, CONTROL, done.stdout)
    judge_hashes(script, CONTROL, share, done.stdout)


if __name__ == "__main__":
    main()
