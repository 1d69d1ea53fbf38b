#!/usr/bin/env python3
"""scripts/nested: the emulated machine in which the guest tests run where the processor has no virtualization."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(os.environ["ORIEL_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests"))
from runner.script import Script

FOLDER = Path(tempfile.mkdtemp())


def nested(*argv, **options):
    return subprocess.run([SOURCE / "scripts/nested", "--timeout", "60", *argv], capture_output=True, text=True,
                          cwd=FOLDER, **options)


def streams_and_status(script):
    done = nested("--", "bash", "-c", 'cat; seq 300000; echo "$WORD" >&2; pwd; exit 7', input="1 2 3\n" * 50000,
                  env=dict(os.environ, WORD="said  so"))
    expected = "1 2 3\n" * 50000 + "".join(f"{n}\n" for n in range(1, 300001)) + f"{FOLDER}\n"
    script.point(done.returncode == 7, "the status of the command comes back", f"{done.returncode} {done.stderr}")
    script.point(done.stdout == expected, "input and output are complete",
                 f"{len(done.stdout)} bytes of {len(expected)}")
    script.point(done.stderr == "said  so\n", "standard error and the environment arrive", done.stderr)


def devices(script):
    done = nested("--", "python3", "-c",
                  "import fcntl\nprint(fcntl.ioctl(open('/dev/kvm'), 0xae00))\nopen('/dev/userfaultfd')")
    script.point(done.stdout == "12\n", "/dev/kvm answers and /dev/userfaultfd opens", done.stdout + done.stderr)


WRITER = """
import mmap, os
fd = os.open("shared/file", os.O_RDWR)
view = mmap.mmap(fd, 0, mmap.MAP_SHARED)
assert view[:4] == b"host"
view[8192:8197] = b"by mm"
assert os.pread(fd, 5, 8192) == b"by mm"
os.pwrite(fd, b"by pw", 4096)
assert view[4096:4101] == b"by pw"
os.ftruncate(fd, 16000)
open("outside", "w").write("forgotten")
fd2 = os.open("shared/doomed", os.O_RDWR | os.O_CREAT)
path = os.open("shared/doomed", os.O_PATH)
os.unlink("shared/doomed")
os.write(os.open(f"/proc/self/fd/{path}", os.O_RDWR), b"x")
assert os.fstat(fd2).st_size == 1
view[12288:12293] = b"dirty"
os._exit(0)
"""


def shares(script):
    shared = FOLDER / "shared"
    shared.mkdir()
    (shared / "file").write_bytes(b"host" + bytes(20000))
    done = nested("--rw", "shared", "--", "python3", "-c", WRITER)
    script.point(done.returncode == 0, "a writable folder has files that behave", done.stderr)
    data = (shared / "file").read_bytes()
    script.point((data[8192:8197], data[4096:4101], data[12288:12293]) == (b"by mm", b"by pw", b"dirty"),
                 "what was written through mappings and calls is on the host at the end")
    script.point(len(data) == 16000, "so is a new length", len(data))
    script.point(not (FOLDER / "outside").exists(), "what is not named stays as it is")


def limits(script):
    start = time.monotonic()
    done = subprocess.run([SOURCE / "scripts/nested", "--timeout", "5", "--", "sleep", "600"],
                          capture_output=True, text=True)
    script.point(done.returncode == 124 and time.monotonic() - start < 30, "the time limit ends the machine",
                 done.stderr)
    done = nested("--rw", "/no/such/folder", "--", "true")
    script.point(done.returncode == 125 and "/no/such/folder" in done.stderr, "a wrong --rw is refused", done.stderr)


def main():
    script = Script()
    for part in (streams_and_status, devices, shares, limits):
        part(script)
    left = list(Path(os.environ["TMPDIR"]).glob("oriel-nested-*"))
    script.point(not left, "nothing is left in the temporary folder", left)
    script.finish()


main()
