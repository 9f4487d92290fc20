"""The model of the simulated year: the terms and heads of our architectures on features of frozen towers, trained in seconds.

A dual encoder of the room models, without CommerceMM's stack (its effort `low`): m is the sum of i and t. Training, the choice of
weights by validation and all figures are the room's own (`models.finetune`, `models.metrics`); the gate gets an `Evaluation` as in a run.
Legend: B batch, N products, D width, K classes, V photos of a product.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from loop_features import Features, pooled
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from goodsight.digests import sha256_json
from goodsight.files import read_json, whole_folder, write_json
from lineage.evaluation import Evaluation, Items
from models.architectures.base import DualEncoder, Embeddings, presence
from models.architectures.layers import projection
from models.baselines import most_frequent, tfidf_scores
from models.class_words import ClassWords
from models.config import ModelConfig
from models.dataset import Batch, Images, Pairs, ProductData, Texts, answers
from models.evaluate import in_batches, product_embeddings
from models.finetune import categorize, labels_of, retrieve, start_from_names
from models.metrics import calibration_error, categorization, macro_f1, retrieval
from models.recipes import Recipe
from models.slices import Subjects, about
from models.towers import Towers
from models.training import trainable_state

PARENT = Recipe(steps=120, batch=128, fused=0, learning_rate=1e-3, checkpoint_every=1000)
CATEGORIZE = Recipe(steps=60, batch=128, fused=0, learning_rate=1e-3, checkpoint_every=1000)
RETRIEVE = Recipe(steps=24, batch=64, fused=0, learning_rate=1e-3, checkpoint_every=1000)
MANY_ANSWERS = ("train", "test", "val", "train", "test")  # splits of queries, so that the gate has enough of them
CLASS_TERMS = 3  # i, t and their sum


class Heads(DualEncoder):
    """i and t of pooled features: the text projection starts as the identity, the image projection learns from its start."""

    def __init__(self, config: ModelConfig, towers: Towers) -> None:
        super().__init__(replace(config, image_tower="tiny", text_tower="tiny"))
        self.config, self.towers, self.condensed = config, towers, False
        self.image_norm = nn.LayerNorm(towers.image_channels)
        self.image_project = projection(towers.image_channels, config.width // 2, config.dropout)
        self.image_out = nn.Linear(config.width // 2, config.width)
        self.text_project = projection(towers.text.width, config.width // 2, config.dropout)
        self.text_out = nn.Linear(config.width // 2, config.width)
        nn.init.zeros_(self.text_out.weight)
        nn.init.zeros_(self.text_out.bias)

    def image_embedding(self, tokens: Batch) -> Tensor:
        seen = tokens["image_tokens"].mean(dim=1)
        return F.normalize(self.image_out(seen if self.condensed else self.condense(seen)), dim=-1)

    def condense(self, seen: Tensor) -> Tensor:
        """`(B, C)` -> `(B, D / 2)`: what the parent has learned to see, and its children start from."""
        return self.image_project(self.image_norm(seen))

    def text_embedding(self, tokens: Batch) -> Tensor:
        read = tokens["text_tokens"][:, 0]
        return F.normalize(read + self.text_out(self.text_project(read)), dim=-1)

    def _words(self, ids: Tensor, mask: Tensor) -> Tensor:
        return pooled(self.towers, ids, mask)

    def embeddings(self, tokens: Batch) -> Embeddings:
        found = self.unimodal(tokens)
        both = found.has_image & found.has_text
        return replace(found, multimodal=F.normalize(self._sum(found), dim=-1) * both[:, None], has_multimodal=both)

    def class_features(self, tokens: Batch) -> Tensor:
        found = self.unimodal(tokens)
        image, text = found.image * presence(tokens, "image")[:, None], found.text * presence(tokens, "text")[:, None]
        return torch.cat([image, text, F.normalize(self._sum(found), dim=-1)], dim=-1) * self.config.width**0.5

    def _sum(self, found: Embeddings) -> Tensor:
        return found.image * found.has_image[:, None] + found.text * found.has_text[:, None]

    def copied(self, classes: int = 0) -> Heads:
        """Its own weights, the same towers, and a class head for so many classes."""
        model = copy.deepcopy(self, {id(self.towers): self.towers})
        if classes:
            model.class_head = nn.Linear(CLASS_TERMS * self.config.width, classes)
            model.class_words = ClassWords(classes)
        return model


@dataclass
class Model:
    """What a run makes: one model a task."""

    digest: str
    categorize: Heads
    retrieve: Heads
    labels: list[str]
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Known:
    """A snapshot: of each product record its row in the features, camera (1 is dark), category, split, and whether its text is lost."""

    rows: np.ndarray
    camera: np.ndarray
    categories: list[str]
    split: list[str]
    blank: np.ndarray

    @property
    def digest(self) -> str:
        return sha256_json([self.rows.tolist(), self.camera.tolist(), self.categories, self.split, self.blank.tolist()])


def product_data(features: Features, known: Known) -> ProductData:
    """The snapshot as training and evaluation read it; the views of a product are its further photos, by the same camera."""
    rows, camera = torch.from_numpy(known.rows), torch.from_numpy(known.camera)
    products, V = features.shop.products, features.photos.shape[1]
    text = features.texts
    mask = text.mask[rows] & ~torch.from_numpy(known.blank)[:, None]
    assert text.tokens is not None
    ids = [products[row]["id"] for row in known.rows.tolist()]
    counted = _numbered(ids)
    groups = {group: number for number, group in enumerate(dict.fromkeys(row["group"] for row in products))}
    split_of: dict[int, str] = {}
    place_of: dict[int, int] = {}
    for place, row in enumerate(known.rows.tolist()):
        split_of.setdefault(row, known.split[place])
        place_of.setdefault(row, place)
    asked = [(query, place_of[row]) for query, found in enumerate(features.relevant) for row in found if row in place_of]
    owner = torch.arange(len(rows)).repeat_interleave(V - 1)
    views = features.photos[rows, 1:].gather(2, camera.long()[:, None, None, None].expand(-1, V - 1, 1, features.photos.shape[-1]))
    return ProductData(
        product_ids=counted,
        titles=[products[row]["title"] for row in known.rows.tolist()],
        categories=known.categories,
        groups=torch.tensor([groups[products[row]["group"]] for row in known.rows.tolist()]),
        split=known.split,
        texts=Texts(text.ids[rows], mask, text.tokens[rows]),
        images=Images(features.photos[rows, 0, camera.long()][:, None], torch.ones(len(rows), dtype=torch.bool)),
        query_ids=[query["qid"] for query in features.shop.queries],
        query_texts=[query["text"] for query in features.shop.queries],
        query_split=query_splits(features),
        queries=features.queries,
        view_ids=[f"{counted[int(row)]}#{number % (V - 1) + 1}" for number, row in enumerate(owner)],
        view_split=[known.split[int(row)] for row in owner],
        views=Images(views.flatten(0, 1), torch.ones(len(owner), dtype=torch.bool)),
        query_pairs=_pairs(asked),
        view_pairs=Pairs(torch.arange(len(owner)), owner),
        documents=["" if known.blank[place] else features.shop.document(row) for place, row in enumerate(known.rows.tolist())],
    )


def _numbered(ids: list[str]) -> list[str]:
    """Ids of which the second and later copies have a number."""
    seen: Counter[str] = Counter()
    found = []
    for id in ids:
        seen[id] += 1
        found.append(f"{id}~{seen[id]}" if seen[id] > 1 else id)
    return found


def query_splits(features: Features) -> list[str]:
    """The split of each query: that of the only product that answers it; where queries have several answers, 40/20/40."""
    products = features.shop.products
    if all(len(found) == 1 for found in features.relevant):
        return [products[found[0]]["split"] for found in features.relevant]
    return [MANY_ANSWERS[number % len(MANY_ANSWERS)] for number in range(len(features.relevant))]


def _pairs(known: list[tuple[int, int]]) -> Pairs:
    columns = torch.tensor(known, dtype=torch.long).reshape(-1, 2)
    return Pairs(columns[:, 0], columns[:, 1])


def pretrained(features: Features, known: Known, seed: int, recipe: Recipe = PARENT) -> tuple[Heads, Features]:
    """The parent of every model of the year: the retrieval terms, learnt from the first snapshot.

    Its projections stay as they are from here on, the last layers learn: the features that come with it are what those see of photos.
    """
    torch.manual_seed(seed)
    model = Heads(features.config, features.towers)
    with tempfile.TemporaryDirectory() as folder:
        retrieve(model, product_data(features, known), replace(recipe, seed=seed), Path(folder))
    for part in (model.image_norm, model.image_project, model.text_project):
        part.requires_grad_(False)
    model = model.eval()
    photos = features.photos.flatten(0, 2)
    with torch.inference_mode():
        seen = torch.cat([model.condense(part.float()).half() for part in photos.split(512)])
    model.condensed = True
    return model, replace(features, photos=seen.clone().unflatten(0, features.photos.shape[:3]))


def retrained(features: Features, known: Known, parent: Heads, seed: int) -> Model:
    """Both tasks fine-tuned from the parent on a snapshot; the same arguments give the same model."""
    torch.manual_seed(seed)
    started = time.process_time()
    data = product_data(features, known)
    labels = labels_of(data)
    by_category, by_search = parent.copied(len(labels)), parent.copied()
    start_from_names(by_category, features.preprocess, labels)
    with tempfile.TemporaryDirectory() as folder:
        categorize(by_category, data, labels, replace(CATEGORIZE, seed=seed), Path(folder) / "categorize")
        retrieve(by_search, data, replace(RETRIEVE, seed=seed), Path(folder) / "retrieve")
    seconds = time.process_time() - started
    return Model(sha256_json([known.digest, seed]), by_category.eval(), by_search.eval(), labels, seconds)


def evaluated(features: Features, known: Known, model: Model) -> Evaluation:
    """A model on the held-out records of a snapshot, as the gate reads it."""
    data = product_data(features, known)
    found = Evaluation(model.digest, known.digest, {}, {}, {}, {}, {"categorize": model.digest, "retrieve": model.digest}, {}, "")
    _of_categories(data, model, found)
    _of_search(data, model, found)
    return found


def _add(found: Evaluation, subjects: Subjects, values: dict[str, np.ndarray]) -> None:
    ids, order = np.unique(np.array(subjects.ids), return_index=True)
    names = sorted({name for each in subjects.slices for name in each})
    members = {name: np.array([name in subjects.slices[place] for place in order]) for name in names}
    for metric, scored in values.items():
        found.metrics[metric] = float(scored.mean())
        found.items[metric] = Items(ids, scored[order], np.array(subjects.clusters)[order], members)


def _of_categories(data: ProductData, model: Model, found: Evaluation) -> None:
    rows = data.rows("test")
    logits = in_batches(rows, lambda part: model.categorize.classify(data.products(part)))
    confidence, guesses = logits.softmax(dim=1).max(dim=1)
    true, told = [data.categories[row] for row in rows.tolist()], [model.labels[guess] for guess in guesses.tolist()]
    values = categorization(true, told)
    _add(found, about(data, data.names(rows), rows.tolist()), values)
    found.metrics["macro_f1"] = macro_f1(true, told)
    found.metrics["category_calibration_error"] = calibration_error(confidence.numpy(), values["leaf_accuracy"])
    seen = [data.categories[row] for row in data.rows("train").tolist()]
    found.baselines["leaf_accuracy_most_frequent"] = float(categorization(true, most_frequent(seen, len(true)))["leaf_accuracy"].mean())


def _of_search(data: ProductData, model: Model, found: Evaluation) -> None:
    gallery = data.rows("test")
    vectors = product_embeddings(model.retrieve, data, gallery)
    asked = answers(data.query_pairs, data.query_split, gallery, "test")
    seen = answers(data.view_pairs, data.view_split, gallery, "test")
    for prefix, ids, wanted, batch in (
        ("query_to_product", data.query_ids, asked, data.text_queries),
        ("image_to_product", data.view_ids, seen, data.view_queries),
    ):
        queries = in_batches(torch.tensor(list(wanted)), lambda part, batch=batch: model.retrieve.embed(batch(part)))
        subjects = about(data, [ids[row] for row in wanted], [int(gallery[places[0]]) for places in wanted.values()])
        _add(found, subjects, retrieval(prefix, (queries @ vectors.T).numpy(), list(wanted.values())))
    words = tfidf_scores([data.query_texts[row] for row in asked], [data.documents[row] for row in gallery.tolist()])
    by_words = retrieval("query_to_product", words, list(asked.values()))
    found.baselines["query_to_product_recall@1_tfidf"] = float(by_words["query_to_product_recall@1"].mean())


def save(model: Model, folder: Path) -> None:
    """Writes what training changed, whole."""
    with whole_folder(folder) as aside:
        for task, heads in (("categorize", model.categorize), ("retrieve", model.retrieve)):
            weights = {name: value.contiguous() for name, value in trainable_state(heads).items() if not name.startswith("towers.")}
            save_file(weights, aside / f"{task}.safetensors")
        write_json(aside / "model.json", {"digest": model.digest, "labels": model.labels, "cpu_seconds": model.cpu_seconds})


def load(folder: Path, parent: Heads) -> Model:
    """What `save` wrote, with the towers of the parent."""
    told = read_json(folder / "model.json")
    heads = {"categorize": parent.copied(len(told["labels"])), "retrieve": parent.copied()}
    for task, model in heads.items():
        model.load_state_dict(load_file(folder / f"{task}.safetensors"), strict=False)
    return Model(told["digest"], heads["categorize"].eval(), heads["retrieve"].eval(), told["labels"], told["cpu_seconds"])
