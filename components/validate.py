"""Step 2: Great Expectations judges the snapshot; bad rows go to quarantine, the good ones go on."""

from pathlib import Path
from typing import NamedTuple

from kfp import dsl

from goodsight.settings import IMAGE


def validate(raw: Path, snapshot: Path, quarantine: Path, report: Path) -> dict[str, object]:
    """Writes the validated snapshot, the quarantine and the Data Docs; returns the verdict on the data as JSON."""
    import catalogue.validation
    from goodsight.files import write_json

    verdict = catalogue.validation.validate(raw, snapshot, quarantine, report).to_json()
    write_json(report / "verdict.json", verdict)
    return verdict


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_component(  # type: ignore[no-untyped-def]
    raw: dsl.Input[dsl.Dataset],
    max_quarantined: float,
    code: str,
    snapshot: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
) -> NamedTuple("Verdict", decision=str, reason=str):  # type: ignore[valid-type]
    import os
    from pathlib import Path

    from components import shell
    from components import validate as room

    os.environ["GOODSIGHT_MAX_QUARANTINED"] = str(max_quarantined)
    with shell.step("validate", snapshot=snapshot, quarantine=quarantine, report=report):
        verdict = room.validate(Path(raw.path), Path(snapshot.path), Path(quarantine.path), Path(report.path))
    return (str(verdict["decision"]), str(verdict["reason"]))  # type: ignore[return-value]
