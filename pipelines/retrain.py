"""The retraining pipeline: from a catalogue version to a served model. Read this file to see the whole way.

Every step gets the digest of the code it imports, so that a cache hit means: same code, same arguments, same inputs.
"""

from kfp import dsl, kubernetes

from components.deploy import deploy_component
from components.evaluate import evaluate_component
from components.features import features_component
from components.finetune import finetune_component
from components.finish import finish_component
from components.gate import gate_component
from components.index import index_component
from components.pretrain import pretrain_component
from components.register import register_component
from components.snapshot import snapshot_component
from components.validate import validate_component
from goodsight.digests import code_digest
from models.config import TASKS

HOME = "/var/lib/goodsight"  # GOODSIGHT_HOME of the image
ELSEWHERE = {
    "tracking-uri": "GOODSIGHT_TRACKING_URI",
    "ledger-uri": "GOODSIGHT_LEDGER_URI",
    "openlineage-url": "OPENLINEAGE_URL",
    "openlineage-endpoint": "OPENLINEAGE_ENDPOINT",
    "openlineage-api-key": "OPENLINEAGE_API_KEY",
}
STEPS = ("snapshot", "validate", "features", "pretrain", "finetune", "evaluate", "gate", "register", "index", "deploy")
CODE = {name: code_digest(f"components.steps.{name}") for name in STEPS}


def _on_cluster(task: dsl.PipelineTask, cpu: str = "1", memory: str = "4G") -> dsl.PipelineTask:
    """What a pod of the step gets; on one machine all of it is ignored.

    Home is the volume claim `goodsight-home`; where databases and lineage are comes from the secret `goodsight`, if there is
    one; the id of the run from the label that Kubeflow gives the pod.
    """
    task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    kubernetes.mount_pvc(task, pvc_name="goodsight-home", mount_path=HOME)
    kubernetes.use_secret_as_env(task, secret_name="goodsight", secret_key_to_env=ELSEWHERE, optional=True)
    kubernetes.use_field_path_as_env(task, env_name="GOODSIGHT_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    return task


@dsl.pipeline(name="goodsight-retrain", description="From a product catalogue to a gated, registered, served model.")
def retrain(
    revision: str,
    architecture: str = "commercemm",
    size: str = "small",
    seed: int = 17,
    champion: str = "",
    max_quarantined: float = 0.2,
    policy: str = "",
    overrides: str = "",
    run_id: str = "",
) -> None:
    """`revision` is a version of the catalogue, `champion` the registered version to compare with (empty: none serves),

    `policy` the YAML text of the gate's policy (empty: the one of this release). The gate reads the overrides in the
    ledger; `overrides` is their digest, so that it judges again when they change.
    """
    exit_task = _on_cluster(finish_component(run_id=run_id, revision=revision))
    exit_task.set_caching_options(False)
    with dsl.ExitHandler(exit_task, name="run"):
        raw = _on_cluster(snapshot_component(revision=revision, code=CODE["snapshot"])).outputs["snapshot"]
        checked = _on_cluster(validate_component(raw=raw, max_quarantined=max_quarantined, code=CODE["validate"]))
        data = checked.outputs["snapshot"]
        with dsl.If(checked.outputs["Output"] == "passed", name="data-passed"):
            features = _on_cluster(features_component(snapshot=data, code=CODE["features"]))
            table = features.outputs["table"]
            shape = {"architecture": architecture, "size": size, "seed": seed}
            pretrained = pretrain_component(snapshot=data, table=table, code=CODE["pretrain"], **shape)
            _on_cluster(pretrained, cpu="4", memory="16G")
            with dsl.ParallelFor(list(TASKS), name="tasks", parallelism=1) as task:
                tuned = finetune_component(
                    task=task,
                    pretrained=pretrained.outputs["bundle"],
                    snapshot=data,
                    table=table,
                    seed=seed,
                    code=CODE["finetune"],
                )
                _on_cluster(tuned, cpu="4", memory="16G")
            measured = evaluate_component(
                bundles=dsl.Collected(tuned.outputs["bundle"]),
                pretraining=pretrained.outputs["curve"],
                snapshot=data,
                table=table,
                champion=champion,
                code=CODE["evaluate"],
            )
            _on_cluster(measured, memory="8G")
            judged = gate_component(
                evaluation=measured.outputs["evaluation"],
                champion_evaluation=measured.outputs["champion_evaluation"],
                policy=policy,
                overrides=overrides,
                code=CODE["gate"],
            )
            _on_cluster(judged)
            with dsl.If(judged.outputs["Output"] == "promote", name="promoted"):
                registered = register_component(
                    candidate=measured.outputs["candidate"],
                    evaluation=measured.outputs["evaluation"],
                    verdict=judged.outputs["verdict"],
                    plots=measured.outputs["plots"],
                    snapshot=data,
                    revision=revision,
                    code=CODE["register"],
                    **shape,
                )
                _on_cluster(registered)
                bundle = registered.outputs["registered"]
                index = index_component(
                    candidate=bundle, snapshot=data, table=table, store=features.outputs["store"], code=CODE["index"]
                )
                _on_cluster(index, memory="8G")
                deployed = deploy_component(
                    candidate=bundle,
                    index=index.outputs["index"],
                    snapshot=data,
                    store=features.outputs["store"],
                    version=registered.outputs["Output"],
                    champion=champion,
                    code=CODE["deploy"],
                )
                _on_cluster(deployed)
