"""KFP component of the step `evaluate`: a thin shell over `components.steps.evaluate`."""

from kfp import dsl

from goodsight.settings import settings


@dsl.component(base_image=settings().image, install_kfp_package=False)
def evaluate_component(  # type: ignore[no-untyped-def]
    bundles: dsl.Input[list[dsl.Model]],
    pretraining: dsl.Input[dsl.Artifact],
    snapshot: dsl.Input[dsl.Dataset],
    table: dsl.Input[dsl.Dataset],
    champion: str,
    code: str,
    candidate: dsl.Output[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    champion_evaluation: dsl.Output[dsl.Artifact],
    plots: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
):
    from pathlib import Path

    from components import shell
    from components.steps import evaluate as room
    from goodsight.files import write_json

    read = {"bundles": bundles, "pretraining": pretraining, "snapshot": snapshot, "table": table, "champion": champion}
    made = {"candidate": candidate, "evaluation": evaluation, "champion_evaluation": champion_evaluation, "plots": plots}
    with shell.step("evaluate", code, read, **made):
        data = (Path(snapshot.path), Path(table.path))
        outputs = (Path(candidate.path), Path(evaluation.path), Path(plots.path))
        curves = {"pretraining": Path(pretraining.path)}
        figures, (names, matrix) = room.evaluate([Path(b.path) for b in bundles], *data, curves, *outputs)
        room.measure_champion(champion, *data, Path(champion_evaluation.path))
        for name, value in figures.items():
            metrics.log_metric(name, value)
        confusion.log_confusion_matrix(names, matrix)
        write_json(Path(metrics.path), figures)  # kfp's local cache takes an artifact without a file for a lost one
        write_json(Path(confusion.path), {"categories": names, "counts": matrix})
