"""The exit handler of a cluster: whatever happened, the final state of the run and its cause go into the ledger."""


def finish(run_id: str, revision: str, state: str, error: str) -> None:
    """Appends one `run` event to the ledger."""
    from lineage import record

    record.run(state, run_id, revision, error)
