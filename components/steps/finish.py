"""The exit handler of a cluster: whatever happened, the final state of the run and its cause go into the ledger."""


def finish(run_id: str, revision: str, state: str, error: str) -> None:
    """Appends one `run` event to the ledger, and deletes a TrainJob that the run left behind: its step may have been killed."""
    from components.train_job import delete_jobs_of
    from goodsight.settings import settings
    from lineage import record

    record.run(state, run_id, revision, error)
    if settings().train_runtime and run_id:
        delete_jobs_of(run_id)
