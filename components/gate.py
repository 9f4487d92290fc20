"""Step 7: the gate decides, by evidence, whether the candidate may serve."""

from pathlib import Path

from kfp import dsl

from goodsight.settings import IMAGE


def gate(evaluation: Path, champion_evaluation: Path, verdict: Path) -> str:
    """Writes the verdict and returns its decision, `promote` or `reject`. An empty champion folder means a first run."""
    from goodsight.files import write_json
    from lineage.gate import Policy, decide

    champion = champion_evaluation if (champion_evaluation / "metrics.json").is_file() else None
    found = decide(evaluation, champion, Policy.load())
    write_json(verdict, found)
    return str(found["decision"])


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate_component(
    evaluation: dsl.Input[dsl.Artifact],
    champion_evaluation: dsl.Input[dsl.Artifact],
    code: str,
    verdict: dsl.Output[dsl.Artifact],
) -> str:
    from pathlib import Path

    from components import gate as room
    from components import shell

    with shell.step("gate", verdict=verdict):
        return room.gate(Path(evaluation.path), Path(champion_evaluation.path), Path(verdict.path))
    raise SystemExit(1)
