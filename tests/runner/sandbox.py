"""Runs one test program in its own folder and session, and sees to it that nothing of it stays behind."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

MARK = "ORIEL_TEST_ID"  # in the environment of everything a test starts, so that daemons are found too
GRACE_SECONDS = 3.0  # how long what a test started may take to end after it
_live = set()  # the marks of the programs that run now


@dataclass
class Result:
    status: int = 0  # exit status, negative: the signal
    timed_out: bool = False
    seconds: float = 0.0
    stdout: str = ""
    stderr: str = ""
    stacks: str = ""
    leftovers: list = field(default_factory=list)  # complaints about processes and mounts that stayed


def run(argv, env, cwd, limit):
    """Runs argv for at most `limit` seconds. cwd None: the test's own temporary folder."""
    mark = uuid.uuid4().hex
    folder = tempfile.mkdtemp(prefix="oriel-test-")
    result = Result()
    out_path, err_path = Path(folder, ".stdout"), Path(folder, ".stderr")
    work = Path(folder, "tmp")
    work.mkdir()
    full_env = dict(os.environ, **env, TMPDIR=str(work), **{MARK: mark})
    start = time.monotonic()
    _live.add(mark)
    try:
        with open(out_path, "wb") as out, open(err_path, "wb") as err:
            try:
                child = subprocess.Popen(
                    argv, env=full_env, cwd=cwd or work, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                result.status, result.stderr = 127, f"cannot start {argv[0]}: {error.strerror}\n"
                return result
            try:
                result.status = child.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                result.timed_out = True
                result.stacks = _stacks(_marked(mark))
                _kill(mark)
                result.status = child.wait()
            except BaseException:  # the runner itself is being stopped
                _kill(mark)
                child.wait()
                raise
        result.seconds = time.monotonic() - start
        if not result.timed_out:
            result.leftovers += _left_processes(mark)
        _kill(mark)
        result.leftovers += _left_mounts(folder)
        result.stdout = out_path.read_text(errors="replace")
        result.stderr = err_path.read_text(errors="replace")
        return result
    finally:
        _live.discard(mark)
        _remove(folder)


def stop_all():
    """Ends every program that runs now, for a runner that is being stopped itself."""
    for mark in list(_live):
        _kill(mark)


def _marked(mark):
    """Live processes that carry the mark: (pid, command line). The environment is inherited across setsid and fork."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            environ = Path("/proc", entry, "environ").read_bytes()
            if needle not in environ.split(b"\0"):
                continue
            state = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            if state in "ZX":
                continue
            cmdline = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found.append((int(entry), cmdline.strip()))
    return found


def _left_processes(mark):
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [f"left a process behind: {cmdline[:200]}" for _, cmdline in left]


def _kill(mark):
    for _ in range(100):  # what is being killed may still be forking
        left = _marked(mark)
        if not left:
            return
        for pid, _ in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def _stacks(processes):
    """The call stacks of a hung test, where gdb is there to tell."""
    if not shutil.which("gdb"):
        return "(no gdb here, so no call stacks)\n"
    text = ""
    for pid, cmdline in processes[:4]:
        text += f"--- process {pid}: {cmdline[:120]}\n"
        try:
            dump = subprocess.run(
                ["gdb", "-q", "-nx", "-batch", "-ex", "thread apply all bt 30", "-p", str(pid)],
                capture_output=True, text=True, errors="replace", timeout=30, stdin=subprocess.DEVNULL,
            )
            text += dump.stdout[-8000:]
        except subprocess.TimeoutExpired:
            text += "(gdb did not answer in 30 s)\n"
    return text


def _mounts_below(folder):
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(folder + "/"):
            points.append(point)
    return points


def _left_mounts(folder):
    return [f"left a mount behind: {point}" for point in _mounts_below(os.path.realpath(folder))]


def _remove(folder):
    """Removes the folder, but never walks into something that is still mounted in it."""
    for point in reversed(_mounts_below(os.path.realpath(folder))):
        subprocess.run(["umount", "-l", point], capture_output=True)
    if _mounts_below(os.path.realpath(folder)):
        return
    subprocess.run(["chmod", "-R", "u+rwX", folder], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
