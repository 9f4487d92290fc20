"""Step 7: the gate decides, by evidence, whether the candidate may serve."""

from pathlib import Path


def gate(evaluation: Path, champion_evaluation: Path, verdict: Path) -> str:
    """Writes the verdict and returns its decision, `promote` or `reject`. An empty champion folder means a first run."""
    from goodsight.files import write_json
    from lineage.gate import Policy, decide

    champion = champion_evaluation if (champion_evaluation / "metrics.json").is_file() else None
    found = decide(evaluation, champion, Policy.load())
    write_json(verdict, found)
    return str(found["decision"])
