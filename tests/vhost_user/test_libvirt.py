#!/usr/bin/env python3
"""A guest that libvirt starts, with the daemon that libvirt starts for it, as docs/serve.md says.

usage: test_libvirt.py BINARY DESCRIPTION SERIES

Written for libvirt 9.0 (Debian 12): newer ones ask the daemon for its features and then spell the options differently.

libvirtd runs in namespaces of its own (mounts, processes, network) and finds its own /etc, /run and /var there, so it
sees nothing of the system's libvirt, and all of it ends with this program. The processor is emulated.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(os.environ["ORIEL_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests"))
from runner.script import Script

PACKAGES = {"libvirtd": "libvirt-daemon", "virsh": "libvirt-clients", "qemu-system-x86_64": "qemu-system-x86"}
NAME = "oriel-virtiofsd"
GUEST_SECONDS = 150
NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc")
HIDDEN = ("/run/", "/etc/", "/var/")  # from libvirtd, by make_world()
DESCRIPTIONS = Path("/usr/share/qemu/vhost-user")
ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "localtime")
QEMU_CONF = """
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
"""
LIBVIRTD_CONF = """
auth_unix_rw = "none"
unix_sock_group = "root"
log_outputs = "3:stderr"
"""


def missing():
    """Why this cannot run here, or None."""
    for program, package in PACKAGES.items():
        if shutil.which(program) is None:
            return f"{program} of the package {package} is missing"
    if os.geteuid() != 0:
        return "libvirtd's namespaces need root"
    needed = {"the sources": SOURCE, "the build": sys.argv[1], "the cache of kernels (ORIEL_CACHE)": cache()}
    for name, path in needed.items():
        if os.path.realpath(path).startswith(HIDDEN):
            return f"{name}: in a folder that is hidden from libvirtd ({', '.join(HIDDEN)})"
    if subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True).returncode != 0:
        return "the namespaces for libvirtd cannot be made here"
    return None


def cache():
    """Where scripts/kernels keeps them."""
    return os.environ.get("ORIEL_CACHE") or SOURCE / ".cache/kernels"


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def hide_huge_pages():
    """libvirtd makes a folder on each hugetlbfs, and these are the machine's."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4].encode().decode("unicode_escape")
        if line.partition(" - ")[2].startswith("hugetlbfs "):
            subprocess.run(["umount", "--lazy", point], check=True)


def make_world():
    """Its own /run, /etc and /var, in a mount namespace that nobody else sees."""
    mount("--make-rprivate", "/")
    hide_huge_pages()
    mount("-t", "tmpfs", "tmpfs", "/run")
    etc = Path("/run/etc")
    (etc / "libvirt").mkdir(parents=True)
    for name in ETC:
        if Path("/etc", name).exists():
            shutil.copy(Path("/etc", name), etc / name)
    with open(etc / "passwd", "a") as passwd, open(etc / "group", "a") as group:  # libvirt asks for it and goes without
        passwd.write("libvirt-qemu:x:64055:64055::/nonexistent:/bin/false\n")
        group.write("libvirt-qemu:x:64055:\n")
    (etc / "libvirt/qemu.conf").write_text(QEMU_CONF)
    (etc / "libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF)
    mount("--bind", etc, "/etc")
    mount("-t", "tmpfs", "tmpfs", "/var")
    for name in ("lib", "log", "cache", "tmp"):
        Path("/var", name).mkdir()
    Path("/var/run").symlink_to("/run")


def processes(word):
    """Command lines of the processes in here whose program has that name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if Path(words[0]).name == word:
            found.append(words[1:-1])
    return found


def becomes(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


class Libvirt:
    def __init__(self, log):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        becomes(Path("/run/libvirt/libvirt-sock").exists, 30)

    def virsh(self, *arguments):
        done = subprocess.run(["virsh", "-q", *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return done.returncode == 0, done.stdout.strip()

    def state(self):
        return self.virsh("domstate", "guest")[1]

    def end(self):
        self.process.terminate()
        self.process.wait()


def documented_xml():
    """The two pieces of XML in docs/serve.md."""
    text = (SOURCE / "docs/serve.md").read_text()
    block = re.search(r"^## libvirt\n.*?```xml\n(.*?)```", text, re.MULTILINE | re.DOTALL).group(1)
    memory, filesystem = block.split("…\n")
    return memory, filesystem


class Bench:
    def __init__(self, script, guests, libvirt, binary, description):
        self.script, self.guests, self.libvirt = script, guests, libvirt
        self.program = guests.work / NAME
        self.program.symlink_to(binary)
        self.description = json.loads(description.read_text())
        self.console = guests.work / "console"
        self.memory, self.filesystem = documented_xml()

    def as_documented(self, share):
        xml = self.filesystem
        for path, here in (("/usr/libexec/oriel-virtiofsd", self.program), ("/srv/share", share)):
            if path not in xml:
                raise RuntimeError(f"docs/serve.md does not name {path}")
            xml = xml.replace(path, str(here))
        return xml

    def filesystem_with(self, share, binary):
        return (f"<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024'/>{binary}"
                f"<source dir='{share}'/><target dir='share'/></filesystem>")

    def define(self, filesystem):
        kernel = self.guests.kernel / "vmlinux"
        domain = self.guests.work / "domain.xml"
        domain.write_text(f"""<domain type='qemu'><name>guest</name><uuid>2b1c5a0e-52f1-4f0a-9d6e-0a1a6b3c7d01</uuid>
<memory unit='MiB'>384</memory>{self.memory}<cpu mode='maximum'/><features><acpi/></features>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{self.guests.initramfs}</initrd>
<cmdline>console=ttyS0 quiet panic=-1 tsc_early_khz=1000000 random.trust_cpu=on no_timer_check</cmdline></os>
<devices><emulator>{shutil.which('qemu-system-x86_64')}</emulator><memballoon model='none'/>
<controller type='usb' model='none'/><serial type='file'><source path='{self.console}'/></serial>{filesystem}</devices>
</domain>""")
        return self.libvirt.virsh("define", domain)

    def logs(self):
        texts = [path.read_text(errors="replace")[-1500:] for path in sorted(Path("/var/log/libvirt/qemu").glob("*"))]
        return "\n".join([*texts, self.libvirt.log.read_text(errors="replace")[-1500:]])

    def point(self, good, name, why=""):
        self.script.point(good, name, "" if good else f"{why}\n{self.logs()}")

    def daemon_ends(self):
        return becomes(lambda: not processes(NAME), 10)

    def starts(self, name, filesystem, *words):
        """Started but not run: QEMU has connected to the daemon by then."""
        good, said = self.define(filesystem)
        if good:
            good, said = self.libvirt.virsh("start", "--paused", "guest")
        state, running = self.libvirt.state(), processes(NAME)
        arguments = " ".join(running[0]) if running else "(no daemon)"
        self.libvirt.virsh("destroy", "guest")
        self.point(good and state == "paused" and all(word in arguments for word in words) and self.daemon_ends(), name,
                   f"{said}\n{state}\n{arguments}\nleft: {processes(NAME)}")


def a_guest(bench):
    share = bench.guests.share("share", "cat hello; echo from the guest > written\n")
    (share / "hello").write_text("from the host\n")
    good, said = bench.define(bench.as_documented(share))
    bench.point(good, "libvirt takes the documented XML", said)
    good, said = bench.libvirt.virsh("start", "guest")
    bench.point(good, "libvirt starts a guest and its daemon", said)
    over = becomes(lambda: bench.libvirt.state() == "shut off", GUEST_SECONDS)
    output = bench.console.read_text(errors="replace") if bench.console.exists() else ""
    written = (share / "written").read_text() if (share / "written").exists() else ""
    bench.point(over and "from the host" in output and written == "from the guest\n", "the guest reads and writes files",
                f"{bench.libvirt.state()}\n{output[-1500:]}")
    bench.point(bench.daemon_ends(), "the daemon ends with the guest", processes(NAME))
    bench.libvirt.virsh("destroy", "guest")
    bench.starts("the guest starts again", bench.as_documented(share))
    return share


def other_settings(bench, share):
    program = bench.program
    bench.starts("no cache, no xattrs, chroot, locks, a pool",
                 bench.filesystem_with(share, f"<binary path='{program}' xattr='off'><cache mode='none'/><sandbox mode='chroot'/>"
                                              "<lock posix='on' flock='on'/><thread_pool size='4'/></binary>"),
                 "cache=none", "sandbox=chroot", "no_xattr", "flock", "posix_lock", "--thread-pool-size=4")
    bench.starts("cache, no locks, no pool",
                 bench.filesystem_with(share, f"<binary path='{program}'><cache mode='always'/><lock posix='off' flock='off'/>"
                                              "<thread_pool size='0'/></binary>"),
                 "cache=always", "no_flock", "no_posix_lock", "--thread-pool-size=0")
    odd = bench.guests.work / "a,b c"
    odd.mkdir()
    bench.starts("a folder with a comma in its name", bench.filesystem_with(odd, f"<binary path='{program}'/>"), "/a,b c")


def found_by_its_description(bench, share):
    """Descriptions count in the order of their names; QEMU's own has 50."""
    if not DESCRIPTIONS.is_dir():
        bench.script.skip("found by its description", f"there is no {DESCRIPTIONS} to cover, and it is not ours to make")
        return
    bench.description["binary"] = str(bench.program)
    descriptions = bench.guests.work / "descriptions"
    descriptions.mkdir()
    ours = descriptions / "60-oriel-virtiofsd.json"
    ours.write_text(json.dumps(bench.description))
    mount("--bind", descriptions, DESCRIPTIONS)
    bench.starts("found by its description", bench.filesystem_with(share, ""), "source=")
    (descriptions / "50-other.json").write_text(json.dumps({**bench.description, "binary": shutil.which("true")}))
    Path("/etc/qemu/vhost-user").mkdir(parents=True)
    Path("/etc/qemu/vhost-user/10-oriel-virtiofsd.json").symlink_to(DESCRIPTIONS / ours.name)
    bench.starts("found before another by a link in /etc", bench.filesystem_with(share, ""), "source=")


def started_beforehand(bench, share):
    """What libvirt has no setting for can be had this way."""
    socket = bench.guests.work / "socket"
    daemon = subprocess.Popen([bench.program, f"--socket-path={socket}", f"--shared-dir={share}", "--posix-lock"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    becomes(socket.exists, 10)
    bench.starts("started beforehand", f"<filesystem type='mount'><driver type='virtiofs'/><source socket='{socket}'/>"
                                       "<target dir='share'/></filesystem>", "--posix-lock")
    daemon.kill()  # a test that failed must not wait for it
    daemon.wait()


def inside(binary, description, series):
    make_world()
    tempfile.tempdir = "/run"
    sys.path.insert(0, str(SOURCE / "tests/vhost_user"))
    import test_guests
    script = Script()
    guests = test_guests.Bench(script, "oriel", binary, None, series, [])
    libvirt = Libvirt(guests.work / "libvirtd")
    bench = Bench(script, guests, libvirt, binary, description)
    share = a_guest(bench)
    other_settings(bench, share)
    started_beforehand(bench, share)
    found_by_its_description(bench, share)
    libvirt.end()
    script.finish()


def as_first_process(work):
    """libvirt waits for processes to be gone that it has left to the first one: somebody has to bury them."""
    child = os.fork()
    if child == 0:
        work()  # leaves by exit()
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.stdout.flush()
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main():
    if sys.argv[1] == "--inside":
        binary, description, series = sys.argv[2:]
        as_first_process(lambda: inside(Path(binary), Path(description), series))
    reason = missing()
    if reason is not None:
        script = Script()
        script.skip("libvirt", reason)
        script.finish()
    binary, description = (Path(path).absolute() for path in sys.argv[1:3])
    subprocess.run([SOURCE / "scripts/kernels", "fetch", sys.argv[3]], check=True)  # there is no network in there
    os.execvp("unshare", ["unshare", *NAMESPACES, sys.executable, __file__, "--inside", binary, description,
                          sys.argv[3]])


if __name__ == "__main__":
    main()
