"""Video files: frames evenly spread and upright, whatever the codec; every limit holds and every fault has a reason."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogue import video
from catalogue.media import video_frames
from goodsight.errors import InputError
from goodsight.settings import settings as platform
from tests.catalogue.made import greys, jpeg, video_file

FRAGMENTS, HEADER_FIRST = "movflags=frag_keyframe+empty_moov", "moov_size=8000"
SHADES = [20 + 4 * place if place % 2 == 0 else 235 for place in range(48)]  # one of two is looked at
CODECS = [
    ("mpeg4", "mp4", {"b": "2000000"}),
    ("libx264", "mp4", {}),
    ("libx264", "mov", {"g": "5"}),
    ("libx264", "matroska", {}),
    ("libx265", "mp4", {"x265-params": "log-level=none:keyint=20"}),
    ("libvpx", "webm", {"deadline": "realtime"}),
    ("libvpx-vp9", "webm", {"deadline": "realtime", "g": "10"}),
    ("libsvtav1", "webm", {"preset": "10"}),
]


def seen(frames: list[Image.Image]) -> list[int]:
    """The shade in the middle of each frame."""
    return [frame.getpixel((frame.width // 2, frame.height // 2))[1] for frame in frames]  # type: ignore[index]


@lru_cache
def film(kind: str = "mp4", muxer: str = "") -> bytes:
    """Two seconds of moving colours."""
    across, down = np.meshgrid(np.arange(64), np.arange(48))
    pictures = (np.stack([across * 4, down * 5, (across + down + 9 * time) % 256], axis=-1).astype(np.uint8) for time in range(20))
    codec = "libvpx-vp9" if kind == "webm" else "libx264"
    return video_file(pictures, codec, kind, muxer=muxer, **({"deadline": "realtime"} if kind == "webm" else {"g": "8"}))


def patched(data: bytes, box: bytes, offset: int, *values: int) -> bytes:
    """The file with these 32-bit values at `offset` after the name of its first box `box`."""
    found = bytearray(data)
    struct.pack_into(f">{len(values)}i", found, found.index(box) + offset, *values)
    return bytes(found)


@pytest.mark.parametrize(("codec", "kind", "options"), CODECS)
def test_every_codec_gives_squares_evenly_spread(codec: str, kind: str, options: dict[str, str]) -> None:
    frames = video_frames(video_file(greys(SHADES), codec, kind, **options))
    assert {(frame.size, frame.mode) for frame in frames} == {((64, 64), "RGB")}
    assert seen(frames) == pytest.approx(SHADES[::2], abs=8)


def test_a_short_video_gives_every_frame_once() -> None:
    assert seen(video_frames(video_file(greys([40, 120, 200])))) == pytest.approx([40, 120, 200], abs=5)


def test_a_fragmented_video_and_one_with_its_header_first() -> None:
    for muxer in (FRAGMENTS, HEADER_FIRST):
        assert len(video_frames(film(muxer=muxer))) == 20


def test_a_wide_picture_is_resized_whole() -> None:
    picture = np.zeros((360, 1280, 3), dtype=np.uint8)
    picture[:, :320], picture[:, 960:] = 80, 240
    (frame,) = video_frames(video_file([picture]))
    row = np.asarray(frame)[256, :, 1]
    assert frame.size == (512, 512)
    assert [int(row[place]) for place in (10, 118, 138, 374, 394, 500)] == pytest.approx([80, 80, 0, 0, 240, 240], abs=6)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda grid: grid),
        ((0, 1, -1, 0), lambda grid: np.rot90(grid, -1)),  # a phone held upright
        ((-1, 0, 0, -1), lambda grid: np.rot90(grid, 2)),
        ((0, -1, 1, 0), lambda grid: np.rot90(grid)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), np.transpose),
        ((0, -1, -1, 0), lambda grid: np.rot90(grid, 2).T),
    ],
)
def test_the_display_matrix_is_applied(matrix: tuple[int, ...], turned: Callable[[np.ndarray], np.ndarray]) -> None:
    grid = np.array([[60, 250], [120, 180]])
    picture = np.kron(grid, np.ones((24, 32)))[..., None].repeat(3, axis=-1).astype(np.uint8)
    a, b, c, d = (value << 16 for value in matrix)
    data = patched(video_file([picture]), b"tkhd", 4 + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (frame,) = video_frames(data)
    found = [[frame.getpixel((x, y))[1] for x in (16, 48)] for y in (16, 48)]  # type: ignore[index]
    assert np.abs(np.array(found) - turned(grid)).max() < 6


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of packets that are given to the decoder from now on."""
    counts: list[int] = []
    real = video._decoded
    monkeypatch.setattr(video, "_decoded", lambda stream, packets, times: (counts.append(len(packets)), real(stream, packets, times))[1])
    return counts


def test_ten_minutes_are_seen_to_their_end_with_few_frames_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = decoded(monkeypatch)
    data = video_file(greys(np.linspace(10, 250, 3000), 16, 16), rate=5, g="100", preset="ultrafast")
    shades = seen(video_frames(data))
    assert len(shades) == video.FRAMES and 24 <= sum(counts) <= video.MAX_FRAMES
    assert np.abs(np.array(shades) - np.linspace(10, 250, 25)[:24]).max() < 7  # half the way between two keyframes is 4 shades


def test_large_frames_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", 30 * 64 * 48)
    counts = decoded(monkeypatch)
    assert 10 <= len(video_frames(video_file(greys(SHADES)))) <= 15 and sum(counts) <= 30


def test_between_two_keyframes_far_apart_all_that_the_budget_allows_is_decoded() -> None:
    runs = video._plan(list(range(300)), [0, 250], 256)
    assert [(run.start, run.length) for run in runs] == [(0, 218), (250, 38)]


STAND_INS = {180, *range(190, 2400, 100)}  # a keyframe that stands in for a frame out of reach, when the budget is used up
gaps = st.lists(st.tuples(st.booleans(), st.integers(1, 900)), max_size=600)


@given(gaps, st.integers(2, video.MAX_FRAMES))
@example([(False, 1)] * 900, 256)
@example([(place in STAND_INS, 1) for place in range(1, 2400)], 256)
def test_a_plan_stays_within_its_budget(marks: list[tuple[bool, int]], budget: int) -> None:
    times = np.cumsum([0, *(gap for _, gap in marks)]).tolist()
    keys = [True, *(key for key, _ in marks)]
    runs = video._plan(times, [place for place, key in enumerate(keys) if key], budget)
    assert 1 <= sum(run.length for run in runs) <= budget
    assert all(keys[run.start] and not any(keys[run.start + 1 : run.start + run.length]) for run in runs)
    assert all(times[run.start] <= time <= times[run.start + run.length - 1] for run in runs for time in run.times)
    assert 1 <= len({time for run in runs for time in run.times}) <= video.FRAMES
    wanted = video._even(times, min(video.FRAMES, budget // 2))
    if len(times) <= budget // 2:
        assert sorted(time for run in runs for time in run.times) == wanted


def with_streams(count: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        streams = [container.add_stream("mpeg4", rate=5) for _ in range(count)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for stream in streams:
            container.mux([*stream.encode(av.VideoFrame(16, 16)), *stream.encode()])
    return buffer.getvalue()


def sound_alone() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode()])
    return buffer.getvalue()


def noise(found: re.Match[bytes]) -> bytes:
    """The first half of what was found, then noise of its length."""
    half = len(found[0]) // 2
    return found[0][:half] + b"\xa5" * (len(found[0]) - half)


def without_frames() -> bytes:
    """A WebM whose clusters are blanked out."""
    data = film("webm")
    start = data.index(b"\x1f\x43\xb6\x75")
    return data[:start] + b"\xec\x01" + (len(data) - start - 9).to_bytes(7) + bytes(len(data) - start - 9)


FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: film()[:-100], "the video (ends early|cannot be decoded)"),
    "cut after its header": (lambda: film(muxer=HEADER_FIRST)[:-500], r"ends early: [\d,]+ of at least [\d,]+ bytes"),
    "cut WebM": (lambda: film("webm")[:-50], r"ends early: [\d,]+ of [\d,]+ bytes"),
    "cut MKV": (lambda: film("matroska")[:-50], r"ends early: [\d,]+ of [\d,]+ bytes"),
    "header alone": (lambda: film()[:40], "the video"),
    "sound alone": (sound_alone, "no pictures, only audio"),
    "no frames": (without_frames, "ends early, or has no frames"),
    "another codec": (lambda: video_file(greys([9, 90]), "ffv1", "matroska"), "codec is ffv1; known are H.264"),
    "streams of an MP4": (lambda: with_streams(17, "mp4"), "17 streams; at most 16"),
    "streams of an MKV": (lambda: with_streams(17, "matroska"), "17 streams; at most 16"),
    "far too many streams": (lambda: with_streams(65, "mp4"), "more than 64 streams"),
    "samples that are not there": (lambda: patched(film(), b"stsz", 8, 1, 10**8), "promises 100,000,000 samples"),
    "the same in a fragment": (lambda: patched(film(muxer=FRAGMENTS), b"trun", 8, 10**8), "promises 100,000,0.. samples"),
    "fewer samples than said": (lambda: patched(film(), b"stco", 12, 10**8), "ends early: 0 of 20 frames"),
    "noise for pictures": (lambda: re.sub(rb"(?s)(?<=mdat).*(?=.{4}moov)", noise, film()), "cannot be decoded: Invalid data"),
    "a picture of the iPhone": (lambda: b"\0\0\0\x18ftypheic" + bytes(12), "no video .* and no image"),
    "a playlist": (lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n", "no video .MP4, MOV, WebM, MKV. and no image"),
    "a list of files": (lambda: b"ffconcat version 1.0\nfile /etc/hostname\n", "no video .* and no image"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_reason(fault: str) -> None:
    make, reason = FAULTS[fault]
    with pytest.raises(InputError, match=reason) as caught:
        video_frames(make())
    assert len(caught.value.message) < 250 and "\n" not in caught.value.message


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_a_long_video_is_refused_before_it_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = decoded(monkeypatch)
    data = video_file(greys([9] * 920, 16, 16), kind=kind, rate=1, preset="ultrafast")
    with pytest.raises(InputError, match="the video is 920 seconds long; at most 900 are allowed"):
        video_frames(data)
    assert counts == []


def test_a_large_frame_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = decoded(monkeypatch)
    monkeypatch.setattr(video, "settings", lambda: platform().model_copy(update={"max_image_pixels": 64 * 48 - 1}))
    with pytest.raises(InputError, match="the video is 64 x 48 px; at most 3,071 px are allowed .GOODSIGHT_MAX_IMAGE_PIXELS."):
        video_frames(film())
    assert counts == []


def test_frames_that_outgrow_their_header_are_refused() -> None:
    """A stream of 64 x 48 px whose later packets are those of one of 1600 x 1200."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        small = [packet for picture in greys([9]) for packet in stream.encode(av.VideoFrame.from_ndarray(picture))]
        container.mux([*small, *stream.encode()])
        large = av.CodecContext.create("mpeg4", "w")
        large.width, large.height, large.pix_fmt, large.time_base = 1600, 1200, "yuv420p", stream.time_base  # type: ignore[attr-defined]
        for number, packet in enumerate([*large.encode(av.VideoFrame(1600, 1200)), *large.encode()], 1):  # type: ignore[attr-defined]
            packet.stream, packet.pts, packet.dts = stream, number * 2000, number * 2000
            container.mux(packet)
    with pytest.raises(InputError, match="the video cannot be decoded"):
        video_frames(buffer.getvalue())


@pytest.mark.parametrize(("packets", "size"), [([60] * 4, 100), ([1] * (video.MAX_SAMPLES + 1), 10**6)])
def test_more_packets_than_a_file_can_hold_are_refused(packets: list[int], size: int) -> None:
    """The tables of an MP4 may name the same bytes again and again."""
    stream: Any = SimpleNamespace(index=0, frames=0, time_base=1)
    found = (SimpleNamespace(size=one, pts=place, is_keyframe=True) for place, one in enumerate(packets))
    container: Any = SimpleNamespace(streams=[stream], demux=lambda _: found)
    with pytest.raises(InputError, match="the video has [0-9,]+ bytes or more in"):
        video._packets(container, stream, size)


def test_a_strip_stays_a_strip_in_every_format() -> None:
    for kind in ("AVIF", "WEBP", "PNG"):
        buffer = io.BytesIO()
        Image.new("RGB", (96, 32), (90, 90, 90)).save(buffer, kind)
        assert [frame.size for frame in video_frames(buffer.getvalue())] == [(32, 32)] * 3
    assert len(video_frames(jpeg(64, 32))) == 2


def test_one_thread_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    before, during, real = psutil.Process().num_threads(), [], video._square
    monkeypatch.setattr(video, "_square", lambda frame: (during.append(psutil.Process().num_threads()), real(frame))[1])
    video_frames(video_file(greys(SHADES, 640, 480)))
    assert set(during) == {before}


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(["mp4", "webm"]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    cut=st.floats(0, 1) | st.just(1.0),
)
def test_damaged_bytes_decode_or_are_refused(kind: str, flips: list[tuple[float, int]], cut: float) -> None:
    damaged = bytearray(film(kind))
    for place, value in flips:
        damaged[int(place * len(damaged))] = value
    try:
        frames = video_frames(bytes(damaged[: round(cut * len(damaged))]))
    except InputError as error:
        assert error.message and "\n" not in error.message
    else:
        assert 1 <= len(frames) <= video.FRAMES and {frame.width - frame.height for frame in frames} == {0}
