#!/usr/bin/env python3
"""The guest suite in guests with a stock kernel, judged from the host.

usage: test_guest.py SUITE ORIEL SERIES [SCENARIO]...    boots kernel SERIES in `oriel run`, once for each scenario
       test_guest.py SUITE --control                     runs the same checks on a share without oriel and DAX

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
LIMIT = 900  # seconds for the emulated machine with all guests in it, on a busy host; an idle one needs a tenth


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


def steps_of(trace):
    """Requests by operation, for each step that the guest marked by looking up a name "@STEP"."""
    steps, current = {}, Counter()
    for operation, rest in re.findall(r"fuse > (\w+)(.*)", trace):
        if mark := re.search(r'"@([\w-]+)"', rest):
            current = steps.setdefault(mark[1], Counter())
        elif (operation, "node=0x1 " in rest) != ("GETATTR", True):  # of the folder, which the lookup of a mark asks for
            current[operation] += 1
    return steps


def judge_steps(script, trace):
    """What the group `counted` did, request by request."""
    steps = steps_of(trace)

    def point(step, good, name):
        counts = steps.get(step)
        script.point(counts is not None and good(counts), f"files: {name}", f"{step}: {dict(counts or {})}")

    point("first-read", lambda n: n["READ"] == 0 and n["SETUPMAPPING"] == 32,
          "the first read of 64 MiB takes 32 mappings and no READ")
    point("second-read", lambda n: n.total() == 0, "the second read of 64 MiB takes no request at all")
    point("mapped-loads", lambda n: n.total() == 0, "loads from what was read take no request either")
    point("stores", lambda n: n["WRITE"] == 0 and n["SETUPMAPPING"] == 4,
          "stores to 8 MiB take 4 mappings and no WRITE")
    point("fsync", lambda n: n["FSYNC"] == 1 and n["WRITE"] == 0, "fsync of stored data is one FSYNC")
    inits = len(re.findall(r"fuse > INIT", trace))
    script.point(inits == 4, "files: each of four mounts began with INIT", f"{inits} INIT")


def judge_counters(script, scenario, text):
    """The table that oriel printed at the end."""
    table = {name.strip(): int(value) for name, value in re.findall(r"^(.*?\S)\s{2,}(\d+)", text, re.MULTILINE)}

    def point(good, name, *rows):
        found = {row: table.get(row) for row in rows}
        script.point(None not in found.values() and good(*found.values()), f"{scenario.name}: {name}", found)

    point(lambda setups: setups > 0, "data came through the window", "SETUPMAPPING")
    point(lambda reads: reads == 0, "no data came by READ", "bytes moved by READ")
    point(lambda bad: bad == 0, "no request was malformed", "malformed")
    if scenario.name == "window":
        point(lambda removed: removed > 0, "the guest gave ranges back", "REMOVEMAPPING ranges")
        point(lambda peak: peak <= 32 * MIB, "the window showed no more than its size", "at once, at most")
    if scenario.name == "host-truncate":
        point(lambda accesses: accesses > 0, "the machine met accesses without a page", "accesses without a page")


def judge_scenario(script, scenario, work):
    def kept(kind):
        path = work / f"{scenario.name}.{kind}"
        return path.read_text(errors="replace") if path.exists() else ""

    output, complaints = kept("out").replace("\r\n", "\n"), kept("err")
    for line in complaints.splitlines()[-40:]:
        print(f"# {scenario.name}: {line}")
    script.point(kept("status") == "0", f"{scenario.name}: the guest ran and ended by itself",
                 f"status {kept('status')}\n" + "\n".join(output.splitlines()[-40:]))
    judge_guest(script, scenario, output)
    judge_hashes(script, scenario, work / scenario.name, output)
    judge_counters(script, scenario, kept("stats"))
    if "counted" in scenario.groups:
        judge_steps(script, kept("trace"))


def guests(script, suite, work, oriel, series, scenarios):
    kernel = Path(subprocess.run([SOURCE / "scripts/kernels", "path", series, "vmlinux"], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout.strip()).parent
    for scenario in scenarios:
        prepare(scenario, suite, work / scenario.name)
    done = subprocess.run([SOURCE / "scripts/with-kvm", "--timeout", str(LIMIT), "--mem", "2560", "--rw", work, "--",
                           "python3", HERE / "inside.py", work, oriel, kernel, *(scenario.name for scenario in scenarios)],
                          capture_output=True, text=True, errors="replace")
    for line in (done.stdout + done.stderr).splitlines()[-60:]:
        print(f"# {line}")
    script.point(done.returncode == 0, "all guests were run", done.returncode)
    for scenario in scenarios:
        judge_scenario(script, scenario, work)


def main():
    suite = Path(sys.argv[1]).absolute()
    script = Script()
    work = Path(tempfile.mkdtemp())
    if sys.argv[2] == "--control":
        control(script, suite, work)
    else:
        scenarios = [scenario for scenario in ALL if scenario.name in (sys.argv[4:] or scenario.name)]
        guests(script, suite, work, Path(sys.argv[2]).absolute(), sys.argv[3], scenarios)
    script.finish()


def control(script, suite, work):
    share = work / CONTROL.name
    prepare(CONTROL, suite, share)
    done = subprocess.run([SOURCE / "scripts/nested", "--timeout", "500", "--rw", share, "--", "./guest_suite",
                           *CONTROL.groups], cwd=share, capture_output=True, text=True, errors="replace")
    if done.stderr:
        print("\n".join(f"# {line}" for line in done.stderr.splitlines()[-40:]))
    script.point(done.returncode == 0, "the emulated machine ran the suite", done.returncode)
    judge_guest(script, CONTROL, done.stdout)
    judge_hashes(script, CONTROL, share, done.stdout)


if __name__ == "__main__":
    main()
