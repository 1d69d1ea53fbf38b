#!/usr/bin/env python3
"""What reading a mapped file again costs the host: FUSE requests and VM exits per GiB.

A guest reads a 64 MiB file of its share once, and in another boot once and then 16 times more; the difference is 1 GiB of
second sequential reads. The floor is the same reads from a file in the guest's own RAM, which no device has a part in.
"""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
PREPARE = "mkdir /ram && mount -t tmpfs -o size=128m none /ram && cp big /ram/big && ./guest_reread big 1 && "
BOOTS = {
    "first read": PREPARE + "./guest_reread big 1",
    "window": PREPARE + "./guest_reread big 17",
    "RAM": PREPARE + "./guest_reread big 1 && ./guest_reread /ram/big 16",
}


def counters(oriel, kernel, share, command):
    run = subprocess.run(
        [ROOT / "scripts/with-kvm", "--timeout", "200", "--rw", share, "--", oriel, "run", "--kernel", f"{kernel}/vmlinux",
         "--modules", f"{kernel}/modules", "--share", f"{share}:demo,dax=128M", "--", "sh", "-c", command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"the guest failed with status {run.returncode}:\n{run.stdout}{run.stderr}")
    text = run.stdout + run.stderr
    return {name.strip(): int(value) for name, value in re.findall(r"^(.*?\S)\s{2,}(\d+)", text, re.MULTILINE)}


def main():
    oriel, reread = sys.argv[1:]
    vmlinux = subprocess.run([ROOT / "scripts/kernels", "path", "6.12", "vmlinux"], check=True, capture_output=True, text=True)
    kernel = Path(vmlinux.stdout.strip()).parent
    rounds = {name: [] for name in BOOTS}
    with tempfile.TemporaryDirectory(prefix="oriel-bench-") as folder:
        with open(f"{folder}/big", "wb") as big:
            for i in range(64):
                big.write(bytes([i]) * (1 << 20))
        shutil.copy(reread, f"{folder}/guest_reread")
        for _ in range(ROUNDS):
            for name, command in BOOTS.items():
                rounds[name].append(counters(oriel, kernel, folder, command))

    print(f"second sequential read of a 64 MiB file, per GiB; medians of {ROUNDS} rounds, less the same boot without it")
    print(f"{'':28}{'window':>10}{'floor (guest RAM)':>20}")
    for row in ("FUSE requests", "SETUPMAPPING", "queue kicks", "queue interrupts", "VM exits"):
        def per_gib(name, row=row):
            return statistics.median(r[row] for r in rounds[name]) - statistics.median(r[row] for r in rounds["first read"])
        print(f"{row:28}{per_gib('window'):>10.0f}{per_gib('RAM'):>20.0f}")


main()
