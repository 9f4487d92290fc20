"""The exit handler: whatever happened, the final state of the run and its cause go into the ledger."""

from kfp import dsl

from goodsight.settings import IMAGE


def finish(run_id: str, revision: str, state: str, error: str) -> None:
    """Appends one `run` event to the ledger."""
    from goodsight.settings import settings
    from lineage.ledger import Ledger

    payload = {"run_id": run_id, "revision": revision, "state": state, "error": error}
    Ledger(settings().ledger_url).append("run", "pipeline", [], payload)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish_component(status: dsl.PipelineTaskFinalStatus, run_id: str, revision: str):  # type: ignore[no-untyped-def]
    from components import finish as room
    from components import shell

    with shell.step("finish"):
        room.finish(run_id, revision, status.state, status.error_message or "")
