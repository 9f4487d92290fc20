"""Step 10: model archive, TorchServe, smoke test on real inputs, switch; only then is the version champion."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROBES = 3  # products, and as many queries


def deploy(
    candidate: Path, index: Path, snapshot: Path, store: Path, version: str, champion: str, release: str, deployment: Path
) -> str:
    """Serves `version` with a copy of the feature store `store` and makes it champion in the place of `champion` (empty: there was
    none), with which the gate compared it. Returns the endpoint.

    When `release` is `rollout` and there is a champion, it only keeps what the version is served with, for `goodsight rollout
    start`, and returns an empty text. Raises `RefusedError` when the smoke test fails and `ConflictError` when another version
    became champion meanwhile: what served before goes on serving, and the champion stays.
    """
    from dataclasses import asdict

    import serving.deploy
    from goodsight.files import write_json
    from goodsight.progress import note
    from goodsight.settings import settings
    from lineage.record import PIPELINE
    from lineage.registry import Parts, keep_parts
    from serving.promotion import take_over

    parts = Parts(candidate, index, store, [asdict(probe) for probe in probes(snapshot)])
    if release == "rollout" and champion:
        keep_parts(version, parts)
        note(f"version {version} does not serve yet: goodsight rollout start {version} --reason WHY brings it in")
        write_json(deployment, {"version": version, "endpoint": ""})
        return ""
    served = take_over(version, parts, champion or None, PIPELINE, "promoted by the gate", settings().root)
    endpoint = serving.deploy.endpoint()
    write_json(deployment, {**asdict(served), "endpoint": endpoint})
    return endpoint


def probes(snapshot: Path) -> Iterator[Any]:
    """Requests of every task on real inputs: held-out products by title, by image, by all that they have and by their id, and
    held-out text queries.
    """
    import base64
    import json

    from catalogue.snapshot import Snapshot
    from serving.deploy import Probe
    from serving.request import MAX_ATTRIBUTES_CHARACTERS, max_media_bytes

    opened = Snapshot.open(snapshot)
    columns = ["id", "title", "images", "attributes", "video", "audio", "split"]
    for number, row in enumerate(_first(opened.product_batches(columns), PROBES)):
        media = {"image": (row["images"] or [None])[0], "video": row["video"], "audio": row["audio"]}
        together = max_media_bytes() // len(media)  # a body holds them all
        fields = {name: base64.b64encode(data).decode() for name, data in media.items() if data and len(data) <= together}
        table = row["attributes"] or "{}"
        whole = {"text": row["title"], "attributes": json.loads(table) if len(table) <= MAX_ATTRIBUTES_CHARACTERS else {}, **fields}
        yield Probe(f"categorize-text-{number}", {"task": "categorize", "text": row["title"]})
        yield Probe(f"categorize-whole-{number}", {"task": "categorize", **whole})
        yield Probe(f"embed-whole-{number}", {"task": "embed", **whole})
        yield Probe(f"similar-{number}", {"task": "similar", "product": row["id"]})
        yield Probe(f"recommend-{number}", {"task": "recommend", "text": row["title"], "liked": [row["id"]]})
        if "image" in fields:
            yield Probe(f"categorize-image-{number}", {"task": "categorize", "image": fields["image"]})
            yield Probe(f"search-image-{number}", {"task": "search", "image": fields["image"]})
    for number, row in enumerate(_first(opened.query_batches(["text", "kind", "split"]), PROBES)):
        yield Probe(f"search-text-{number}", {"task": "search", "text": row["text"]})


def _first(batches: Any, count: int) -> list[dict[str, Any]]:
    """The first `count` held-out rows that are no image or voice query."""
    found: list[dict[str, Any]] = []
    for batch in batches:
        found += [row for row in batch.to_pylist() if row["split"] == "test" and row.get("kind", "text") == "text"]
        if len(found) >= count:
            break
    return found[:count]
