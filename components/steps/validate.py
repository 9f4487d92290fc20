"""Step 2: Great Expectations judges the snapshot; bad rows go to quarantine, the good ones go on."""

from pathlib import Path


def validate(raw: Path, snapshot: Path, quarantine: Path, report: Path) -> dict[str, object]:
    """Writes the validated snapshot, the quarantine and the report, kept in home too; returns the verdict on the data as JSON."""
    import catalogue.validation
    from catalogue.snapshot import MANIFEST
    from catalogue.validations import keep, previous
    from goodsight.files import read_json, write_json
    from goodsight.settings import settings
    from lineage import record

    home = settings().root
    before = previous(read_json(raw / MANIFEST).get("parent"), home)
    verdict = catalogue.validation.validate(raw, snapshot, quarantine, report, before).to_json()
    write_json(report / "verdict.json", verdict)
    keep(verdict, quarantine, report, home)
    record.validation(verdict, record.PIPELINE)
    return verdict
