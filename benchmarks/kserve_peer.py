"""The same predictor in KServe's own server, as its documentation has a custom model: the peer of `gateway.py`, which starts it.

    python benchmarks/kserve_peer.py ARCHIVE --http_port 8090
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kserve import Model, ModelServer, model_server

from serving.handler import load


class Peer(Model):
    def __init__(self, archive: Path) -> None:
        super().__init__("goodsight")
        self.predictor = load(archive)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: dict[str, str] | None = None, response_headers: Any = None) -> dict[str, Any]:
        return {"predictions": [self.predictor.predict(request) for request in payload["instances"]]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    ModelServer(enable_grpc=False, access_log_format="").start([Peer(arguments.archive)])
