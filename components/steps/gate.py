"""Step 7: the gate decides, by evidence, whether the candidate may serve."""

from pathlib import Path


def gate(evaluation: Path, champion_evaluation: Path, policy: str, verdict: Path) -> str:
    """Writes the verdict and returns its decision, `promote` or `reject`. An empty champion folder means a first run.

    `policy` is the YAML text of the gate's policy; empty: the one of this release. The overrides in force are those of
    the ledger.
    """
    from datetime import UTC, datetime

    from goodsight.files import write_json
    from goodsight.settings import settings
    from lineage import record
    from lineage.gate import decide
    from lineage.ledger import Ledger
    from lineage.overrides import in_force
    from lineage.policy import Policy

    champion = champion_evaluation if (champion_evaluation / "metrics.json").is_file() else None
    overrides = in_force(Ledger(settings().ledger_url), datetime.now(UTC))
    found = decide(evaluation, champion, Policy.parse(policy) if policy else Policy.load(), overrides)
    write_json(verdict, found)
    record.verdict(verdict, record.PIPELINE)
    return str(found["decision"])
