"""Spoken titles: espeak-ng says a text in one of a few voices, and the sound becomes a small Ogg/Opus file.

The same text and voice give the same bytes: the random stream number that the Ogg writer draws is set to zero.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000  # samples a second
VOICES = ("en-gb", "en-gb+f2", "en-us", "en-us+f3", "en-us+m4")

_COMPRESSION = 0.95  # about 20 kbit/s
_POLYNOMIAL = 0x04C11DB7  # of the checksum in an Ogg page


def voice_of(product: str) -> str:
    """The voice that speaks a product's title, drawn by its id."""
    return VOICES[int.from_bytes(hashlib.sha256(f"voice {product}".encode()).digest()[:8], "big") % len(VOICES)]


def speak(text: str, voice: str) -> bytes:
    """`text` as an Ogg/Opus file."""
    command = ["espeak-ng", "-v", voice, "--stdin", "--stdout"]
    wave = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    samples, rate = soundfile.read(BytesIO(wave))
    file = BytesIO()
    soundfile.write(file, resample(samples, rate), RATE, format="OGG", subtype="OPUS", compression_level=_COMPRESSION)
    return without_serial(file.getvalue())


def resample(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """The same sound at `RATE`, which is at most `rate`: frequencies above its half are cut off."""
    length = round(len(samples) * RATE / rate)
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    return np.clip(np.fft.irfft(spectrum, length) * length / len(samples), -1, 1)


def without_serial(ogg: bytes) -> bytes:
    """The same Ogg file as stream number zero."""
    return b"".join(_page_without_serial(page) for page in _pages(ogg))


def _pages(ogg: bytes) -> Iterator[bytes]:
    """An Ogg page is 27 bytes, the last of which counts segments, then the segments' lengths, then the segments."""
    start = 0
    while start < len(ogg):
        lengths = ogg[start + 27 : start + 27 + ogg[start + 26]]
        end = start + 27 + len(lengths) + sum(lengths)
        yield ogg[start:end]
        start = end


def _page_without_serial(page: bytes) -> bytes:
    blank = page[:14] + bytes(4) + page[18:22] + bytes(4) + page[26:]
    return blank[:22] + _checksum(blank).to_bytes(4, "little") + blank[26:]


def _checksum_of_byte(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ _POLYNOMIAL if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


_CHECKSUMS = tuple(_checksum_of_byte(byte) for byte in range(256))


def _checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CHECKSUMS[value >> 24 ^ byte]
    return value
