"""Step 7: the gate decides, by evidence, whether the candidate may serve."""

from pathlib import Path


def gate(evaluation: Path, champion_evaluation: Path, policy: str, verdict: Path) -> str:
    """Writes the verdict and returns its decision, `promote` or `reject`. An empty champion folder means a first run.

    `policy` is the YAML text of the gate's policy; empty: the one of this release.
    """
    from goodsight.files import write_json
    from lineage import record
    from lineage.gate import Policy, decide

    champion = champion_evaluation if (champion_evaluation / "metrics.json").is_file() else None
    found = decide(evaluation, champion, Policy.parse(policy) if policy else Policy.load())
    write_json(verdict, found)
    record.verdict(verdict, record.PIPELINE)
    return str(found["decision"])
