"""The gateway: `/v1` over HTTP, answered by the model server that stands behind it on loopback.

`app` puts the routes together, `server` keeps them up and drains them, `boundary` is what every request passes, `bodies` reads what
was asked, `asking` has it answered, and `upstream` is the one place that talks to TorchServe for predictions.
"""
