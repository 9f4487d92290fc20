"""Step 6: candidate and champion on the same held-out data, with baselines, per-item values and plots."""

from pathlib import Path
from typing import Any


def evaluate(
    bundles: list[Path], snapshot: Path, table: Path, curves: dict[str, Path], candidate: Path, evaluation: Path, plots: Path
) -> tuple[dict[str, float], tuple[list[str], list[list[int]]]]:
    """Assembles the candidate, measures it and draws the plots. Returns its metrics and its confusion matrix."""
    from goodsight.files import whole_folder
    from models.candidate import assemble
    from models.plots import confusion, save_plots
    from models.training import read_history

    assemble(bundles, candidate)
    result = measure(candidate, snapshot, table, evaluation)
    with whole_folder(plots) as aside:
        save_plots(result, {name: read_history(path) for name, path in curves.items()}, aside)
    return result.metrics, confusion(result)


def measure(candidate: Path, snapshot: Path, table: Path, out: Path) -> Any:
    """Writes the evaluation folder of a candidate on this snapshot's held-out split."""
    import torch

    import models.evaluate
    from catalogue.snapshot import Snapshot
    from components.steps.state import feature_cache
    from goodsight.files import whole_folder
    from goodsight.settings import settings
    from models.candidate import load_candidate
    from models.costs import costs
    from models.device import device
    from models.features import FeatureCache, load_product_data

    torch.set_num_threads(settings().threads)
    loaded = load_candidate(candidate, device())
    retrieve = loaded.bundles["retrieve"]
    data = load_product_data(snapshot, table, FeatureCache(feature_cache(), retrieve.model, retrieve.preprocess))
    result = models.evaluate.evaluate(loaded.bundles["categorize"], retrieve, data)
    result.costs = costs(candidate, snapshot)
    bundles = {task: bundle.digest for task, bundle in loaded.bundles.items()}
    provenance = {"snapshot": Snapshot.open(snapshot).digest, "candidate": loaded.digest, "bundles": bundles}
    with whole_folder(out) as aside:
        result.save(aside, provenance)
    return result


def measure_champion(version: str, snapshot: Path, table: Path, out: Path) -> None:
    """The same for the registered `version`, whose signature must count; an empty folder when nothing serves yet (`version` is empty)."""
    from goodsight.files import whole_folder
    from lineage.registry import candidate_folder
    from lineage.signing import verify

    if version:
        champion = candidate_folder(version)
        verify(champion)
        measure(champion, snapshot, table, out)
    else:
        with whole_folder(out):
            pass
