"""What a rank does in tests of the launcher: `python -m tests.components.ranks WHAT RANK STATUS FOLDER`.

`add` sums the ranks over gloo. `end` ends rank RANK with STATUS (negative: by that signal) while the others wait. Whoever waits
ends with 75 at SIGTERM, as a trainer does, once it has left a file in FOLDER.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main(what: str, rank: str, status: str, folder: str) -> None:
    me = int(os.environ["RANK"])
    if what == "add":
        import torch
        from torch import distributed

        distributed.init_process_group("gloo")
        total = torch.tensor([me + 1])
        distributed.all_reduce(total)
        distributed.destroy_process_group()
        Path(folder, f"sum-{me}").write_text(f"{int(total)} of {os.environ['WORLD_SIZE']}")
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    Path(folder, f"ready-{me}").touch()
    if what == "end" and me == int(rank):
        while len(list(Path(folder).glob("ready-*"))) < int(os.environ["WORLD_SIZE"]):
            signal.sigtimedwait([], 0.05)
        if int(status) < 0:
            os.kill(os.getpid(), -int(status))
        sys.exit(int(status))
    signal.sigwait([signal.SIGTERM])
    Path(folder, f"checkpoint-{me}").touch()
    sys.exit(75)


if __name__ == "__main__":
    main(*sys.argv[1:])
