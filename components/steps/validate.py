"""Step 2: Great Expectations judges the snapshot; bad rows go to quarantine, the good ones go on."""

from pathlib import Path


def validate(raw: Path, snapshot: Path, quarantine: Path, report: Path) -> dict[str, object]:
    """Writes the validated snapshot, the quarantine and the Data Docs; returns the verdict on the data as JSON."""
    import catalogue.validation
    from goodsight.files import write_json

    verdict = catalogue.validation.validate(raw, snapshot, quarantine, report).to_json()
    write_json(report / "verdict.json", verdict)
    return verdict
