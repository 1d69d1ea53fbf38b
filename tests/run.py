#!/usr/bin/env python3
"""The test runner: runs the tests that Meson knows in one or more build folders.

usage: tests/run.py [options] BUILD[:SUITE,SUITE...]...

Every test program runs in its own temporary folder (TMPDIR) and session under a time limit, and must print TAP. A
program that dies, hangs, prints no plan, skips without saying why, or leaves a process or a mount behind has failed.
Output and a repro.sh of each failed program go to build-results/. The last line is `N passed, N failed, N skipped`.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from runner import sandbox, tap

ROOT = Path(__file__).resolve().parent.parent
OUTPUT_LINES = 120  # of a failed program that go to the screen; the files have all


@dataclass
class Test:
    build: str
    name: str
    argv: list
    env: dict
    cwd: str | None
    suites: set
    limit: float
    parallel: bool

    @property
    def label(self):
        return f"{self.build}/{self.name}"


@dataclass
class Outcome:
    test: Test
    result: sandbox.Result
    report: tap.Report
    failures: list = field(default_factory=list)  # (case, why)


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = Path(args.results)
    shutil.rmtree(results, ignore_errors=True)
    tests = [test for spec in args.builds for test in discover(spec, args)]
    if args.list:
        for test in tests:
            print(f"{test.label}  [{', '.join(sorted(test.suites))}]")
        return 0
    start = time.monotonic()
    outcomes = run_all(tests, args, results)
    return summary(outcomes, results, time.monotonic() - start)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("builds", nargs="+", metavar="BUILD[:SUITES]", help="a build folder and the suites to run")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="programs at once (2)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only programs whose BUILD/NAME matches")
    parser.add_argument("--long", action="store_true", help="also what is in the suite `long`")
    parser.add_argument("--scale", type=float, default=float(os.environ.get("ORIEL_TEST_TIME_SCALE", "2")),
                        help="multiplies every time limit (2, or ORIEL_TEST_TIME_SCALE)")
    parser.add_argument("--results", default=str(ROOT / "build-results"), help="where the files of failures go")
    parser.add_argument("--list", action="store_true", help="name the programs and do nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="also show the output of what passed")
    return parser.parse_args()


def discover(spec, args):
    """The tests of one `BUILD:SUITES` that the options leave."""
    folder, _, wanted = spec.partition(":")
    wanted = set(wanted.split(",")) if wanted else None
    path = (Path.cwd() / folder).resolve()
    listing = subprocess.run(["meson", "introspect", "--tests", str(path)], capture_output=True, text=True)
    if listing.returncode != 0:
        sys.exit(f"tests/run.py: {folder} is no configured Meson build folder: {listing.stderr.strip()}")
    found, met = [], set()
    for entry in json.loads(listing.stdout):
        suites = {suite.rpartition(":")[2] for suite in entry["suite"]}
        met |= suites
        if "long" in suites and not args.long:
            continue
        if wanted is not None and not suites & wanted:
            continue
        # Meson names built programs relative to the build folder; tests run elsewhere.
        argv = [str(path / word) if "/" in word and (path / word).exists() else word for word in entry["cmd"]]
        test = Test(path.name, entry["name"], argv, entry["env"], entry["workdir"], suites,
                    entry["timeout"] * args.scale, entry["is_parallel"])
        if re.search(args.only, test.label):
            found.append(test)
    for suite in sorted((wanted or set()) - met):
        print(f"note: {path.name} has no test in the suite {suite}")
    return found


def run_all(tests, args, results):
    # The longest limits first: a two-minute program that starts last keeps everybody waiting.
    together = sorted((test for test in tests if test.parallel), key=lambda test: -test.limit)
    alone = [test for test in tests if not test.parallel]
    outcomes, lock = [], threading.Lock()

    def one(test):
        outcome = run_one(test)
        with lock:
            outcomes.append(outcome)
            show(outcome, results, args.verbose)

    for batch, jobs in ((together, args.jobs), (alone, 1)):
        pool = ThreadPoolExecutor(max_workers=max(1, jobs))
        try:
            futures = [pool.submit(one, test) for test in batch]
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            sandbox.stop_all()
            raise
        pool.shutdown()
    return outcomes


def run_one(test):
    result = sandbox.run(wrapped(test), environment(test), test.cwd, test.limit)
    outcome = Outcome(test, result, tap.parse(result.stdout))
    if result.timed_out:
        outcome.failures.append(("program", f"still ran after {test.limit:.0f} s and was ended"))
    elif result.status < 0:
        outcome.failures.append(("program", f"died of {signal.Signals(-result.status).name}"))
    outcome.failures += outcome.report.failed
    if result.status > 0 and not outcome.failures:
        outcome.failures.append(("program", f"ended with status {result.status} though no test point failed"))
    outcome.failures += [("program", complaint) for complaint in result.leftovers]
    return outcome


def environment(test):
    """Tests speak TAP; a sanitizer's complaint ends the program."""
    settings = {
        "CMOCKA_MESSAGE_OUTPUT": "TAP",
        "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
        "ORIEL_SOURCE": str(ROOT),
    }
    return settings | test.env


def wrapped(test):
    """ThreadSanitizer of these compilers needs a small address-space randomization; a fixed layout always suits it."""
    return ["setarch", "-R", *test.argv] if "tsan" in test.build else test.argv


def show(outcome, results, verbose):
    test, report = outcome.test, outcome.report
    word = "FAIL" if outcome.failures else "skip" if not report.passed else "ok"
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    print(f"{word:4} {test.label} ({len(report.passed)} passed{skipped}, {outcome.result.seconds:.1f} s)")
    if outcome.failures:
        for case, why in outcome.failures:
            print(f"     failed: {case}" + (f": {why}" if why else ""))
        keep(outcome, results)
    if outcome.failures or verbose:
        for title in ("stdout", "stderr", "stacks"):
            tail(title, getattr(outcome.result, title))
    sys.stdout.flush()


def tail(title, text):
    lines = text.splitlines()
    if lines:
        cut = f" (the last {OUTPUT_LINES} of {len(lines)} lines)" if len(lines) > OUTPUT_LINES else ""
        print(f"     {title}{cut}:")
        for line in lines[-OUTPUT_LINES:]:
            print(f"     | {line}")


def keep(outcome, results):
    """Leaves output and a script that runs the failed program again."""
    test = outcome.test
    folder = results / f"{test.build}-{re.sub(r'[^A-Za-z0-9._-]+', '_', test.name)}"
    folder.mkdir(parents=True, exist_ok=True)
    for title in ("stdout", "stderr", "stacks"):
        (folder / title).write_text(getattr(outcome.result, title))
    seed = re.search(r"ORIEL_TEST_SEED=(\w+)", outcome.result.stdout + outcome.result.stderr)
    variables = environment(test) | ({"ORIEL_TEST_SEED": seed[1]} if seed else {})
    lines = ["#!/bin/sh", f"# Runs {test.label} again, as the runner did. The source tree has to be built.", "set -eu",
             "TMPDIR=$(mktemp -d)", "export TMPDIR", "trap 'rm -rf --one-file-system \"$TMPDIR\"' EXIT",
             "cd " + (shlex.quote(test.cwd) if test.cwd else '"$TMPDIR"')]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    lines.append("timeout %d %s" % (test.limit, shlex.join(wrapped(test))))
    script = folder / "repro.sh"
    script.write_text("\n".join(lines) + "\n")
    script.chmod(0o755)
    print(f"     again: {os.path.relpath(script)}")


def summary(outcomes, results, seconds):
    passed = sum(len(outcome.report.passed) for outcome in outcomes)
    failed = sum(len(outcome.failures) for outcome in outcomes)
    skips = [(outcome.test.label, *skip) for outcome in outcomes for skip in outcome.report.skipped]
    if skips:
        print("\nskipped:")
        for label, case, reason in skips:
            print(f"  {label}: {case}: {reason}")
    if failed:
        print("\nfailed:")
        for outcome in outcomes:
            for case, why in outcome.failures:
                print(f"  {outcome.test.label}: {case}" + (f": {why}" if why else ""))
        print(f"output and repro.sh of each are in {os.path.relpath(results)}/")
    print(f"\n{len(outcomes)} programs in {seconds:.0f} s")
    print(f"{passed} passed, {failed} failed, {len(skips)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
