"""KFP component of the step `validate`: a thin shell over `components.steps.validate`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def validate_component(
    raw: dsl.Input[dsl.Dataset],
    max_quarantined: float,
    code: str,
    snapshot: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> str:
    import os
    from pathlib import Path

    from components import shell
    from components.steps import validate as room

    os.environ["GOODSIGHT_MAX_QUARANTINED"] = str(max_quarantined)
    with shell.step("validate", code, {"raw": raw}, snapshot=snapshot, quarantine=quarantine, report=report) as came:
        verdict = room.validate(Path(raw.path), Path(snapshot.path), Path(quarantine.path), Path(report.path))
        came["data_verdict"] = verdict["decision"]
    return str(verdict["decision"])
