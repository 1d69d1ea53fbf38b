"""What the guest tests boot: one scenario is one guest with one share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    groups: tuple  # of the guest suite
    window: str
    read_only: bool = False
    image: str = "vmlinux"  # which file of the kernel boots: uncompressed by its PVH entry, or the bzImage
    seconds: int = 300  # longest time that the guest may take


ALL = (
    # `counted` comes first: later on, ranges that the guest takes back would count too.
    Scenario("files", ("dax", "counted", "files", "mapping", "names", "remount"), "512M"),
    Scenario("window", ("dax", "window"), "32M"),
    Scenario("read-only", ("dax", "read-only"), "32M", read_only=True, image="vmlinuz"),
    Scenario("host-truncate", ("dax", "host-truncate"), "64M"),
)
# The same checks on a file system that is known to be good, to know that the checks are good.
CONTROL = Scenario("control", ("files", "mapping", "names", "window", "counted"), "")
