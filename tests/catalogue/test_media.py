"""Decoding: limits are checked before pixels exist, and every broken file has a reason that can be read."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogue.media import decode_audio, decode_image, video_frames
from goodsight.errors import InputError
from tests.catalogue.made import flac, jpeg, noise_jpeg


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = decode_image(_saved(Image.new(mode, (5, 3)), kind))
    assert image.mode == "RGB" and image.size == (5, 3)


def test_transparency_is_flattened_on_white() -> None:
    data = _saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG")
    assert decode_image(data).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_brightness() -> None:
    data = _saved(Image.fromarray(np.full((2, 2), 40_000, dtype=np.uint16)), "PNG")
    assert decode_image(data).getpixel((0, 0)) == (156, 156, 156)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[274] = 6
    assert decode_image(_saved(image, "JPEG", exif=exif)).size == (4, 8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_png_that_claims(10_000, 10_000), "10000 x 10000 px; at most 40,000,000 px"),
        (_png_that_claims(2**31 - 1, 2**31 - 1), "the image is too large"),
        (noise_jpeg(1)[:1500], "cannot be decoded"),
        (b"", "no image"),
        (b"<svg/>", "no image"),
        (flac(), "no image"),
    ],
)
def test_bad_images_have_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode_image(data)


def test_a_strip_gives_its_frames() -> None:
    pixels = np.zeros((32, 96, 3), dtype=np.uint8)
    pixels[:, 32:64] = 255
    frames = video_frames(_saved(Image.fromarray(pixels), "PNG"))
    assert [frame.size for frame in frames] == [(32, 32)] * 3
    assert [frame.getpixel((16, 16))[0] for frame in frames] == [0, 255, 0]


@pytest.mark.parametrize("size", [(100, 32), (32, 64), (1000, 1)])
def test_a_strip_without_square_frames_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="square frames"):
        video_frames(jpeg(*size))


def test_sound_becomes_mono_samples() -> None:
    samples, rate = decode_audio(flac(seconds=0.5))
    assert samples.shape == (8000,) and samples.dtype == np.float32 and rate == 16_000
    assert np.abs(samples).max() <= 1


@pytest.mark.parametrize("data", [b"", b"RIFF....WAVE", jpeg(8, 8), flac()[:200], flac(1.0)[:-4000]])
def test_bad_sounds_have_a_reason(data: bytes) -> None:
    with pytest.raises(InputError, match="the sound"):
        decode_audio(data)


@settings(deadline=None)
@given(position=st.integers(0, 5000), value=st.integers(0, 255), cut=st.integers(0, 5000))
def test_damaged_bytes_decode_or_are_refused(position: int, value: int, cut: int) -> None:
    for decode, data in ((decode_image, noise_jpeg(2)), (video_frames, jpeg(96, 32)), (decode_audio, flac())):
        damaged = bytearray(data)
        damaged[position % len(data)] = value
        try:
            decode(bytes(damaged[: max(1, len(data) - cut)]))
        except InputError as error:
            assert error.message
