"""What the guest tests boot: one scenario is one guest with one share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    groups: tuple  # of the guest suite
    window: str
    read_only: bool = False
    seconds: int = 150  # longest time that the guest may take


ALL = (
    Scenario("files", ("dax", "files", "mapping", "names", "counted", "remount"), "256M"),
    Scenario("window", ("dax", "window"), "32M"),
    Scenario("read-only", ("dax", "read-only"), "32M", read_only=True),
    Scenario("host-truncate", ("dax", "host-truncate"), "64M"),
)
# The same checks on a file system that is known to be good, to know that the checks are good.
CONTROL = Scenario("control", ("files", "mapping", "names", "window", "counted"), "")
