"""The retraining pipeline: from a catalogue version to a served model. Read this file to see the whole way.

Every step gets the digest of the code it imports, so that a cache hit means: same code, same arguments, same inputs.
"""

from kfp import dsl

from components.deploy import deploy_component
from components.evaluate import evaluate_component
from components.features import features_component
from components.finetune import finetune_component
from components.finish import finish_component
from components.gate import gate_component
from components.index import index_component
from components.pretrain import pretrain_component
from components.register import register_component
from components.resolve import resolve_component
from components.snapshot import snapshot_component
from components.validate import validate_component
from goodsight.digests import code_digest
from models.config import TASKS
from pipelines.pods import on_cluster

STEPS = ("resolve", "snapshot", "validate", "features", "pretrain", "finetune", "evaluate", "gate", "register", "index", "deploy")
CODE = {name: code_digest(f"components.steps.{name}") for name in STEPS}


@dsl.pipeline(name="goodsight-retrain", description="From a product catalogue to a gated, registered, served model.")
def retrain(
    revision: str = "newest",
    architecture: str = "commercemm",
    size: str = "small",
    seed: int = 17,
    champion: str = "current",
    max_quarantined: float = 0.2,
    policy: str = "",
    overrides: str = "current",
    release: str = "switch",
    run_id: str = "",
) -> None:
    """`revision` is a version of the catalogue (`newest`: the one imported last), `champion` the registered version to compare with

    (`current`: the one that is champion when the run begins; empty: none serves), `policy` the YAML text of the gate's policy
    (empty: the one of this release). The gate reads the overrides in the ledger; `overrides` is their digest (`current`: of
    those in force), so that it judges again when they change. `release` is how the version comes to serve: `switch` at once,
    `rollout` by `goodsight rollout start`.
    """
    exit_task = on_cluster(finish_component(run_id=run_id, revision=revision))
    exit_task.set_caching_options(False)
    with dsl.ExitHandler(exit_task, name="run"):
        named = on_cluster(
            resolve_component(revision=revision, champion=champion, overrides=overrides, run_id=run_id, code=CODE["resolve"])
        )
        named.set_caching_options(False)
        version, reigning = named.outputs["revision"], named.outputs["champion"]
        raw = on_cluster(snapshot_component(revision=version, code=CODE["snapshot"])).outputs["snapshot"]
        checked = on_cluster(validate_component(raw=raw, max_quarantined=max_quarantined, code=CODE["validate"]))
        data = checked.outputs["snapshot"]
        with dsl.If(checked.outputs["Output"] == "passed", name="data-passed"):
            features = on_cluster(features_component(snapshot=data, code=CODE["features"]))
            table = features.outputs["table"]
            shape = {"architecture": architecture, "size": size, "seed": seed}
            pretrained = pretrain_component(snapshot=data, table=table, code=CODE["pretrain"], **shape)
            on_cluster(pretrained, cpu="4", memory="16G", hours=24 * 7, shared_memory="4Gi")
            with dsl.ParallelFor(list(TASKS), name="tasks", parallelism=1) as task:
                tuned = finetune_component(
                    task=task,
                    pretrained=pretrained.outputs["bundle"],
                    snapshot=data,
                    table=table,
                    seed=seed,
                    code=CODE["finetune"],
                )
                on_cluster(tuned, cpu="4", memory="16G", hours=24, shared_memory="4Gi")
            measured = evaluate_component(
                bundles=dsl.Collected(tuned.outputs["bundle"]),
                pretraining=pretrained.outputs["curve"],
                snapshot=data,
                table=table,
                champion=reigning,
                code=CODE["evaluate"],
            )
            on_cluster(measured, memory="8G")
            judged = gate_component(
                evaluation=measured.outputs["evaluation"],
                champion_evaluation=measured.outputs["champion_evaluation"],
                policy=policy,
                overrides=named.outputs["overrides"],
                code=CODE["gate"],
            )
            on_cluster(judged)
            with dsl.If(judged.outputs["Output"] == "promote", name="promoted"):
                registered = register_component(
                    candidate=measured.outputs["candidate"],
                    evaluation=measured.outputs["evaluation"],
                    verdict=judged.outputs["verdict"],
                    plots=measured.outputs["plots"],
                    snapshot=data,
                    revision=version,
                    code=CODE["register"],
                    **shape,
                )
                on_cluster(registered)
                bundle = registered.outputs["registered"]
                index = index_component(
                    candidate=bundle, snapshot=data, table=table, store=features.outputs["store"], code=CODE["index"]
                )
                on_cluster(index, memory="8G")
                deployed = deploy_component(
                    candidate=bundle,
                    index=index.outputs["index"],
                    snapshot=data,
                    store=features.outputs["store"],
                    version=registered.outputs["Output"],
                    champion=reigning,
                    release=release,
                    code=CODE["deploy"],
                )
                on_cluster(deployed)
