"""The exit handler of a cluster: whatever happened, the final state of the run and its cause go into the ledger."""

from typing import Any


def finish(run_id: str, kubeflow: str, revision: str, state: str, error: str, **figures: Any) -> None:
    """Appends one `run` event, with the `figures` of its steps and what they came to, and deletes a TrainJob that the run left.

    `run_id` is its name in the ledger, `kubeflow` the id that Kubeflow has for it. The step that made the TrainJob may have been killed.
    """
    from components.train_job import delete_jobs_of
    from goodsight.settings import settings
    from lineage import record

    record.run(state, run_id, revision, error, kubeflow=kubeflow, **figures)
    if settings().train_runtime and kubeflow:
        delete_jobs_of(kubeflow)
