#!/usr/bin/env python3
"""The test runner itself: what it must call a failure."""

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from runner import sandbox, tap
from runner.script import Script


def report(text):
    got = tap.parse(text)
    return len(got.passed), len(got.failed), len(got.skipped)


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got}, wanted {wanted}")


def shell(text, limit=10):
    return sandbox.run(["/bin/sh", "-c", text], {}, None, limit)


def plain_points():
    expect(report("1..2\nok 1 - a\nok 2 - b\n"), (2, 0, 0))
    expect(report("ok 1 - a\nnot ok 2 - b\n1..2\n"), (1, 1, 0))


def several_plans_add_up():
    expect(report("TAP version 13\n1..1\nok 1 - a\n1..2\nok 1 - b\nok 2 - c\n"), (3, 0, 0))


def missing_plan():
    expect(report("ok 1 - a\n"), (1, 1, 0))
    expect(report(""), (0, 1, 0))


def short_and_long_counts():
    expect(report("1..3\nok 1\nok 2\n"), (2, 1, 0))
    expect(report("1..1\nok 1\nok 2\n"), (2, 1, 0))
    expect(report("1..0\n"), (0, 1, 0))


def bail_out():
    expect(report("1..2\nok 1 - a\nBail out! no disk\n"), (1, 1, 0))


def skips_need_reasons():
    expect(report("1..1\nok 1 - a # SKIP no fuse here\n"), (0, 0, 1))
    expect(report("1..1\n# no fuse here\nok 1 - a # SKIP\n"), (0, 0, 1))
    expect(report("1..1\nok 1 - a # SKIP\n"), (0, 1, 0))
    expect(report("1..0 # SKIP no fuse here\n"), (0, 0, 1))
    expect(report("1..1\nnot ok 1 - a # SKIP not an excuse\n"), (0, 1, 0))
    expect(report("1..1\nno fuse here\nnot ok 1 # SKIP a\n"), (0, 0, 1))
    expect(report("1..1\nnot ok 1 # SKIP a\n"), (0, 1, 0))


def reasons_of_failures():
    expect(tap.parse("1..2\n# before\nnot ok 1 - a\nok 2 - b\n").failed, [("a", "before")])
    expect(tap.parse("1..2\nnot ok 1 - a\n# 1 != 2\n# f.c:3\nok 2 - b\n").failed, [("a", "1 != 2 f.c:3")])


def status_and_output():
    got = shell("echo 1..1; echo oops >&2; exit 3")
    expect((got.status, got.stdout, got.stderr), (3, "1..1\n", "oops\n"))
    expect(shell("kill -SEGV $$").status, -11)


def time_limit():
    start = time.monotonic()
    got = shell("sleep 60 & sleep 60", limit=0.5)
    expect((got.timed_out, got.status), (True, -9))
    if time.monotonic() - start > 40:
        raise AssertionError("it took as long as the program")


def stray_process():
    sandbox.GRACE_SECONDS = 0.3
    seconds = f"61.{os.getpid()}"  # nobody else's
    got = shell(f"setsid sleep {seconds} & echo done")
    expect(len(got.leftovers), 1)
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            alive = cmdline.read_bytes() == f"sleep\0{seconds}\0".encode()
        except OSError:
            continue
        if alive:
            raise AssertionError("the stray process lives on")


def temporary_folder():
    got = shell('echo "$TMPDIR"; pwd; touch "$TMPDIR/f"')
    folder, cwd = got.stdout.split()
    expect(folder, cwd)
    expect(os.path.exists(folder), False)
    expect(got.leftovers, [])


def stray_mount():
    got = shell('mkdir "$TMPDIR/m" && mount -t tmpfs none "$TMPDIR/m"')
    expect((got.status, len(got.leftovers)), (0, 1))
    expect(got.leftovers[0].rpartition("/")[2] in Path("/proc/self/mountinfo").read_text().split(), False)


def whole_run_fails():
    """The runner as a whole: a failing program gives the status and the closing line."""
    folder = Path(os.environ["TMPDIR"], "project")
    folder.mkdir()
    folder.joinpath("meson.build").write_text(
        "project('p', 'c')\n"
        "test('good', find_program('sh'), args: ['-c', 'echo 1..1; echo ok 1 - a'], suite: 'unit')\n"
        "test('bad', find_program('sh'), args: ['-c', 'echo 1..1; echo ok 1 - a; exit 1'], suite: 'unit')\n"
        "test('other', find_program('sh'), args: ['-c', 'echo 1..1; echo not ok 1'], suite: 'long')\n"
    )
    subprocess.run(["meson", "setup", "build"], cwd=folder, check=True, capture_output=True)
    runner = Path(__file__).resolve().parent.parent / "run.py"
    environ = {name: value for name, value in os.environ.items() if name != sandbox.MARK}
    got = subprocess.run([runner, "--results", folder / "results", "build:unit,long"],
                         cwd=folder, capture_output=True, text=True, env=environ)
    expect((got.returncode, got.stdout.splitlines()[-1]), (1, "2 passed, 1 failed, 0 skipped"))
    again = subprocess.run([folder / "results/build-bad/repro.sh"], capture_output=True, text=True)
    expect((again.returncode, again.stdout), (1, "1..1\nok 1 - a\n"))
    got = subprocess.run([runner, "--results", folder / "results", "--only", "good", "build"],
                         cwd=folder, capture_output=True, text=True, env=environ)
    expect((got.returncode, got.stdout.splitlines()[-1]), (0, "1 passed, 0 failed, 0 skipped"))


def main():
    script = Script()
    for test in (plain_points, several_plans_add_up, missing_plan, short_and_long_counts, bail_out,
                 skips_need_reasons, reasons_of_failures, status_and_output, time_limit, stray_process,
                 temporary_folder, whole_run_fails):
        script.run(test, test.__name__)
    if os.geteuid() == 0:
        script.run(stray_mount, "stray_mount")
    else:
        script.skip("stray_mount", "only root may mount")
    script.finish()


main()
