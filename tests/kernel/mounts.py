"""What the kernel tests share: `oriel mount` as a process, and plain folders to hold it against."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BUILD = Path(os.environ.get("ORIEL_BUILD", "build"))
ORIEL = BUILD / "src" / "cli" / "oriel"
IS_ROOT = os.geteuid() == 0
# Root's tests have clients of several users. An ordinary user may not let others in (fuse.conf).
LET_IN = ["--allow-other"] if IS_ROOT else []


CAP_SYS_ADMIN = 21


def why_not():
    """The reason why this machine mounts nothing for us, or None. That `oriel mount` alone does not is a failure."""
    reason = lacks()
    if reason is not None:
        return reason
    with tempfile.TemporaryDirectory() as point:
        probe = subprocess.run([ORIEL, "mount", "--memory", "--daemon", point], capture_output=True, text=True)
        if probe.returncode != 0:
            print(f"Bail out! nothing can be mounted: {probe.stderr.strip()}")
            sys.exit(1)
        unmount(point)
    return None


def lacks():
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if IS_ROOT:
        return None if int(own_status("CapEff"), 16) >> CAP_SYS_ADMIN & 1 else "mounting needs CAP_SYS_ADMIN"
    tool = shutil.which("fusermount3")
    if tool is None:
        return "fusermount3 of the package fuse3 is missing"
    if not os.stat(tool).st_mode & stat.S_ISUID or own_status("NoNewPrivs") == "1":
        return f"{tool} gets no rights from being suid"
    return None


def own_status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{name}:"))


def unmount(point, lazy=False):
    tool = ["umount"] if IS_ROOT else ["fusermount3", "-u"]
    command = [*tool, *(["-l" if IS_ROOT else "-z"] if lazy else []), str(point)]
    for _ in range(20):  # a server that has just begun looks at its mount once
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{command}: {done.stderr}")


def is_mounted(point):
    point = os.path.realpath(point)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4].encode().decode("unicode_escape") == point for line in lines)


class Mount:
    """`oriel mount` in the foreground."""

    def __init__(self, point, *args, prefix=()):
        self.point = str(point)
        self.errors = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen([*prefix, ORIEL, "mount", *args, self.point], stderr=self.errors)
        deadline = time.monotonic() + 30
        while not is_mounted(point):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"oriel mount {args}: {self.stderr()}")
            time.sleep(0.01)

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def stop(self, how=signal.SIGTERM):
        """Ends it; raises when it did not end well, or a sanitizer has complained."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError("oriel mount did not end")
        finally:
            if is_mounted(self.point):
                unmount(self.point, lazy=True)
        if status != 0:
            raise RuntimeError(f"oriel mount ended with {status}: {self.stderr()}")


@contextlib.contextmanager
def passthrough(*args, on_disk=False):
    """A folder and a mount of it: (share, point).

    The folder is on a tmpfs, or where temporary files are: on ext4 a file that is made within the clock tick in which
    another one was made and removed may get that one's number and birth time, which a tmpfs never does.
    """
    with scratch() if on_disk else tmpfs(size="2g", inodes="3000000") as base:
        base.chmod(0o755)
        share, point = base / "share", base / "mnt"
        share.mkdir(mode=0o755)
        point.mkdir()
        mount = Mount(point, *LET_IN, *args, str(share))
        try:
            yield share, point
        finally:
            mount.stop()


@contextlib.contextmanager
def memory(*args, prefix=()):
    with scratch() as point:
        mount = Mount(point, "--memory", *LET_IN, *args, prefix=prefix)
        try:
            yield point
        finally:
            mount.stop()


@contextlib.contextmanager
def tmpfs(size="256m", inodes="65536"):
    """An ordinary user cannot mount one: tests/as_user.sh has put TMPDIR on one."""
    with scratch() as point:
        if not IS_ROOT:
            yield point
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=755", "tmpfs", point],
                       check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", "-l", point], check=True)


@contextlib.contextmanager
def scratch():
    base = Path(tempfile.mkdtemp(prefix="kernel-"))
    base.chmod(0o755)
    try:
        yield base
    finally:
        subprocess.run(["chmod", "-R", "u+rwX", base], capture_output=True)
        shutil.rmtree(base, ignore_errors=True)
