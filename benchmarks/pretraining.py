"""What each architecture and each family of objectives brings, on one catalogue, one split, one set of cached features.

    python benchmarks/pretraining.py --catalogue FOLDER --home FOLDER [--seeds 3] [--only itc +omni ...] [--finetune]

Resumable, seed by seed, and several processes may share the variants between them: a (variant, seed) that is in
`benchmarks/results/pretraining-<catalogue>.json` is not measured again. That file holds every run's figures on the test
split, seconds, versions, machine and commit, and the means with 95 % intervals over the seeds; its tables are the page
`docs/models/pretraining-<catalogue>.md`. Nothing is chosen on the test split. The peer is open_clip's own loss, loaded from
its package (`pip install --no-deps open_clip_torch`), in the same loop on the same features. All runs of one result file belong
on one kind of device (GOODSIGHT_DEVICE): a GPU has another precision and another cost.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import claims
import torch
from filelock import FileLock
from intervals import interval
from machine import described
from rich.console import Console
from rich.markdown import Markdown
from sklearn.linear_model import RidgeClassifier
from tables import FIGURES, page
from torch import Tensor

from catalogue.importer import import_catalogue
from catalogue.media import decode_image
from catalogue.snapshot import Snapshot
from components.steps.features import features
from components.steps.validate import validate
from goodsight.files import read_json, write_bytes, write_json
from goodsight.memory import keep_freed_memory
from goodsight.settings import settings
from models.architectures import build
from models.bundle import PRETRAINED, Bundle
from models.composites import composites
from models.config import MODALITIES, ModelConfig, model_config
from models.dataset import Batch, ProductData, answers
from models.device import device
from models.evaluate import image_text_scores, in_batches, product_embeddings
from models.features import FeatureCache, load_product_data
from models.finetune import finetune_task, fit_term_weights
from models.grounding import by_chance, grounding_map, points_at, similarity_map
from models.metrics import categorization, means, retrieval, same_category
from models.preprocess import Preprocess, preprocess_for
from models.pretraining import pretrain
from models.recipes import Recipe, finetuning, pretraining
from models.rerank import reranked
from models.sampling import epoch_rows
from models.towers import tokenizer_of
from models.training import Update, train

HOUSE = Path(__file__).resolve().parents[1]
RESULTS, PAGES = HOUSE / "benchmarks" / "results", HOUSE / "docs" / "models"
COMPOSITES, POINTED = 300, 400  # pictures made, of so many test products at most
OTHER_FIGURES = ("text_leaf_accuracy", "scale_map@1", "scale_map@5", "scale_map@10", "category_prec@10")
RERANKED = ((500, 10), (100, 100))  # test pages, and how many of them matching ranks for each image
KINDS = {  # of retrieval's fine-tuning -> the figures that it is for
    "image_text": ("image_to_text_recall@1",),
    "query": ("query_to_product_recall@1", "query_to_product_map"),
    "view": ("image_to_product_recall@1",),
}


@dataclass(frozen=True)
class Variant:
    """A row of the table: an architecture, the families of objectives it trains, a reading of the paper, modalities.

    `damaged`: a fifth of the training products' modalities is taken away; then training sees `all` products, or those that
    stayed `complete`.
    """

    name: str
    architecture: str
    objectives: tuple[str, ...] = ()
    variant: str = ""
    modalities: tuple[str, ...] = ()
    damaged: str = ""

    @property
    def config(self) -> ModelConfig:
        config = model_config(self.architecture, "small")
        return replace(config, variant=self.variant, modalities=self.modalities or config.modalities)


VARIANTS = (
    Variant("open_clip", "commercemm"),
    Variant("itc", "commercemm", ("itc",)),
    Variant("+itm", "commercemm", ("itc", "itm")),
    Variant("+mlm", "commercemm", ("itc", "itm", "mlm")),
    Variant("+mim", "commercemm", ("itc", "itm", "mlm", "mim")),
    Variant("+omni", "commercemm", ("itc", "itm", "mlm", "mim", "omni")),
    Variant("itc+omni", "commercemm", ("itc", "omni")),
    Variant("eclip", "eclip"),
    Variant("eclip itc", "eclip", ("itc",)),
    Variant("scale", "scale"),
    Variant("scale uniform", "scale", variant="uniform"),
    Variant("scale T", "scale", modalities=MODALITIES[:1]),
    Variant("scale T+I", "scale", modalities=MODALITIES[:2]),
    Variant("scale T+I+Tab", "scale", modalities=MODALITIES[:3]),
    Variant("scale T+I+Tab+V", "scale", modalities=MODALITIES[:4]),
    Variant("scale damaged", "scale", damaged="all"),
    Variant("scale damaged, complete only", "scale", damaged="complete"),
    Variant("interbert", "interbert"),
    Variant("interbert itm", "interbert", ("itm",)),
)
DAMAGED = 0.2  # of the modalities of the training products


def prepared(catalogue: Path, home: Path) -> tuple[Path, Path]:
    """The validated snapshot and its training table, made once under `home`."""
    if not (home / "table").is_dir():
        if not (home / "raw" / "manifest.json").is_file():
            import_catalogue(catalogue, home / "raw")
        if not (home / "snapshot" / "manifest.json").is_file():
            validate(home / "raw", home / "snapshot", home / "quarantine", home / "report")
        features(home / "snapshot", home / "store", home / "table")
    return home / "snapshot", home / "table"


def peer_loss() -> Any:
    """open_clip's ClipLoss, from its file alone: the package itself imports torchvision."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise SystemExit("The peer is not installed: pip install --no-deps open_clip_torch")
    spec = importlib.util.spec_from_file_location("open_clip_loss", Path(found.origin).with_name("loss.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss()


def train_peer(model: Any, data: ProductData, recipe: Recipe, checkpoints: Path) -> list[dict[str, float]]:
    """The two projections under open_clip's loss, batches and schedule as the others have them."""
    loss, pages = peer_loss(), data.whole_pages("train", "catalogue")

    def updates(step: int) -> list[Update]:
        rows = pages[epoch_rows(len(pages), min(recipe.batch, len(pages)), step, recipe.seed)]

        def losses(drawn: Batch) -> dict[str, Tensor]:
            batch = model.encode(drawn)
            return {"clip": loss(model.image_embedding(batch), model.text_embedding(batch), model.scale)}

        return [Update(lambda: data.products(rows), losses, lambda: data.names(rows))]

    return train(model, updates, recipe, checkpoints, "open_clip")


def _embedded(model: Any, batch: Callable[[Tensor], Batch], rows: Tensor) -> Tensor:
    return model.embed(batch(rows))


def retrieval_figures(model: Any, data: ProductData) -> dict[str, float]:
    """Image -> text among the test pages, text queries and photos over the test gallery."""
    pages = data.whole_pages("test")
    found = means(retrieval("image_to_text", image_text_scores(model, data, pages).numpy(), [[row] for row in range(len(pages))]))
    gallery = data.rows("test", "catalogue")
    vectors = product_embeddings(model, data, gallery)
    for prefix, pairs, split, batch in (
        ("query_to_product", data.query_pairs, data.query_split, data.text_queries),
        ("image_to_product", data.view_pairs, data.view_split, data.view_queries),
    ):
        asked = answers(pairs, split, gallery, "test")
        if asked:
            queries = in_batches(torch.tensor(list(asked)), partial(_embedded, model, batch))
            found |= means(retrieval(prefix, (queries @ vectors.T).numpy(), list(asked.values())))
    return found


def pretrained_figures(model: Any, data: ProductData) -> dict[str, float]:
    """Test figures of a pretrained model as it is; the category by a ridge classifier on its vectors of the pages."""
    model.eval()
    fit_term_weights(model, data)
    found = retrieval_figures(model, data)
    known, unknown = data.rows("train", "catalogue"), data.rows("test")
    true = [data.categories[row] for row in unknown.tolist()]
    shown: dict[str, Callable[[Tensor], Tensor]] = {
        "leaf_accuracy": lambda part: model.embed(data.products(part)),
        "text_leaf_accuracy": lambda part: model.unimodal(model.encode(data.products(part))).text,
    }
    for name, face in shown.items():
        probe = RidgeClassifier(alpha=1.0)
        probe.fit(in_batches(known, face).numpy(), [data.categories[row] for row in known.tolist()])
        found[name] = float(probe.score(in_batches(unknown, face).numpy(), true))
    found |= means(same_category(product_embeddings(model, data, unknown).numpy(), true))
    return {name: found[name] for name in (*FIGURES, *OTHER_FIGURES) if name in found}


def damaged(data: ProductData, complete_only: bool, seed: int) -> ProductData:
    """A copy whose training products lack `DAMAGED` of their modalities, never a product's last one; or without those products."""
    data = deepcopy(data)
    rows = data.rows("train", "catalogue")
    masks = {"text": data.texts.mask, "image": data.images.present[:, None]}
    others = {"table": data.tables, "video": data.videos, "audio": data.audios}
    masks |= {name: part.mask for name, part in others.items() if part is not None}
    there = torch.stack([mask[rows].any(dim=1) for mask in masks.values()], dim=1)
    dice = torch.rand(there.shape, generator=torch.Generator().manual_seed(seed))
    lost = (dice < DAMAGED) & there
    lost[(there & ~lost).sum(dim=1) == 0] = False
    for place, mask in enumerate(masks.values()):
        mask[rows[lost[:, place]]] = False
    if complete_only:
        for row in rows[lost.any(dim=1)].tolist():
            data.split[row] = "left out"
    return data


def pointing(model: Any, preprocess: Preprocess, snapshot: Path) -> dict[str, float]:
    """Pointing accuracy on composites of test products: ECLIP's map, an image-level map of the same model, and chance."""
    rows = [row for row in Snapshot.open(snapshot).products(["id", "title", "images", "split"]).to_pylist() if row["split"] == "test"]
    shown = [row for row in rows if row["images"]][:POINTED]
    made = composites([decode_image(row["images"][0]) for row in shown], COMPOSITES, seed=0)
    asked = [(one.image, shown[member]["title"], box) for one in made for member, box in zip(one.members, one.boxes, strict=True)]
    boxes = [box for _, _, box in asked]
    maps: dict[str, list[Tensor]] = {"pointing_instance": [], "pointing_image_level": []}
    for start in range(0, len(asked), 64):
        pictures, titles, _ = zip(*asked[start : start + 64], strict=True)
        batch = model.encode(preprocess.batch(list(pictures), list(titles)))
        maps["pointing_instance"].append(grounding_map(model, batch))
        maps["pointing_image_level"].append(similarity_map(model, batch))
    found = {name: float(points_at(torch.cat(parts), boxes).mean()) for name, parts in maps.items()}
    return {**found, "pointing_chance": by_chance(boxes)}


def reranking(model: Any, data: ProductData, pages: int, k: int) -> dict[str, float]:
    """Image <-> text among the first `pages` test pages, before and after re-ranking each image's k best by matching, and its cost.

    With k = pages matching alone ranks, as InterBERT's tasks do (papers.md 4.4); then the other direction is told too.
    """
    rows = data.whole_pages("test")[:pages]
    first = image_text_scores(model, data, rows)
    own = [[place] for place in range(len(rows))]
    started = time.perf_counter()
    again = reranked(model.match, data, rows, first, k)
    took = time.perf_counter() - started
    found = {"k": k, "pages": len(rows), "ms_a_query": 1000 * took / len(rows)}
    ways = {"image_to_text": (first, again)} | ({"text_to_image": (first.T, again.T)} if k >= len(rows) else {})
    for way, (before, after) in ways.items():
        for name, scores in ((f"{way}_recall@1", before), (f"{way}_recall@1_reranked", after)):
            found[name] = means(retrieval("", scores.numpy(), own))["_recall@1"]
    return found


def curve_point(model: Any, data: ProductData, depth: int) -> dict[str, float]:
    """Quality and milliseconds a page when the first `depth` layers see text alone (modality randomization)."""
    rows = data.whole_pages("test")
    with model.split_at(depth):
        found = pretrained_figures(model, data)
        started = time.perf_counter()
        product_embeddings(model, data, rows)
        took = time.perf_counter() - started
    return {"text_layers": depth, "ms_a_page": 1000 * took / len(rows), **found}


@dataclass(frozen=True)
class Trained:
    """One variant trained with one seed, and what it was trained on."""

    model: Any
    preprocess: Preprocess
    data: ProductData
    recipe: Recipe
    checkpoints: Path
    seconds: float


def trained(variant: Variant, seed: int, home: Path, steps: int | None, anew: bool) -> Trained:
    """Trains one variant with one seed; goes on from its checkpoints unless `anew`, at no step where the last one is whole."""
    torch.manual_seed(seed)
    config = variant.config
    model = build(config).load_pretrained().to(device())
    preprocess = preprocess_for(config, tokenizer_of(config.text_tower))
    cache = FeatureCache(home / "features", model, preprocess)
    data = load_product_data(home / "snapshot", home / "table", cache, model.learns_from_scenes)
    seen = damaged(data, variant.damaged == "complete", seed) if variant.damaged else data  # by pretraining; figures are of all
    recipe = replace(pretraining(variant.architecture, "small", len(data.rows("train", "catalogue")), seed), objectives=variant.objectives)
    recipe = replace(recipe, steps=steps or recipe.steps)
    checkpoints = home / "checkpoints" / f"{variant.name.replace(' ', '-')}-{seed}-{recipe.steps}"
    for left in home.glob(f"checkpoints/{checkpoints.name}*") if anew else ():  # a training that goes on would tell too few seconds
        shutil.rmtree(left)
    started = time.perf_counter()
    if variant.name == "open_clip":
        train_peer(model, seen, recipe, checkpoints)
    else:
        pretrain(model, seen, preprocess, recipe, checkpoints)
    return Trained(model, preprocess, data, recipe, checkpoints, round(time.perf_counter() - started, 1))


def measured(variant: Variant, seed: int, home: Path, steps: int | None) -> dict[str, Any]:
    """One variant trained anew with one seed, its cost and its figures."""
    made = described()  # of the code that trains, whatever is committed meanwhile
    run = trained(variant, seed, home, steps, anew=True)
    row: dict[str, Any] = {**made, "seed": seed, "steps": run.recipe.steps}
    row |= {"seconds": run.seconds, "threads": torch.get_num_threads(), "device": device().type}
    row["pretrained"] = pretrained_figures(run.model, run.data)
    if variant.architecture == "eclip":
        row["pretrained"] |= pointing(run.model, run.preprocess, home / "snapshot")
    if variant.name == "+omni":
        row["curve"] = [curve_point(run.model, run.data, depth) for depth in range(run.model.config.layers)]
    if variant.name in ("+omni", "interbert"):
        row["reranking"] = [reranking(run.model, run.data, *shape) for shape in RERANKED]
    return row


def finetuned_figures(run: Trained, seed: int) -> dict[str, float]:
    """Test figures after fine-tuning for each task alone, as the papers do (papers.md 1.6); the platform serves one model for all."""
    parent, data = Bundle(run.model, run.preprocess, PRETRAINED), run.data
    products = len(data.rows("train", "catalogue"))

    def finetuned(task: str, kind: str) -> Bundle:
        recipe = finetuning(run.model.config.architecture, task, "small", products, seed)
        recipe = replace(recipe, objectives=(kind,) if kind else ())
        return finetune_task(task, parent, data, recipe, run.checkpoints.with_name(f"{run.checkpoints.name}-{task}-{kind}"))[0]

    found: dict[str, float] = {}
    for kind, names in KINDS.items():
        figures = retrieval_figures(finetuned("retrieve", kind).model, data)
        found |= {name: figures[name] for name in names if name in figures}
    bundle, rows = finetuned("categorize", ""), data.rows("test")
    logits = in_batches(rows, lambda part: bundle.model.classify(data.products(part)))
    guesses = [bundle.labels[index] for index in logits.argmax(dim=1).tolist()]
    return {**found, **means(categorization([data.categories[row] for row in rows.tolist()], guesses))}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds and half the width of their 95 % interval (Student), null for a single seed."""
    commits = sorted({row["commit"] for row in rows})
    found: dict[str, Any] = {"seeds": len(rows), "commits": commits, "steps": rows[0]["steps"]}
    found["seconds_a_step"] = round(mean(row["seconds"] / row["steps"] for row in rows), 3)
    for stage in ("pretrained", "finetuned"):
        if all(stage in row for row in rows):
            intervals = {name: interval([row[stage][name] for row in rows]) for name in rows[0][stage]}
            found[stage] = {name: {"mean": middle, "half_width": half} for name, (middle, half) in intervals.items()}
    return found


def report_of(name: str, known: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    order = [variant.name for variant in VARIANTS if variant.name in known]
    runs = {variant: known[variant] for variant in order}
    return {"benchmark": name, "order": order, "variants": {variant: summary(rows) for variant, rows in runs.items()}, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="fewer steps than the platform's recipe, for all variants alike")
    parser.add_argument("--only", nargs="+", choices=[variant.name for variant in VARIANTS])
    parser.add_argument("--finetune", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(settings().threads)
    keep_freed_memory()
    prepared(chosen.catalogue, chosen.home)
    name = f"pretraining-{chosen.catalogue.resolve().name}" + (f"-{chosen.steps}-steps" if chosen.steps else "")
    out = RESULTS / f"{name}.json"
    variants = [variant for variant in VARIANTS if not chosen.only or variant.name in chosen.only]
    for seed, variant in product(range(17, 17 + chosen.seeds), variants):
        known = [row for row in known_runs(out).get(variant.name, []) if row["seed"] == seed]
        row = known[0] if known else measured(variant, seed, chosen.home, chosen.steps)
        if not known:
            keep(out, name, variant.name, row)
        if chosen.finetune and "finetuned" not in row:
            run = trained(variant, seed, chosen.home, chosen.steps, anew=False)
            keep(out, name, variant.name, {**row, "finetuned": finetuned_figures(run, seed)})
    Console().print(Markdown(page(report_of(name, known_runs(out)))))


def known_runs(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Variant -> its runs so far."""
    return read_json(out)["runs"] if out.is_file() else {}


def keep(out: Path, name: str, variant: str, row: dict[str, Any]) -> None:
    """Puts one run into the result file and its page, in the place of one with the same seed; processes may take turns."""
    with FileLock(out.with_suffix(".lock")):
        runs = known_runs(out)
        others = [other for other in runs.get(variant, []) if other["seed"] != row["seed"]]
        runs[variant] = sorted([*others, row], key=lambda each: int(each["seed"]))
        report = report_of(name, runs)
        write_json(out, report)
        write_bytes(PAGES / f"{name}.md", page(report).encode())
        claims.main()


if __name__ == "__main__":
    main()
