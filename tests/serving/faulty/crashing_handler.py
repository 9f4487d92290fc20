"""A version that passes its smoke test and then loses its worker with every third batch."""

import os

from serving.handler import Handler

WELL = int(os.environ.get("WELL", "3"))  # batches: the smoke test


class CrashingHandler(Handler):
    came = 0

    def handle(self, rows, context):  # type: ignore[no-untyped-def]
        self.came += 1
        if self.came > WELL and self.came % 3 == 0:
            os._exit(1)
        return super().handle(rows, context)
