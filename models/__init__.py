"""PyTorch only: towers, architectures, objectives, training, evaluation and the bundle. Knows no orchestrator, registry or server."""
