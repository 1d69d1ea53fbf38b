#!/usr/bin/env python3
"""Guests under plain QEMU (emulated processor) on a share served over vhost-user.

usage: test_guests.py oriel|virtiofsd BINARY SUITE SERIES [DAEMON-ARGUMENT...]

Boots kernel SERIES and runs: the guest suite (what it wrote is compared from the host), a guest that is paused and goes
on, a guest that reboots, two guests on one folder, and with oriel and 6.12 several request queues. The daemon runs in
its sandbox under its seccomp list. With virtiofsd the same is run as a control.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(os.environ["ORIEL_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests"))
sys.path.insert(0, str(SOURCE / "tests/guest"))
from runner.script import Script
from scenarios import CONTROL
from test_guest import judge_guest, judge_hashes, prepare

MODULES = ("virtio_pci", "virtiofs")  # with all they need; those that a kernel has built in are not there
SUITE_SECONDS, GUEST_SECONDS = 240, 90

INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in @MODULES@; do insmod /modules/$m; done
mkdir -p /mnt; mount -t virtiofs share /mnt || { echo MOUNT-FAILED; poweroff -f; }
echo MOUNTED; cd /mnt
. /mnt/script
cd /; umount /mnt && echo UNMOUNTED
echo SCRIPT-END
poweroff -f
"""


class Daemon:
    def __init__(self, kind, binary, share, work, arguments):
        self.socket = work / f"{share.name}-{time.monotonic_ns()}.sock"
        self.log = work / f"{share.name}.daemon"
        self.kind = kind
        if kind == "oriel":
            argv = [binary, "serve", f"--shared-dir={share}", f"--socket-path={self.socket}", *arguments]
        else:
            argv = [binary, "-f", "-o", f"source={share}", f"--socket-path={self.socket}", *arguments]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self.socket.exists() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def end(self):
        """Its exit status, once its front-end is gone."""
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "none: it did not end with its front-end"


class Guest:
    def __init__(self, name, kernel, initramfs, daemon, work, queues=1, processors=1, memory=384):
        self.console, self.monitor = work / f"{name}.console", work / f"{name}.qmp"
        device = f"vhost-user-fs-pci,chardev=fs,tag=share,queue-size=256,num-request-queues={queues}"
        if daemon.kind != "oriel":
            device = "vhost-user-fs-pci,chardev=fs,tag=share,queue-size=256"
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "pc,memory-backend=ram", "-m", f"{memory}M",
                "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on", "-smp", str(processors),
                "-chardev", f"socket,id=fs,path={daemon.socket}", "-device", device,
                "-kernel", kernel / "vmlinux", "-initrd", initramfs,
                "-append", "console=ttyS0 quiet panic=-1 tsc_early_khz=1000000 random.trust_cpu=on no_timer_check",
                "-display", "none", "-serial", f"file:{self.console}", "-nodefaults", "-no-user-config",
                "-qmp", f"unix:{self.monitor},server=on,wait=off"]
        self.errors = work / f"{name}.qemu"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def output(self):
        return self.console.read_text(errors="replace").replace("\r", "") if self.console.exists() else ""

    def wait_for(self, text, seconds):
        deadline = time.monotonic() + seconds
        while text not in self.output() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return text in self.output()

    def qmp(self, *commands):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.monitor))
            stream = s.makefile("rw")
            stream.readline()
            for command in ("qmp_capabilities", *commands):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    if "error" in answer:
                        raise RuntimeError(answer)

    def end(self, seconds):
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"none: it was ended after {seconds} s"

    def kill(self):
        self.process.kill()
        self.process.wait()


class Bench:
    """What all tests of this program share."""

    def __init__(self, script, kind, binary, suite, series, arguments):
        self.script, self.kind, self.binary, self.suite, self.arguments = script, kind, binary, suite, arguments
        self.series = series
        self.work = Path(tempfile.mkdtemp())
        path = subprocess.run([SOURCE / "scripts/kernels", "path", series, "vmlinux"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()
        self.kernel = Path(path).parent
        self.initramfs = self.make_initramfs()

    def make_initramfs(self):
        root = self.work / "root"
        for folder in ("bin", "modules", "proc", "sys", "dev"):
            (root / folder).mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        modules = self.modules()
        for module in modules:
            shutil.copy(module, root / "modules")
        (root / "init").write_text(INIT.replace("@MODULES@", " ".join(module.name for module in modules)))
        (root / "init").chmod(0o755)
        archive = self.work / "initramfs"
        with open(archive, "wb") as out:
            names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out, check=True)
        return archive

    def modules(self):
        """Files in the order they have to be loaded."""
        needs = {}
        for line in (self.kernel / "modules/modules.dep").read_text().splitlines():
            name, _, others = line.partition(":")
            needs[name] = others.split()
        order = []

        def add(name):
            for other in needs[name]:
                add(other)
            if name not in order:
                order.append(name)

        for name in needs:
            if Path(name).stem in MODULES:
                add(name)
        return [self.kernel / "modules" / name for name in order]

    def share(self, name, commands):
        share = self.work / name
        share.mkdir(exist_ok=True)
        (share / "script").write_text(commands)
        return share

    def daemon(self, share, *more):
        return Daemon(self.kind, self.binary, share, self.work, [*self.arguments, *more])

    def guest(self, name, daemon, **options):
        return Guest(name, self.kernel, self.initramfs, daemon, self.work, **options)

    def ended_well(self, name, guest, daemon, seconds):
        """The guest ran its script to the end and unmounted; the daemon ended with status 0 after it."""
        status = guest.end(seconds)
        output = guest.output()
        self.script.point(status == 0 and "SCRIPT-END" in output and "UNMOUNTED" in output, f"{name}: the guest ended by itself",
                          f"status {status}\n{output[-3000:]}\n{guest.errors.read_text(errors='replace')[-1000:]}")
        status = daemon.end()
        self.script.point(status == 0, f"{name}: the daemon ended with its front-end",
                          f"status {status}\n{daemon.log.read_text(errors='replace')[-3000:]}")
        return output


def suite(bench):
    share = bench.work / CONTROL.name
    prepare(CONTROL, bench.suite, share)
    bench.share(CONTROL.name, f"./guest_suite {' '.join(CONTROL.groups)}; cd /\n")
    daemon = bench.daemon(share)
    guest = bench.guest("suite", daemon, memory=512)
    output = bench.ended_well("suite", guest, daemon, SUITE_SECONDS)
    judge_guest(bench.script, CONTROL, output)
    judge_hashes(bench.script, CONTROL, share, output)


def pause(bench):
    """QEMU stops the rings when a guest is paused; the FUSE session has to outlive that."""
    share = bench.share("pause", "exec 3<script; echo before > kept; sync; echo READY\n"
                                 "while [ ! -e go ]; do sleep 0.2; done\n"
                                 "cat <&3 >/dev/null && cat kept && echo after > kept2 && echo SESSION-LIVES\nexec 3<&-\n")
    daemon = bench.daemon(share)
    guest = bench.guest("pause", daemon)
    ready = guest.wait_for("READY", GUEST_SECONDS)
    if ready:
        for _ in range(3):
            guest.qmp("stop")
            time.sleep(0.3)
            guest.qmp("cont")
    (share / "go").touch()
    output = bench.ended_well("pause", guest, daemon, GUEST_SECONDS)
    bench.script.point(ready and "SESSION-LIVES" in output and (share / "kept2").exists(),
                       "pause: open files and mount go on after the guest was paused", output[-1000:])


def reboot(bench):
    share = bench.share("reboot", "if [ ! -e first ]; then exec 3<script; echo 1 > first; sync; echo FIRST-BOOT; reboot -f; fi\n"
                                  "cat first && echo SECOND-BOOT\n")
    daemon = bench.daemon(share)
    guest = bench.guest("reboot", daemon)
    output = bench.ended_well("reboot", guest, daemon, 2 * GUEST_SECONDS)
    bench.script.point("FIRST-BOOT" in output and "SECOND-BOOT" in output, "reboot: the share is there after a reboot",
                       output[-1000:])


def two_guests(bench):
    commands = ("me=$(cat /proc/sys/kernel/random/boot_id); mkdir seats 2>/dev/null; echo $me > seats/$me\n"
                "n=0; while [ $(ls seats | wc -l) -lt 2 ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.2; done\n"
                "for f in seats/*; do [ $f = seats/$me ] || { head -c 300000 /dev/urandom > data-$me; md5sum data-$me > sum-$me.tmp\n"
                "mv sum-$me.tmp sum-$me; other=$(basename $f); }; done\n"
                "n=0; while [ ! -e sum-$other ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.2; done\n"
                "md5sum -c sum-$other && echo OTHER-READ; touch done-$me\n"
                "n=0; while [ ! -e done-$other ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.2; done\n")
    share = bench.share("two", commands)
    pairs = []
    for name in ("two-a", "two-b"):
        daemon = bench.daemon(share)
        pairs.append((name, bench.guest(name, daemon), daemon))
    for name, guest, daemon in pairs:
        output = bench.ended_well(name, guest, daemon, 2 * GUEST_SECONDS)
        bench.script.point("OTHER-READ" in output, f"{name}: reads what the other guest wrote", output[-1500:])


def many_queues(bench):
    """With two processors and two queues, both queues' interrupts have to count."""
    work = "for c in 0 1; do for i in 1 2 3 4 5 6 7 8; do taskset $((c+1)) sh -c 'for f in tree/*; do cat $f; done' > /dev/null; done; done\n"
    share = bench.share("queues", "echo 3 > /proc/sys/vm/drop_caches\n" + work + "grep virtio /proc/interrupts\n")
    (share / "tree").mkdir()
    for i in range(100):
        (share / f"tree/f{i}").write_text("x" * i * 100)
    daemon = bench.daemon(share, "--cache=never")
    guest = bench.guest("queues", daemon, queues=2, processors=2)
    output = bench.ended_well("queues", guest, daemon, GUEST_SECONDS)
    counts = {name: sum(int(n) for n in numbers.split())
              for numbers, name in re.findall(r"^\s*\d+:\s+((?:\d+\s+)+).*?(requests\.\d+)\s*$", output, re.MULTILINE)}
    bench.script.point(len(counts) == 2 and all(n > 50 for n in counts.values()), "queues: both request queues are in use",
                       f"{counts}\n{output[-1500:]}")


def main():
    kind, binary, suite_program, series = sys.argv[1], Path(sys.argv[2]).absolute(), Path(sys.argv[3]).absolute(), sys.argv[4]
    script = Script()
    bench = Bench(script, kind, binary, suite_program, series, sys.argv[5:])
    tests = [pause, reboot, two_guests, suite]
    if kind == "oriel" and series == "6.12":
        tests.insert(0, many_queues)
    only = os.environ.get("ONLY", "").split()
    for test in tests:
        if not only or test.__name__ in only:
            test(bench)
    shutil.rmtree(bench.work)
    script.finish()


if __name__ == "__main__":
    main()
