"""KFP component of the step `finish`: a thin shell over `components.steps.finish`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def finish_component(status: dsl.PipelineTaskFinalStatus, run_id: str, revision: str):  # type: ignore[no-untyped-def]
    import os

    from components import figures, shell
    from components.steps import finish as room
    from goodsight.settings import RUN_ID

    with shell.step("finish"):
        if shell.of_a_local_run():
            return  # it tells itself how it ended, and why, which kfp.local does not know
        there = os.environ.get(RUN_ID, "")
        told = {"revision": revision, **figures.of_run(there)}
        room.finish(run_id or there, there, state=status.state, error=status.error_message or "", **told)
