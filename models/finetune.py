"""Fine-tuning of a pretrained model for one task: `categorize` adds a class head, `retrieve` trains the retrieval terms alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from torch import Tensor

from goodsight.errors import InputError
from goodsight.progress import note
from models.architectures import build
from models.architectures.base import Architecture, DualEncoder, Embeddings, presence
from models.bundle import Bundle
from models.config import TASKS
from models.dataset import MASKS, Batch, ProductData, answers
from models.draws import generator, uniform
from models.evaluate import own_text
from models.metrics import retrieval
from models.objectives.contrast import supervised_contrast, symmetric_info_nce
from models.objectives.hierarchy import level_cross_entropy, memberships
from models.preprocess import Preprocess
from models.pretraining.batches import CrossPairs, Losses, Pages, cross_pair_update, cross_pairs, draw_pages
from models.recipes import Recipe
from models.sampling import PairSampler, epoch_rows
from models.training import History, Update, train, trainable_state
from models.zero_shot import named

FEWEST_QUERIES = 20  # on validation, to fit weights
TERM_EARNS = 0.005  # mean average precision on validation
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the fine-tuned weights
SHARE_EARNS = 0.002  # mean average precision on validation
Weights = tuple[float, ...]  # of i, t, m
WEIGHTS: list[Weights] = [weights for weights in product((1.0, 0.5, 0.0), repeat=3) if max(weights) == 1.0]
CATEGORIZE = ("leaf", "levels")  # families of objectives: flat, or with `levels` hierarchical
RETRIEVE = ("image_text", "query", "view")  # image <-> text, query -> product, image -> product; "product" can be asked for too
NAME_SCALE = 5.0  # of the class head at its start
ONE_MODALITY = 0.4  # share of rows that keep one modality alone


def finetune_task(
    task: str, parent: Bundle, data: ProductData, recipe: Recipe, checkpoints: Path
) -> tuple[Bundle, History]:
    """The bundle of `parent` fine-tuned for `task`, and the loss curve. Raises `InputError` for an unknown task.

    Towers that learnt in pretraining are frozen from here on: `data` are their tokens, computed once, and both tasks share them.
    """
    if task not in TASKS:
        raise InputError(f"Task {task!r} is unknown.", f"Choose one of: {', '.join(TASKS)}.")
    labels = labels_of(data) if task == "categorize" else []
    model = build(parent.config, classes=len(labels)).to(parent.model.device)
    model.load_state_dict(parent.model.state_dict(), strict=not labels)
    model.freeze_towers()
    if labels:
        start_from_names(model, parent.preprocess, labels)
    train_task = partial(categorize, labels=labels) if task == "categorize" else retrieve
    history = train_task(model, data, recipe=recipe, checkpoints=checkpoints)
    provenance = {**parent.provenance, "parent": parent.digest, "recipe": asdict(recipe)}
    return Bundle(model.eval(), parent.preprocess, task, labels, provenance), history


def labels_of(data: ProductData, splits: tuple[str, ...] = ("train", "catalogue")) -> list[str]:
    """The category paths that training sees, sorted: the classes of `categorize`."""
    return sorted({data.categories[row] for row in data.rows(*splits).tolist()})


def categories(data: ProductData) -> Tensor:
    """`(N,)` the number of each product's leaf category."""
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in data.categories])


@torch.no_grad()
def start_from_names(model: Architecture, preprocess: Preprocess, labels: list[str]) -> None:
    """Starts the class head from the categories' names, so that a category of few products is no blank.

    Each category's weights point where its name, read as a text alone, lies among the class features (as the zero-shot head
    of CLIP does): the logits start as `NAME_SCALE` times the cosine, without what all names share.
    """
    assert model.class_head is not None
    names = model.eval().class_features(model.encode(named(preprocess, labels))).float()
    names = F.normalize(names - names.mean(dim=0), dim=1)
    model.class_head.weight.copy_(names * NAME_SCALE / names.shape[1] ** 0.5)  # class features are about as long as the root
    model.class_head.bias.zero_()


def drop_modalities(batch: Batch, rng: torch.Generator) -> Batch:
    """Leaves `ONE_MODALITY` of the rows a single modality of those they have, so that the model also answers from one of them."""
    names = [name for name, mask in MASKS.items() if mask in batch]
    there = torch.stack([presence(batch, name) for name in names], dim=1)  # (B, M)
    dice = uniform((len(there), 1 + len(names)), rng, there.device)
    kept = (dice[:, 1:] * there).argmax(dim=1)
    drops = (dice[:, 0] < ONE_MODALITY) & there.any(dim=1)
    masks = {MASKS[name]: batch[MASKS[name]] & ~(drops & (kept != place))[:, None] for place, name in enumerate(names)}
    return {**batch, **masks}


def categorize(model: Architecture, data: ProductData, labels: list[str], recipe: Recipe, checkpoints: Path) -> History:
    """Cross-entropy over the leaf categories (papers.md 1.6), and with `levels` over every level above; then the words are fitted.

    Trains `model` in place.
    """
    assert model.class_words is not None
    rows = data.rows("train", "catalogue")
    number = {label: index for index, label in enumerate(labels)}
    target = torch.tensor([number[data.categories[row]] for row in rows.tolist()])
    levels = memberships(labels) if "levels" in (recipe.objectives or CATEGORIZE) else []

    def updates(step: int) -> list[Update]:
        chosen = epoch_rows(len(rows), min(recipe.batch, len(rows)), step, recipe.seed)

        def losses(batch: Batch) -> Losses:
            logits, wanted = model.classify(batch).float(), target[chosen].to(model.device)
            found = {"category": F.cross_entropy(logits, wanted, label_smoothing=0.05)}
            above = {f"level {place + 1}": level_cross_entropy(logits, level, wanted) for place, level in enumerate(levels)}
            return found | above

        def draw() -> Batch:
            return drop_modalities(data.products(rows[chosen]), generator(recipe.seed, step))

        return [Update(draw, losses, lambda: data.names(rows[chosen]))]

    history = train(model, updates, recipe, checkpoints, "fine-tuning categorize")
    model.class_words.fit(data.texts.ids[rows], data.texts.mask[rows], target)
    return history


def retrieve(model: Architecture, data: ProductData, recipe: Recipe, checkpoints: Path) -> History:
    """The contrastive terms alone: image <-> text of a page, query or view -> the page, and product -> products of its leaf category.

    A dual encoder learns those of i and t, many cheap steps on cached features; m starts as the sum of i and t and moves
    with them. The others learn m too. Then what validation chooses: how far to go from the pretrained weights, and the
    weights of the terms.
    """
    pretrained = {name: value.clone() for name, value in trainable_state(model).items()}
    pages = data.whole_pages("train", "catalogue")
    pairs = PairSampler(data)
    wanted = recipe.objectives or RETRIEVE
    sources = [source for source in pairs.sources if source in wanted]
    fuses = not isinstance(model, DualEncoder)
    leaf = categories(data)

    def updates(step: int) -> list[Update]:
        rows = pages[epoch_rows(len(pages), min(2 * recipe.batch, len(pages)), step, recipe.seed)]
        turn = sources[step % len(sources)] if sources and fuses else None

        def draw() -> tuple[Pages, dict[str, CrossPairs]]:
            drawn = {source: pairs.draw(source, recipe.batch, step, recipe.seed) for source in sources}
            return draw_pages(data, rows), {source: cross_pairs(data, each) for source, each in drawn.items()}

        def losses(drawn: tuple[Pages, dict[str, CrossPairs]]) -> Losses:
            return _page_losses(model, drawn[0], leaf[rows], wanted) | cross_pair_update(model, drawn[1], turn, recipe.batch)

        return [Update(draw, losses, lambda: data.names(rows))]

    history = train(model, updates, recipe, checkpoints, "fine-tuning retrieve")
    average_weights(model.eval(), pretrained, data, wanted)
    return history


def _page_losses(model: Architecture, drawn: Pages, leaf: Tensor, wanted: Sequence[str]) -> Losses:
    """The terms among the pages `drawn` themselves: image <-> text, and product -> products of its `leaf` category."""
    if not {"image_text", "product"} & set(wanted):
        return {}
    page = model.unimodal(model.encode(drawn.batch))
    losses: Losses = {}
    if "image_text" in wanted:
        losses["itc"] = symmetric_info_nce(page.image, page.text, drawn.positives.to(model.device), model.scale)
    if "product" in wanted:
        losses["product"] = supervised_contrast(F.normalize(page.image + page.text, dim=1), leaf.to(model.device), model.scale)
    return losses


@torch.no_grad()
def average_weights(model: Architecture, pretrained: dict[str, Tensor], data: ProductData, wanted: Sequence[str]) -> None:
    """Keeps as much of the pretrained weights as validation does not mind: few queries are soon learned by heart.

    Weights are averaged in `SHARES` of the fine-tuned ones (WiSE-FT, Wortsman et al. 2022); of the shares within
    `SHARE_EARNS` of the best mean average precision over the kinds of search `wanted`, the smallest is taken.
    Where validation asks none of them, nothing changes.
    """
    tuned = {name: value.clone() for name, value in trainable_state(model).items()}

    def take(share: float) -> float:
        mixed = {name: torch.lerp(pretrained[name], value, share) for name, value in tuned.items() if value.is_floating_point()}
        model.load_state_dict(mixed, strict=False)
        found = {**fit_term_weights(model, data), "image_text": own_text(model, data)}
        return mean([found[name] for name in wanted if name in found] or [0.0])

    values = {share: take(share) for share in SHARES}
    if not any(values.values()):
        take(1.0)
        return
    share = min(share for share, value in values.items() if value >= max(values.values()) - SHARE_EARNS)
    take(share)
    weights = {name: row.tolist() for name, row in zip(("image", "text"), model.term_weights, strict=True)}
    tried = ", ".join(f"{share:.0%} {100 * value:.1f}" for share, value in values.items())
    note(f"validation chose {share:.0%} of the way from the pretrained weights ({tried}); weights of i, t, m for queries: {weights}")


@torch.inference_mode()
def fit_term_weights(model: Architecture, data: ProductData) -> dict[str, float]:
    """Sets how much X->I, X->T and X->M count in search, for images and for texts, by mean average precision on validation.

    The gallery is the validation products and the catalogue ones. Returns the precision of each kind of query (`view`: images,
    `query`: texts); with too few validation queries of a kind its weights stay, and it is not among them.
    """
    gallery = data.rows("val", "catalogue")
    found: dict[str, float] = {}
    if not len(gallery):
        return found
    pages = [model.embeddings(model.encode(data.products(part))) for part in gallery.split(256)]
    for row, pairs, split, batch, name in (
        (0, data.view_pairs, data.view_split, data.view_queries, "view"),
        (1, data.query_pairs, data.query_split, data.text_queries, "query"),
    ):
        asked = answers(pairs, split, gallery, "val")
        if len(asked) < FEWEST_QUERIES:
            continue
        queries = [model.unimodal(model.encode(batch(part))) for part in torch.tensor(list(asked)).split(256)]
        values = []
        for weights in WEIGHTS:
            model.term_weights[row] = torch.tensor(weights)
            values.append(_precision(model, queries, pages, list(asked.values())))
        best = simplest_best(WEIGHTS, values)
        model.term_weights[row] = torch.tensor(best)
        found[name] = values[WEIGHTS.index(best)]
    return found


def simplest_best(choices: list[Weights], values: list[float]) -> Weights:
    """The choice with the fewest terms whose value is within `TERM_EARNS` of the best: an extra term must earn its place."""
    near = [(choice, value) for choice, value in zip(choices, values, strict=True) if value >= max(values) - TERM_EARNS]
    return min(near, key=lambda pair: (sum(map(bool, pair[0])), -pair[1]))[0]


def _precision(model: Architecture, queries: list[Embeddings], pages: list[Embeddings], relevant: list[list[int]]) -> float:
    """Mean average precision of the queries by the inner products that search takes."""
    left, right = (torch.cat([model.joined(part) for part in side]) for side in (queries, pages))
    return float(retrieval("", (left @ right.T).cpu().numpy(), relevant)["_map"].mean())
