"""Media bytes -> pixels and samples, the same way for validation, training and serving.

Bytes come from outside: sizes are read from the header and checked before anything is decoded, only common formats are
tried, and every failure is an `InputError` whose message can be shown to the owner of the file.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from catalogue.video import KINDS, MAX_FRAMES, demuxer_of, file_frames
from goodsight.errors import InputError
from goodsight.settings import settings

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
MAX_AUDIO_SAMPLES = 30_000_000  # over all channels: 5 minutes of stereo at 48 kHz

warnings.filterwarnings(
    "ignore", category=Image.DecompressionBombWarning
)  # our limit is lower; Pillow's error stays on


def _open(data: bytes, kind: str = "image") -> Image.Image:
    """The image with its header read and its size within the limit, not yet decoded; `kind` is what a message calls it."""
    limit = settings().max_image_pixels
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError(f"the {len(data):,} bytes are no {kind} ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"the image is too large: {error}") from error
    except Exception as error:  # a header can be broken in many ways; each is the file's fault, told as such
        raise InputError(f"the image has a broken header: {error}") from error
    width, height = image.size
    if width * height > limit:
        raise InputError(
            f"the image is {width} x {height} px; at most {limit:,} px are allowed (GOODSIGHT_MAX_IMAGE_PIXELS)"
        )
    return image


def _flatten(image: Image.Image) -> Image.Image:
    """RGB, with whatever is transparent on white."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256, "L")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGB", layer.size, "white")
        page.paste(layer, mask=layer.getchannel("A"))
        return page
    return image.convert("RGB")


def decode_image(data: bytes) -> Image.Image:
    """An upright RGB image. Raises `InputError` for bytes that are no whole image or one with too many pixels."""
    image = _open(data)
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _flatten(image)
    except Exception as error:  # as above, for the pixels
        raise InputError(f"the image cannot be decoded: {error}") from error


def video_frames(data: bytes) -> list[Image.Image]:
    """Frames of a video, RGB squares: a video file's (`file_frames`), or those of one image with n square frames side by side.

    Raises `InputError` like `decode_image`.
    """
    if demuxer := demuxer_of(data):
        return file_frames(data, demuxer)
    strip = _open(data, f"video ({KINDS}) and no image")
    width, height = strip.size
    count, rest = divmod(width, height)
    if rest or not 1 <= count <= MAX_FRAMES:
        raise InputError(f"the video is {width} x {height} px, not 1 to {MAX_FRAMES} square frames side by side")
    strip = decode_image(data)
    return [strip.crop((height * frame, 0, height * (frame + 1), height)) for frame in range(count)]


def decode_audio(data: bytes) -> tuple[np.ndarray, int]:
    """Samples as float32 (n,) in [-1, 1], channels averaged, and the sample rate in Hz.

    Raises `InputError` for bytes that are no sound, a sound that ends early, is empty or is too long.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            frames, channels, rate = sound.frames, sound.channels, sound.samplerate
            if frames * channels > MAX_AUDIO_SAMPLES:
                raise InputError(
                    f"the sound has {frames:,} x {channels} samples; at most {MAX_AUDIO_SAMPLES:,} are allowed"
                )
            samples = sound.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"the sound cannot be decoded: {error.error_string}") from error
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"the sound cannot be decoded: {error}") from error
    if not len(samples) or len(samples) < frames:
        raise InputError(f"the sound ends early: {len(samples):,} of {frames:,} samples")
    return samples.mean(axis=1), rate
