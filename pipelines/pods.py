"""What the pods of a pipeline's steps get on a cluster; on one machine all of it is ignored."""

from kfp import dsl, kubernetes

HOME = "/var/lib/goodsight"  # GOODSIGHT_HOME of the image
ELSEWHERE = {
    "tracking-uri": "GOODSIGHT_TRACKING_URI",
    "ledger-uri": "GOODSIGHT_LEDGER_URI",
    "openlineage-url": "OPENLINEAGE_URL",
    "openlineage-endpoint": "OPENLINEAGE_ENDPOINT",
    "openlineage-api-key": "OPENLINEAGE_API_KEY",
}


def on_cluster(task: dsl.PipelineTask, cpu: str = "1", memory: str = "4G") -> dsl.PipelineTask:
    """`task`, with what its pod gets.

    Home is the volume claim `goodsight-home`; where databases and lineage are comes from the secret `goodsight`, if there is
    one; the id of the run from the label that Kubeflow gives the pod.
    """
    task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    kubernetes.mount_pvc(task, pvc_name="goodsight-home", mount_path=HOME)
    kubernetes.use_secret_as_env(task, secret_name="goodsight", secret_key_to_env=ELSEWHERE, optional=True)
    kubernetes.use_field_path_as_env(task, env_name="GOODSIGHT_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    return task
