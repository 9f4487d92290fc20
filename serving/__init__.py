"""Serving: the engine-free predictor and its index, the TorchServe server around them, deployment and the client.

    an answer      request, predictor, fusion, filters, explain, features; how fast: precision, timings; many at once: bulk
    the index      index, nearest, lists, milvus, words, listing, thumbnails, display
    the server     torchserve, goodsight_handler, handler, worker_metrics, running, end_with_parent, management, signals; as commands:
                   model_server, serve; before it the gateway
    a version      archive, deploy, promotion; beside another one: rollout, rollout_moves, sequential
    for watchers   traits, inputs, reference, evidence
    callers        client
"""
