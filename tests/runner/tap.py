"""Reads the TAP that a test program printed and says what passed, failed and was skipped."""

import re
from dataclasses import dataclass, field

_PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*(?:SKIP|skip)\w*\s*(.*))?$")
_POINT = re.compile(r"^(not ok|ok)\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
_SKIP = re.compile(r"(?i)(?:^|\s)#\s*skip\w*\s*:?\s*(.*)$")
_BAIL = re.compile(r"^Bail out!\s*(.*)$")
_VERSION = re.compile(r"^TAP version \d+$")


@dataclass
class Report:
    passed: list = field(default_factory=list)
    failed: list = field(default_factory=list)  # (name, why)
    skipped: list = field(default_factory=list)  # (name, reason)


def parse(text):
    """The report of one program's standard output; a broken protocol is a failure in it.

    Several plans in one output (cmocka prints one a group) add up. A plan `1..0 # SKIP reason` skips the program.
    """
    report = Report()
    planned = None
    seen = 0
    hint = ""  # the last free line before a point: the reason of a skip or of a failure
    after = 0  # lines that may still say why the point before them failed, where nothing before it did
    for line in text.splitlines():
        line = line.rstrip()
        if match := _PLAN.match(line):
            planned = (planned or 0) + int(match[1])
            if int(match[1]) == 0 and match[2] is not None:
                _skip(report, "whole program", match[2] or hint)
        elif match := _BAIL.match(line):
            report.failed.append(("bail out", match[1] or "no reason given"))
            return report
        elif match := _POINT.match(line):
            seen += 1
            _point(report, match, seen, hint)
            after = 2 if match[1] == "not ok" and not hint else 0
            hint = ""
        elif line and not _VERSION.match(line):
            if after > 0 and line.startswith("#"):
                name, why = report.failed[-1]
                report.failed[-1] = (name, f"{why} {line.lstrip('# ')}".strip())
                after -= 1
            else:
                hint = line.lstrip("# ")
    if planned is None:
        report.failed.append(("plan", "no TAP plan was printed"))
    elif planned != seen:
        report.failed.append(("plan", f"{planned} test points were planned, {seen} came"))
    elif planned == 0 and not report.skipped:
        report.failed.append(("plan", "a program without test points proves nothing"))
    return report


def _point(report, match, number, hint):
    rest = match[3]
    skip = _SKIP.search(rest)
    name = (rest[: skip.start()] if skip else rest).strip() or f"test {number}"
    if match[1] == "not ok" and skip and rest.startswith("#"):
        # cmocka's way of skipping: `not ok 1 # SKIP name`, the reason in the line before.
        _skip(report, skip[1], hint)
    elif match[1] == "not ok":
        report.failed.append((name, hint))
    elif skip:
        _skip(report, name, skip[1] or hint)
    else:
        report.passed.append(name)


def _skip(report, name, reason):
    if reason.strip():
        report.skipped.append((name, reason.strip()))
    else:
        report.failed.append((name, "skipped without a reason"))
