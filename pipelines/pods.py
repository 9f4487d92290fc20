"""What the pods of a pipeline's steps get on a cluster; on one machine all of it is ignored.

kfp-kubernetes has no service account of a step (that of the run counts, see `goodsight pipeline submit`), no priority class, no
read-only root and no fsGroup: the namespace's policies and the volume's owner see to these.
"""

from kfp import dsl, kubernetes

HOME = "/var/lib/goodsight"  # GOODSIGHT_HOME of the image
USER = 10001  # of the image
SECRET, CONFIG = "goodsight", "goodsight-settings"
BY_SECRET = {
    "tracking-uri": "GOODSIGHT_TRACKING_URI",
    "ledger-uri": "GOODSIGHT_LEDGER_URI",
    "predictions-uri": "GOODSIGHT_PREDICTIONS_URI",
    "data-remote": "GOODSIGHT_DATA_REMOTE",
    "online-store": "GOODSIGHT_ONLINE_STORE",
    "milvus-uri": "GOODSIGHT_MILVUS_URI",
    "milvus-token": "GOODSIGHT_MILVUS_TOKEN",
    "openlineage-url": "OPENLINEAGE_URL",
    "openlineage-endpoint": "OPENLINEAGE_ENDPOINT",
    "openlineage-api-key": "OPENLINEAGE_API_KEY",
    "aws-access-key-id": "AWS_ACCESS_KEY_ID",
    "aws-secret-access-key": "AWS_SECRET_ACCESS_KEY",
}
BY_CONFIG = [
    f"GOODSIGHT_{name}"
    for name in (
        "TRAIN_IMAGE",
        "TRAIN_RUNTIME",
        "TRAIN_NODES",
        "TRAIN_GPUS",
        "TRAIN_CPUS",
        "TRAIN_MEMORY",
        "TRAIN_NODE_SELECTOR",
        "NAMESPACE",
        "TRACKING_URI",
        "DATA_REMOTE",
        "SIGNER",
        "DEVICE",
        "MAX_QUARANTINED",
    )
]
LABELS = {"app.kubernetes.io/name": "pipeline-steps", "app.kubernetes.io/component": "pipeline", "app.kubernetes.io/part-of": "goodsight"}
RETRIES = 2  # of a step whose pod was lost, or that another one was in the way of: every step goes on from where it was


def on_cluster(
    task: dsl.PipelineTask, cpu: str = "1", memory: str = "4G", hours: int = 6, shared_memory: str = ""
) -> dsl.PipelineTask:
    """`task`, with what its pod gets: `hours` at the most, and `shared_memory` (a part of `memory`) for processes that share tensors.

    Home is the volume claim `goodsight-home`. Settings come from the config map `goodsight-settings`, what is secret from the
    secret `goodsight`, where they are there; the id of the run from the label that Kubeflow gives the pod.
    """
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(RETRIES, backoff_duration="60s", backoff_factor=2, backoff_max_duration="600s")
    kubernetes.set_timeout(task, hours * 3600)
    kubernetes.mount_pvc(task, pvc_name="goodsight-home", mount_path=HOME)
    if shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=shared_memory)
    kubernetes.use_config_map_as_env(task, CONFIG, {name: name for name in BY_CONFIG}, optional=True)
    kubernetes.use_secret_as_env(task, secret_name=SECRET, secret_key_to_env=BY_SECRET, optional=True)
    kubernetes.use_field_path_as_env(task, env_name="GOODSIGHT_RUN_ID", field_path="metadata.labels['pipeline/runid']")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    for name, value in LABELS.items():
        kubernetes.add_pod_label(task, name, value)
    return task
