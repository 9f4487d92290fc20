"""The bulk pipeline: what one model says of every product of a catalogue's version, the parts side by side."""

from kfp import dsl

from components.bulk_merge import bulk_merge_component
from components.bulk_parts import bulk_parts_component
from components.bulk_predict import bulk_predict_component
from components.snapshot import snapshot_component
from goodsight.digests import code_digest
from pipelines.pods import on_cluster

CODE = {name: code_digest(f"components.steps.{name}") for name in ("snapshot", "bulk")}
PODS = 8  # at once


@dsl.pipeline(name="goodsight-bulk", description="The vectors or categories of every product of a catalogue's version.")
def bulk(task: str, revision: str, version: str, k: int = 5, rows: int = 1024) -> None:
    """`task` is `embed` or `categorize`, `version` a registered model; `k` categories a product, `rows` products a part."""
    data = on_cluster(snapshot_component(revision=revision, code=CODE["snapshot"])).outputs["snapshot"]
    parts = on_cluster(bulk_parts_component(snapshot=data, rows=rows, code=CODE["bulk"]))
    with dsl.ParallelFor(parts.output, name="parts", parallelism=PODS) as part:
        answered = bulk_predict_component(snapshot=data, task=task, version=version, k=k, part=part, code=CODE["bulk"])
        on_cluster(answered, cpu="2")
    on_cluster(bulk_merge_component(parts=dsl.Collected(answered.outputs["answers"]), revision=revision, code=CODE["bulk"]))
