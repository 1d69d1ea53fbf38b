#!/usr/bin/env python3
"""The POSIX suite on a mount and on a plain folder: their logs must be the same.

usage: test_posix.py SUITE (passthrough|memory) [MOUNT-OPTION...]

Both are held against a folder on tmpfs, on which the share of passthrough is too. What differs must be in
deviations.txt, with its reason.
"""

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import mounts
from runner.script import Script

DEVIATIONS = Path(__file__).resolve().parent / "deviations.txt"
DEVIATIONS_OF = "6.18"  # the series of kernels on which all of them occur


def main():
    suite, kind, *options = sys.argv[1:]
    script = Script()
    reason = mounts.why_not()
    topics = [line.split() for line in subprocess.run([suite, "--list"], capture_output=True, text=True,
                                                      check=True).stdout.splitlines()]
    if reason:
        for topic, *_ in topics:
            script.skip(topic, reason)
        script.finish()
    if not mounts.IS_ROOT:
        for topic in [topic for topic in topics if "root" in topic]:
            script.skip(topic[0], "needs root: it has files and clients of several users")
            topics.remove(topic)
    expected = logs_of_plain(suite, kind, topics)
    found = logs_of_mount(suite, kind, options, topics)
    deviations = read_deviations([kind, "both", "write-back" if "--writeback" in options else "write-through"])
    for topic, *_ in topics:
        complaints = compare(expected[topic], found[topic], [d for d in deviations if d.topic in (topic, "*")])
        script.point(not complaints, topic, "\n".join(complaints))
    check_unmet(script, [d for d in deviations if not d.used and d.topic in [topic for topic, *_ in topics]])
    script.finish()


def check_unmet(script, deviations):
    """A deviation that occurs no more would excuse what breaks next."""
    name = "every deviation occurs"
    lines = [f"remove it from deviations.txt: {d.topic}: {d.pattern.pattern}" for d in deviations if d.certain]
    series = ".".join(os.uname().release.split(".")[:2])
    if lines and series != DEVIATIONS_OF:
        script.skip(name, f"deviations.txt is for Linux {DEVIATIONS_OF}; {len(lines)} of it do not occur on {series}")
    else:
        script.point(not lines, name, "\n".join(lines))


def logs_of_plain(suite, kind, topics):
    with mounts.tmpfs() as folder:
        return run_topics(suite, folder, topics)


def logs_of_mount(suite, kind, options, topics):
    if kind == "memory":
        with mounts.memory("--size", "256M", *options) as point:
            return run_topics(suite, point, topics)
    with mounts.passthrough(*options) as (_, point):
        return run_topics(suite, point, topics)


def run_topics(suite, folder, topics):
    logs = {}
    for topic, *_ in topics:
        run = subprocess.run([suite, folder, topic], capture_output=True, text=True, errors="replace")
        logs[topic] = run.stdout.splitlines()
        if run.returncode != 0:
            logs[topic].append(f"the suite ended with {run.returncode}: {run.stderr.strip()}")
        if os.environ.get("POSIX_LOGS"):
            Path(os.environ["POSIX_LOGS"], f"{Path(folder).name}-{topic}").write_text(run.stdout)
    return logs


class Deviation:
    def __init__(self, topic, pattern, certain):
        self.topic, self.pattern, self.certain, self.used = topic, re.compile(pattern), certain, False


def read_deviations(kinds):
    """Lines `KIND[?] TOPIC: REGEX # REASON`: a log line of either side that differs (`?`: may differ)."""
    found = []
    for line in DEVIATIONS.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([^\s?]+)(\??) (\S+): (.*\S)\s+# (.+)", line)
        if not match:
            sys.exit(f"{DEVIATIONS}: no reason, or malformed: {line}")
        if match[1] in kinds:
            found.append(Deviation(match[3], match[4], certain=not match[2]))
    return found


def excused(line, deviations):
    for deviation in deviations:
        if deviation.pattern.fullmatch(line):
            deviation.used = True
            return True
    return False


def compare(expected, found, deviations):
    """Complaints about lines that differ and are not excused: `-` the plain folder's, `+` the mount's."""
    complaints = []
    matcher = difflib.SequenceMatcher(None, expected, found, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        lines = [("-", line) for line in expected[i1:i2]] + [("+", line) for line in found[j1:j2]]
        if not all([excused(line, deviations) for _, line in lines]):
            before = [f"  {line}" for line in expected[max(0, i1 - 1):i1]]
            complaints += before + [f"{sign} {line}" for sign, line in lines]
    return complaints[:80]


main()
