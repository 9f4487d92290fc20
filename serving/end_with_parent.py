"""Runs a command that ends when the process that started it ends, even by `kill -9`.

    python -m serving.end_with_parent [--kill] PARENT_PID COMMAND ARGUMENT...

Linux sends SIGTERM, or with --kill SIGKILL, to the command when its parent is gone. Elsewhere the next start finds and stops what
was left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives exec


def main(parent: int, command: list[str], number: int = signal.SIGTERM) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before we could end with it
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    kill = sys.argv[1] == "--kill"
    main(int(sys.argv[1 + kill]), sys.argv[2 + kill :], signal.SIGKILL if kill else signal.SIGTERM)
