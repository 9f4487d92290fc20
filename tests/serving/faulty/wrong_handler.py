"""A version that passes its smoke test and then answers what nobody asked for."""

import json
import os

from serving.handler import Handler

WELL = int(os.environ.get("WELL", "3"))  # batches: the smoke test


class WrongHandler(Handler):
    came = 0

    def handle(self, rows, context):  # type: ignore[no-untyped-def]
        self.came += 1
        answers = super().handle(rows, context)
        return answers if self.came <= WELL else list(map(_another, answers))


def _another(answer: str) -> str:
    told = json.loads(answer)
    for result in told.get("results", ()):
        for name in ("id", "category"):
            if name in result:
                result[name] = "another"
    return json.dumps(told)
