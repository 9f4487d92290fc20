"""Serving: the engine-free predictor and its index, the TorchServe server around them, deployment and the client."""
