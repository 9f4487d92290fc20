"""A version that passes its smoke test and then takes its time."""

import os
import time

from serving.handler import Handler

WELL = int(os.environ.get("WELL", "3"))  # batches: the smoke test


class SlowHandler(Handler):
    came = 0

    def handle(self, rows, context):  # type: ignore[no-untyped-def]
        self.came += 1
        if self.came > WELL:
            time.sleep(1.5)
        return super().handle(rows, context)
