"""What the pods of a TrainJob run, and what trains in several processes on one machine: the step `pretrain` on every rank.

    python -m components.trainer --processes 2 --snapshot ... --table ... --bundle ... --curve ...

On a cluster the Kubeflow Trainer says which node this is (PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR, PET_MASTER_PORT).
The exit status is that of goodsight/errors.py: 2 and 3 say that a retry fails again, 75 that it goes on from the checkpoint.
torchrun itself ends with 1 whatever its children say, so this module starts them and passes on what they say.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from goodsight.errors import EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_RETRY, BusyError, GoodsightError
from goodsight.memory import keep_freed_memory
from goodsight.progress import emit
from goodsight.settings import silence_telemetry

STEP = "pretrain"
GRACE_SECONDS = 150  # for the checkpoint; the pod's own grace period must be longer
DO_NOT_RETRY = (EXIT_BAD_INPUT, EXIT_REFUSED)
LOST_PEER = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains on this rank, or starts the ranks of this node; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(given)
    signal.signal(signal.SIGTERM, _stop)  # the first process of a container ignores signals that it does not handle
    silence_telemetry()
    if "RANK" not in os.environ and asked.processes * int(os.environ.get("PET_NNODES", "1")) > 1:
        return launch(asked.processes, ["components.trainer", *given])
    return _train(asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m components.trainer", description="Pretrain, on one or more ranks.")
    for name, what in (("snapshot", "validated snapshot"), ("table", "training table")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"the {what} to learn from")
    parser.add_argument("--architecture", default="commercemm")
    parser.add_argument("--size", default="small")
    parser.add_argument("--seed", type=int, default=17)
    for name, what in (("bundle", "folder of the bundle"), ("curve", "file of the loss curve")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"the {what} to write")
    parser.add_argument("--processes", type=int, default=1, help="ranks on this node (default: 1)")
    return parser


def _stop(signum: int, frame: FrameType | None) -> None:
    """Until training begins there is nothing to keep; from then on the training loop ends with a checkpoint."""
    sys.exit(EXIT_RETRY)


def _train(asked: argparse.Namespace) -> int:
    from components.steps.pretrain import train_here
    from lineage.training_run import TrainingRun

    keep_freed_memory()
    try:
        train_here(asked.snapshot, asked.table, asked.architecture, asked.size, asked.seed, asked.bundle, asked.curve, TrainingRun)
    except GoodsightError as error:
        return _failed(error)
    except RuntimeError as error:
        if not _lost_a_peer(error):
            raise
        return _failed(BusyError(f"Another rank is gone: {str(error).splitlines()[0]}", "The job goes on from its checkpoint."))
    return 0


def _failed(error: GoodsightError) -> int:
    emit("error", name=STEP, type=type(error).__name__, message=error.message, hint=error.hint)
    return error.exit_code


def _lost_a_peer(error: RuntimeError) -> bool:
    """Whether communication failed, which is how the ranks that are left see that one was killed."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(sign in str(error).lower() for sign in LOST_PEER)


def launch(processes: int, module: Sequence[str]) -> int:
    """Runs `module` (name and arguments) as `processes` ranks of this node under torchrun; returns what they end with.

    A SIGTERM goes on to every rank, which has `GRACE_SECONDS` to write its checkpoint.
    """
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    options = ["--nproc-per-node", str(processes), "--shutdown-timeout", str(GRACE_SECONDS), "--module"]
    try:
        run.run(run.parse_args([*options, *module]))
    except ChildFailedError as error:
        return exit_status(failure.exitcode for failure in error.failures.values())
    except SignalException:
        return EXIT_RETRY
    except (DistError, RendezvousError) as error:
        return _failed(BusyError(f"The nodes did not find each other: {error}", "Are all pods of the job running?"))
    return 0


def exit_status(ranks: Iterable[int]) -> int:
    """The status of a node whose ranks ended with these (negative: by that signal): that of the cause, not of its consequences.

    When one rank fails, torchrun ends the others by SIGTERM, and they answer with a checkpoint and 75.
    """
    causes = [status for status in ranks if status not in (EXIT_RETRY, -signal.SIGTERM)]
    if not causes:
        return EXIT_RETRY
    first = min(causes, key=lambda status: status not in DO_NOT_RETRY)
    return 128 - first if first < 0 else first


if __name__ == "__main__":
    sys.exit(main())
