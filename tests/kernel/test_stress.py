#!/usr/bin/env python3
"""Loads on a mount: test_stress.py ENTRIES [CASE...]

Large folders, a deep tree, many clients at once, clients that are killed, and what the descriptor limit is for.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mounts
from runner.script import Script

CLIENT = r"""
import os, sys
base, number = sys.argv[1], int(sys.argv[2])
own = os.path.join(base, f"client-{number}")
os.mkdir(own)
for turn in range(int(sys.argv[3])):
    for i in range(12):
        path = os.path.join(own, f"f{i}")
        data = bytes([number + i & 255]) * (turn * 1000 + i)
        with open(path, "wb") as file:
            file.write(data)
        os.rename(path, path + ".new")
        with open(path + ".new", "rb") as file:
            assert file.read() == data, path
    with open(os.path.join(base, "common"), "ab", buffering=0) as common:
        common.write(b"%063d\n" % number)
    assert len(os.listdir(own)) == 12
    for i in range(12):
        os.unlink(os.path.join(own, f"f{i}.new"))
os.rmdir(own)
"""


def main():
    entries = int(sys.argv[1])
    cases = sys.argv[2:]
    script = Script()
    todo = {
        "folder-memory": lambda: large_folder_memory(entries),
        "folder-passthrough": lambda: large_folder_passthrough(entries),
        "deep": deep_trees,
        "clients": many_clients,
        "killed": killed_clients,
        "few-descriptors": few_descriptors,
        "server-killed": server_killed,
    }
    reason = mounts.why_not()
    for name, case in todo.items():
        if cases and name not in cases:
            continue
        if reason:
            script.skip(name, reason)
        else:
            start = time.monotonic()
            script.run(case, name)
            print(f"# {name}: {time.monotonic() - start:.1f} s")
    script.finish()


def count_entries(folder):
    """Names seen, and how many of them twice, by readdir alone."""
    seen = set()
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            seen.add(entry.name)
            count += 1
    return len(seen), count - len(seen)


def fill(folder, entries):
    fd = os.open(folder, os.O_RDONLY)
    for i in range(entries):
        os.mknod(f"n{i}", 0o100644, dir_fd=fd)
    os.close(fd)


def large_folder_memory(entries):
    with mounts.memory("--inodes", str(entries + 100), "--size", "1G") as point:
        fill(point, entries)
        assert count_entries(point) == (entries, 0)
        os.stat(point / f"n{entries - 1}")
        assert not (point / f"n{entries}").exists()
        for i in range(0, entries, 97):
            os.unlink(point / f"n{i}")
        assert count_entries(point) == (entries - len(range(0, entries, 97)), 0)


def large_folder_passthrough(entries):
    with mounts.passthrough() as (share, point):
        fill(share, entries)
        assert count_entries(point) == (entries, 0)
        os.stat(point / f"n{entries - 1}")
        for i in range(0, entries, 997):
            os.unlink(point / f"n{i}")
        assert count_entries(point) == count_entries(share)


def deep_trees():
    for context, pick in ((mounts.memory(), lambda x: x), (mounts.passthrough(), lambda x: x[1])):
        with context as made:
            top = os.open(pick(made), os.O_RDONLY)
            at = top
            for _ in range(200):
                os.mkdir("level", dir_fd=at)
                at = os.open("level", os.O_RDONLY, dir_fd=at)
            with open(os.open("bottom", os.O_CREAT | os.O_RDWR, dir_fd=at), "w") as file:
                file.write("down")
            path = "/".join(["level"] * 200) + "/bottom"
            with open(os.open(path, os.O_RDONLY, dir_fd=top)) as file:
                assert file.read() == "down"
            os.closerange(top, at + 1)
            subprocess.run(["rm", "-r", str(pick(made) / "level")], check=True)


def run_clients(point, count, turns):
    (point / "common").write_bytes(b"")
    clients = [subprocess.Popen([sys.executable, "-S", "-c", CLIENT, str(point), str(n), str(turns)],
                                stderr=subprocess.PIPE, text=True) for n in range(count)]
    for client in clients:
        _, errors = client.communicate(timeout=200)
        assert client.returncode == 0, errors
    lines = (point / "common").read_bytes()
    assert len(lines) == count * turns * 64, len(lines)
    for n in range(count):
        assert lines.count(b"%063d\n" % n) == turns
    assert [path.name for path in point.iterdir()] == ["common"]


def many_clients():
    with mounts.memory("--size", "256M") as point:
        run_clients(point, 64, 4)
    with mounts.passthrough("--threads", "4") as (_, point):
        run_clients(point, 64, 4)


def killed_clients():
    """Whatever clients are in the middle of when they are killed, the mount goes on, and frees what they held."""
    with mounts.memory("--size", "64M") as point:
        (point / "locked").write_text("x")
        for turn in range(10):
            work = ("cat /dev/zero > data", "flock -x locked sleep 100", "dd if=/dev/zero of=d bs=1M oflag=sync",
                    "while :; do mkdir a; mv a b; rmdir b; done", "while :; do ls -lR . > /dev/null; done")
            clients = [subprocess.Popen(["sh", "-c", f"cd '{point}' && {line}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True) for line in work]
            time.sleep(0.05 * (turn % 4))
            for client in clients:
                os.killpg(client.pid, signal.SIGKILL)
            for client in clients:
                client.wait()
            subprocess.run(["flock", "-x", "-w", "10", str(point / "locked"), "true"], check=True)
            for name in ("data", "d"):
                (point / name).unlink(missing_ok=True)
        for _ in range(100):  # the kernel lets go of files in its own time
            st = os.statvfs(point)
            used = st.f_blocks - st.f_bfree
            if used <= 2:
                break
            time.sleep(0.1)
        assert used <= 2, f"{used} pages of dead clients are still there: {os.listdir(point)}"
        assert (point / "locked").read_text() == "x"


def few_descriptors():
    """Many known and many mapped files within a small RLIMIT_NOFILE."""
    with mounts.memory("--size", "256M", prefix=("prlimit", "--nofile=128:128")) as point:
        for i in range(3000):
            (point / f"f{i}").write_bytes(b"%d" % i)
        held = [open(point / f"f{i}", "rb") for i in range(500)]
        assert held[499].read() == b"499"
        for i in range(0, 3000, 7):
            assert (point / f"f{i}").read_bytes() == b"%d" % i
        for file in held:
            file.close()


def server_killed():
    """A dead server's mount: its users get ENOTCONN, a new mount says what to do, umount works."""
    with mounts.scratch() as base:
        point = base / "mnt"
        point.mkdir()
        mount = mounts.Mount(point, "--memory")
        mount.process.kill()
        mount.process.wait()
        try:
            os.listdir(point)
            raise AssertionError("a dead mount answered")
        except OSError as error:
            assert error.errno in (107, 103), error
        again = subprocess.run([mounts.ORIEL, "mount", "--memory", str(point)], capture_output=True, text=True,
                               timeout=30)
        assert again.returncode == 2, again
        assert "whose server is gone" in again.stderr and again.stderr.count("\n") == 1, again.stderr
        mounts.unmount(point)


main()
