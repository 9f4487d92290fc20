"""The exit handler: whatever happened, the final state of the run and its cause go into the ledger."""


def finish(run_id: str, revision: str, state: str, error: str) -> None:
    """Appends one `run` event to the ledger."""
    from goodsight.settings import settings
    from lineage.ledger import Ledger

    payload = {"run_id": run_id, "revision": revision, "state": state, "error": error}
    Ledger(settings().ledger_url).append("run", "pipeline", [], payload)
