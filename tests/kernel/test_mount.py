#!/usr/bin/env python3
"""`oriel mount` as a command: bad input, daemon, signals, an unmount from outside, read-only, trace."""

import errno
import os
import signal
import struct
import subprocess
import time

import mounts
from runner.script import Script


def main():
    script = Script()
    reason = mounts.why_not()
    for case in (bad_input, daemon, signals, unmounted_outside, busy, read_only, trace, translated_ids, submounts,
                 mapped_xattrs, mapped_capability):
        if reason:
            script.skip(case.__name__, reason)
        elif case in NEED_ROOT and not mounts.IS_ROOT:
            script.skip(case.__name__, NEED_ROOT[case])
        else:
            script.run(case, case.__name__)
    script.finish()


def oriel(*args):
    return subprocess.run([mounts.ORIEL, "mount", *map(str, args)], capture_output=True, text=True, timeout=30)


def bad_input():
    """One line on stderr, status 2, nothing mounted."""
    with mounts.scratch() as base:
        (base / "share" / "inside").mkdir(parents=True)
        (base / "file").write_text("x")
        for args in ([], ["one"], ["--memory"], ["--memory", base / "missing"], ["--memory", base / "file"],
                     [base / "missing", base / "share"], [base / "share", base / "share" / "inside"],
                     ["--threads", "0", "--memory", base / "share"], ["--cache", "often", "--memory", base / "share"],
                     ["--size", "big", "--memory", base / "share"], ["--size", "1M", base / "share", base],
                     ["--translate-uid", "map:1", base / "share", base],
                     ["--translate-gid=map:0:9:5", "--translate-gid=guest:4:0:1", base / "share", base],
                     ["--translate-uid", "map:1:2:3", "--memory", base / "share"],
                     ["--xattrmap", ":map::user.", "--memory", base / "share"], ["--xattrmap=:ok:client:::", base / "share", base], ["--bogus"], ["--trace", "/missing/trace", "--memory", base / "share"]):
            result = oriel(*args)
            assert result.returncode == 2, (args, result)
            assert result.stderr.count("\n") == 1 and result.stderr.startswith("oriel mount: "), (args, result.stderr)
            assert not mounts.is_mounted(base / "share"), args


def daemon():
    with mounts.scratch() as point:
        assert oriel("--memory", "--daemon", point).returncode == 0
        (point / "f").write_text("there")
        assert (point / "f").read_text() == "there"
        mounts.unmount(point)
        assert not (point / "f").exists()


def signals():
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with mounts.scratch() as base:
            point = base / "mnt"
            point.mkdir()
            mount = mounts.Mount(point, "--memory")
            (point / "f").write_text("x")
            mount.process.send_signal(how)
            assert mount.process.wait(timeout=20) == 0
            assert not mounts.is_mounted(point)


def unmounted_outside():
    with mounts.scratch() as base:
        point = base / "mnt"
        point.mkdir()
        mount = mounts.Mount(point, "--memory")
        mounts.unmount(point)
        assert mount.process.wait(timeout=20) == 0
        assert mount.stderr() == ""


def busy():
    """A signal while files are open, and while somebody waits for a lock, ends it all the same."""
    with mounts.scratch() as base:
        point = base / "mnt"
        point.mkdir()
        mount = mounts.Mount(point, "--memory", "--threads", "1")
        held = open(point / "f", "w")
        holder = subprocess.Popen(["flock", point / "f", "sleep", "60"], start_new_session=True)
        time.sleep(0.3)
        waiter = subprocess.Popen(["flock", point / "f", "true"], stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=20) == 0
        assert "in use" in mount.stderr()
        assert not mounts.is_mounted(point)
        assert waiter.wait(timeout=20) != 0
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
        try:
            held.write("x")
            held.flush()
            raise AssertionError("a write went to a mount that has ended")
        except OSError as error:
            assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED), error
        finally:
            try:
                held.close()
            except OSError:
                pass


def read_only():
    with mounts.passthrough("--read-only") as (share, point):
        (share / "f").write_text("x")
        assert (point / "f").read_text() == "x"
        for change in (lambda: (point / "f").write_text("y"), lambda: (point / "g").mkdir(),
                       lambda: (point / "f").unlink(), lambda: os.chmod(point / "f", 0o600)):
            try:
                change()
                raise AssertionError("a read-only mount was changed")
            except OSError as error:
                assert error.errno == errno.EROFS, error


def trace():
    with mounts.scratch() as base:
        file = base / "trace"
        with mounts.memory("--trace", str(file)) as point:
            (point / "traced").mkdir()
        text = file.read_text()
        assert "INIT" in text and "MKDIR" in text, text[:500]


def translated_ids():
    maps = ("--translate-uid=map:0:2000:10", "--translate-uid=forbid-guest:60:1",
            "--translate-gid=squash-guest:0:3000:99")
    with mounts.passthrough(*maps) as (share, point):
        (point / "f").write_text("x")
        on_host, on_mount = (share / "f").stat(), (point / "f").stat()
        assert (on_host.st_uid, on_host.st_gid) == (2000, 3000), on_host
        assert (on_mount.st_uid, on_mount.st_gid) == (0, 3000), on_mount
        try:
            os.chown(point / "f", 60, -1)
            raise AssertionError("a file was given to a forbidden id")
        except OSError as error:
            assert error.errno == errno.EPERM, error


def has_errno(call, error):
    try:
        call()
    except OSError as raised:
        return raised.errno == error
    return False


def mapped_xattrs():
    with mounts.passthrough("--xattrmap", "/map/security./trusted.virtiofs./") as (share, point):
        on_host, on_mount = share / "f", point / "f"
        on_host.touch()
        os.setxattr(on_host, "security.host", b"the host's")
        os.setxattr(on_host, "trusted.virtiofs.trusted.x", b"security.* only")
        os.setxattr(on_mount, "security.oriel", b"the guest's")
        assert os.getxattr(on_host, "trusted.virtiofs.security.oriel") == b"the guest's"
        assert os.listxattr(on_mount) == ["security.oriel"], os.listxattr(on_mount)
        assert has_errno(lambda: os.getxattr(on_mount, "security.host"), errno.ENODATA)
        assert has_errno(lambda: os.getxattr(on_mount, "trusted.virtiofs.security.oriel"), errno.ENODATA)
        assert has_errno(lambda: os.setxattr(on_mount, "trusted.virtiofs.security.oriel", b""), errno.EPERM)
        os.removexattr(on_mount, "security.oriel")
        assert "trusted.virtiofs.security.oriel" not in os.listxattr(on_host)


def mapped_capability():
    """CVE-2021-20263: the host's kernel does not take it away under another name."""
    capability = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep

    def write(file):
        with open(file, "r+b", buffering=0) as f:
            f.write(b"other")

    def cut_open(file):
        os.close(os.open(file, os.O_WRONLY | os.O_TRUNC))

    def allocate(file):
        with open(file, "r+b") as f:
            os.posix_fallocate(f.fileno(), 0, 8192)

    def copy_into(file):
        with open(file.parent / "source", "rb") as source, open(file, "r+b") as f:
            assert os.copy_file_range(source.fileno(), f.fileno(), 4) == 4

    changes = (write, cut_open, allocate, copy_into, lambda file: os.truncate(file, 3),
               lambda file: os.chown(file, 5, -1), lambda file: os.chown(file, -1, 6))
    for cache in ("auto", "never"):
        with mounts.passthrough("--cache", cache, "--xattrmap", ":map::trusted.virtiofs.:") as (share, point):
            (point / "source").write_text("source")
            file = point / "f"
            file.write_text("content")
            for number, change in enumerate(changes):
                os.setxattr(file, "security.capability", capability)
                assert os.listxattr(share / "f") == ["trusted.virtiofs.security.capability"]
                os.chmod(file, 0o755)
                assert os.listxattr(file) == ["security.capability"], number
                change(file)
                assert os.listxattr(share / "f") == [], (number, os.listxattr(share / "f"))
                assert has_errno(lambda: os.getxattr(file, "security.capability"), errno.ENODATA), number


def submounts():
    """The kernel's /dev/fuse client takes no announcement: one mount, in which no folder looks like one above it."""
    def numbers(top):
        listed = subprocess.run(["find", top, "-printf", "%P %D %i\\n"], capture_output=True, text=True, check=True)
        return {name: number for name, *number in (line.rsplit(" ", 2) for line in listed.stdout.splitlines())}

    with mounts.passthrough("--submounts") as (share, point):
        (share / "sub").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "oriel-test", share / "sub"], check=True)
        try:
            (share / "sub" / "folder").mkdir()
            (share / "file").write_text("x")
            (share / "sub" / "file").write_text("y")
            found = numbers(point)
            assert sorted(found) == ["", "file", "sub", "sub/file", "sub/folder"], found
            assert len({tuple(number) for number in found.values()}) == len(found), found
            assert len({device for device, _ in found.values()}) == 1, found
            in_sub = {entry.name: entry.inode() for entry in os.scandir(point / "sub")}
            assert in_sub["file"] == (point / "sub" / "file").stat().st_ino, in_sub
            assert found["file"] == [str(point.stat().st_dev), str((share / "file").stat().st_ino)], found
        finally:
            subprocess.run(["umount", "-l", share / "sub"], check=True)


NEED_ROOT = {
    translated_ids: "needs root: it gives files away",
    submounts: "needs root: it mounts in the share",
    mapped_xattrs: "needs root: trusted.* is root's",
    mapped_capability: "needs root: it sets capabilities and gives files away",
}

main()
