"""For test scripts: `check(...)` prints one TAP point each, `finish()` the plan."""

import sys
import traceback


class Script:
    def __init__(self):
        self.count = 0
        self.bad = 0

    def point(self, good, name, why=""):
        self.count += 1
        if not good:
            self.bad += 1
            for line in str(why).splitlines():
                print(f"# {line}")
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}", flush=True)

    def run(self, function, name):
        """One point: the function passes unless it raises."""
        try:
            function()
        except Exception:
            self.point(False, name, traceback.format_exc())
        else:
            self.point(True, name)

    def finish(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.bad else 0)
