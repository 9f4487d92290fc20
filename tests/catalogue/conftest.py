"""Fixtures of the small catalogue that these tests make on the spot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalogue.made import PRODUCTS, Make, Record, flac, greys, jpeg, noise_jpeg, product, query, video_file, write_catalogue


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the media of all products."""
    folder = tmp_path_factory.mktemp("media")
    for kind in ("images", "video", "audio"):
        (folder / kind).mkdir()
    for index in range(PRODUCTS):
        (folder / "images" / f"p{index}.jpg").write_bytes(noise_jpeg(index))
        (folder / "video" / f"p{index}.jpg").write_bytes(jpeg(96, 32, (index, 0, 0)))
        (folder / "audio" / f"p{index}.flac").write_bytes(flac())
    (folder / "video" / "film.mp4").write_bytes(video_file(greys([40, 120, 200])))
    (folder / "video" / "cut.mp4").write_bytes(video_file(greys([40, 120, 200]), muxer="moov_size=4000")[:-20])
    return folder


@pytest.fixture
def make_catalogue(tmp_path: Path, media: Path) -> Make:
    """Writes a catalogue folder with these products and queries (default: twelve good ones) and returns it."""

    def make(
        products: list[Record | str] | None = None, queries: list[Record] | None = None, name: str = "shop"
    ) -> Path:
        good = [product(index) for index in range(PRODUCTS)], [query(index) for index in range(PRODUCTS)]
        chosen = (good[0] if products is None else products), (good[1] if queries is None else queries)
        return write_catalogue(tmp_path / name, media, *chosen)

    return make


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a bucket in a server that speaks S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="versions")
        yield "s3://versions/shop"
    server.stop()
