"""SCALE's pretraining: inter-modality contrast weighted by the samples themselves (SIMCL), and a masked task a modality.

One update a step; contrast and masked tasks see the same masked inputs, as in the released code (papers.md 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.architectures.scale import GLOBAL, SCALE
from models.dataset import MASKS, Batch, ProductData
from models.distributed import gather, own_generator, share, together
from models.draws import uniform
from models.objectives.masking import IGNORED, mask_pairs, mask_positions, mask_words
from models.objectives.simcl import SIMCL_MODES, modality_scores, simcl, weighted_cross_entropy, weighted_regression
from models.preprocess import Preprocess
from models.pretraining.batches import Losses, reread, special_tokens
from models.recipes import Recipe
from models.sampling import epoch_rows, whole_share
from models.training import Update, Updates

TASKS_OF = {"text": "mlm", "image": "mrm", "table": "mem", "video": "mfm", "audio": "mam"}
FAMILIES = ("simcl", *TASKS_OF.values())
TEMPERATURE = 0.07


def mask_inputs(
    model: SCALE, page: Batch, preprocess: Preprocess, rng: torch.Generator
) -> tuple[Batch, dict[str, Tensor]]:
    """The page with a share of every modality masked; word labels `(B, L)`, and bool `(B, L)` of masked features."""
    asked: dict[str, Tensor] = {}
    masked = dict(page)
    for name in ("text", "table"):
        if f"{name}_ids" in page:
            ids, mask = page[f"{name}_ids"], page[MASKS[name]]
            if name == "text":
                special = special_tokens(preprocess, ids, mask)
                found, asked[name] = mask_words(ids, special, preprocess.mask_id, model.towers.text.vocabulary, rng)
            else:
                found, asked[name] = mask_pairs(ids, page["table_parts"], preprocess.mask_id, rng)
            masked = reread(model, masked, name, found)
    for name in GLOBAL:
        if f"{name}_tokens" in page:
            asked[name] = mask_positions(page[MASKS[name]], rng)
            zeroed = asked[name]
            if name == "image":  # a tenth of the regions keep their features
                zeroed = zeroed & (uniform(zeroed.shape, rng, zeroed.device) < 0.9)
            masked[f"{name}_tokens"] = page[f"{name}_tokens"].masked_fill(zeroed[..., None], 0.0)
    return masked, asked


def scale_update(model: SCALE, page: Batch, groups: Tensor, recipe: Recipe, preprocess: Preprocess, rng: torch.Generator) -> Losses:
    """All six losses of one batch of products, weights 1. Contrast is over the batch of all processes: groups `(R * B,)`."""
    wanted = recipe.objectives or FAMILIES
    mode = simcl_mode(model)
    page = model.encode(page)
    masked, asked = mask_inputs(model, page, preprocess, rng)
    encoded = model.encode_modalities(masked)
    losses: Losses = {}
    if "simcl" in wanted:
        vectors, present = model.pooled(encoded)
        losses["simcl"] = simcl(gather(vectors), gather(present), groups, TEMPERATURE, mode)
    hidden = model.fuse(encoded)
    first = torch.stack([states[:, 0] for states in hidden.values()], dim=1)
    present = torch.stack([one.present for one in encoded.values()], dim=1)
    weights = modality_scores(first, present).diagonal(dim1=1, dim2=2)  # (B, M)
    for place, (name, states) in enumerate(hidden.items()):
        task, weight = TASKS_OF[name], weights[:, place]
        if task not in wanted:
            continue
        if name in GLOBAL:
            chosen = asked[name]
            predicted = model.feature_heads[name](states[:, 1:][chosen])
            targets = page[f"{name}_tokens"][chosen]
            losses[task] = weighted_regression(predicted, targets, weight[chosen.nonzero()[:, 0]], mode)
        else:
            labels = asked[name]
            chosen = labels != IGNORED
            logits = model.word_logits(states[:, : labels.shape[1]][chosen])
            losses[task] = weighted_cross_entropy(logits, labels[chosen], weight[chosen.nonzero()[:, 0]], mode)
    return losses


def simcl_mode(model: SCALE) -> str:
    """The mode that the model's variant names; the released code's by default."""
    return next((mode for mode in SIMCL_MODES if mode in model.config.variant), "logit_scale")


def updates(model: SCALE, data: ProductData, pages: Tensor, preprocess: Preprocess, recipe: Recipe) -> Updates:
    """One update a step over the training products: `pages` and those that lack a modality."""
    rows = data.rows("train", "catalogue")
    size = whole_share(recipe.fused, len(rows))

    def step_updates(step: int) -> list[Update]:
        drawn = rows[epoch_rows(len(rows), size, step, recipe.seed)]
        rng = own_generator(recipe.seed, step)

        def losses(page: Batch) -> Losses:
            return scale_update(model, page, data.groups[together(drawn)].to(model.device), recipe, preprocess, rng)

        return [Update(lambda: data.products(share(drawn)), losses, lambda: data.names(drawn))]

    return step_updates
