"""Video files (MP4, MOV, WebM, MKV) -> a few square pictures, with all work bounded before it is begun.

Bytes come from outside. The container is told by its first bytes and opened by its one demuxer, which can open no other file
and no address. Streams, samples, seconds and pixels are bounded by what the file declares, and again by what comes. Packets
are read once; then only those from a keyframe to a chosen frame are decoded, on one thread, within a budget of frames.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from goodsight.errors import InputError
from goodsight.settings import settings

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video import VideoStream

KINDS = "MP4, MOV, WebM, MKV"
CODECS = {"h264": "H.264", "hevc": "H.265", "vp8": "VP8", "vp9": "VP9", "av1": "AV1", "mpeg4": "MPEG-4"}
FRAMES = 24  # kept of a file: what models (3, 6 or 12 frames) and views (4) choose of them is even too
SIDE = 512  # px, of a kept frame at most: towers look at 224
MAX_FRAMES = 256  # decoded at most: encoders usually put a keyframe every 250 frames, so all between two are in reach
MAX_PIXELS = MAX_FRAMES * 1920 * 1080  # decoded at most: fewer frames of a larger video
MAX_SECONDS = 15 * 60
MAX_STREAMS = 16
DEMUXED_STREAMS = 64  # at these the demuxer gives up
MAX_SAMPLES = 2**18  # over all streams but sound: 15 minutes at 240 frames a second fit
IMAGE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"hevc", b"hevx")  # pictures in boxes like those of MP4
BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"wide", b"free", b"skip")  # that an MP4 or MOV begins with
TURNS: dict[tuple[int, ...], Image.Transpose] = {  # signs of a display matrix (a, b, c, d): x' = a x + c y, y' = b x + d y
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def demuxer_of(data: bytes) -> str | None:
    """The demuxer for these bytes by their beginning, mov or matroska; None when they are no video file."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return "mov" if data[4:8] in BOXES and data[8:12] not in IMAGE_BRANDS else None


def file_frames(data: bytes, demuxer: str) -> list[Image.Image]:
    """At most 24 RGB squares (S, S), S at most 512, evenly spread over the duration, upright by the file's display matrix.

    A frame is resized to a square without a crop, as pictures of products are. Where keyframes are too far apart for the budget
    of `MAX_FRAMES` decoded frames, a frame gives way to the nearest that can be had. Raises `InputError` with the reason for a
    file that is broken, ends early, has no pictures, or passes a limit.
    """
    import av

    (_check_boxes if demuxer == "mov" else _check_segment)(data)
    try:
        options = _options(settings().max_image_pixels)
        with av.open(io.BytesIO(data), "r", demuxer, options, metadata_errors="replace", io_open=_no_other_file) as container:
            return _frames(container, len(data))
    except InputError:
        raise
    except EOFError as error:
        raise InputError("the video ends early, or has no frames") from error
    except MemoryError as error:
        raise InputError(f"the video has more than {DEMUXED_STREAMS} streams, or larger frames than it declares") from error
    except Exception as error:  # a file can be broken in many ways; each is the file's fault, told as such
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"the video cannot be decoded: {' '.join(reason.split())[:120]}") from error


def _options(pixels: int) -> dict[str, str]:
    """What the demuxers and the decoders that look at a stream's beginning may do; edit lists and chapters multiply work."""
    return {
        "max_streams": str(DEMUXED_STREAMS),
        "codec_whitelist": ",".join([*CODECS, "libdav1d"]),
        "max_pixels": _allowed(pixels),
        "enable_drefs": "0",
        "ignore_editlist": "1",
        "ignore_chapters": "1",
    }


def _allowed(pixels: int) -> str:
    """The decoder's own bound for frames declared with so many pixels: they are padded, and some streams grow on their way."""
    return str(2 * pixels + 2**20)


def _no_other_file(*_: Any) -> None:
    raise PermissionError("the video refers to another file")


def _check_boxes(data: bytes) -> None:
    """Raises `InputError` when a box of an MP4 ends after the file, or its tables promise more samples than may be indexed.

    The demuxer makes room for every promised sample: without this a file of 2 kB takes 2 GB.
    """
    tables, place, boxes = [], 0, 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size == 1 and place + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, place + 8)
        size = size or len(data) - place
        boxes += 1
        if size < 8:
            break
        if place + size > len(data) and kind in BOXES:
            raise InputError(f"the video ends early: {len(data):,} of at least {place + size:,} bytes")
        if boxes > MAX_SAMPLES:
            raise InputError(f"the video has more than {MAX_SAMPLES:,} boxes")
        if kind != b"mdat":
            tables.append(data[place : place + size])
        place += size
    _check_tables(b"".join([*tables, data[place:]]), len(data))


def _check_tables(tables: bytes, size: int) -> None:
    """The number of samples, wherever in the boxes it stands. A sound may have a sample for every byte."""
    if b"cmov" in tables:
        raise InputError("the video has a compressed header (cmov); save it again as an MP4")
    of_sound = of_others = 0
    for track in tables.split(b"trak"):
        samples = sum(int.from_bytes(found[1]) for found in re.finditer(rb"(?:st(?:sz|z2).{8}|trun.{4})(.{4})", track, re.DOTALL))
        if re.search(rb"hdlr.{8}soun", track, re.DOTALL):
            of_sound += samples
        else:
            of_others += samples
    if of_others > MAX_SAMPLES or of_sound > max(size, MAX_SAMPLES):
        raise InputError(f"the video promises {of_others + of_sound:,} samples in {size:,} bytes; at most {MAX_SAMPLES:,} are allowed")


def _check_segment(data: bytes) -> None:
    """Raises `InputError` when the segment of a Matroska file, which holds all of it, says that it ends after the file."""
    header, start = _vint(data, 4)
    start += header or 0
    size, body = _vint(data, start + 4)
    if data[start : start + 4] == b"\x18\x53\x80\x67" and size is not None and body + size > len(data):
        raise InputError(f"the video ends early: {len(data):,} of {body + size:,} bytes")


def _vint(data: bytes, place: int) -> tuple[int | None, int]:
    """The size that stands at `place` in EBML, None when unknown, and where it ends."""
    first = data[place] if place < len(data) else 0
    length = 9 - first.bit_length()
    value = int.from_bytes(data[place : place + length]) & ((1 << 7 * length) - 1)
    return (None if not first or value == (1 << 7 * length) - 1 else value), place + length


def _frames(container: InputContainer, size: int) -> list[Image.Image]:
    stream = _pictures(container)
    width, height = _checked_size(stream)
    budget = max(2, min(MAX_FRAMES, MAX_PIXELS // (width * height)))
    packets = _packets(container, stream, size)
    found: dict[int, Image.Image] = {}
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    for run in _plan(_times(packets), keys, budget):
        for time, frame in _decoded(stream, packets[run.start : run.start + run.length], run.times):
            found[time] = _square(frame)
    if not found:
        raise InputError(f"no frame of the video can be decoded ({len(packets):,} packets)")
    return [found[time] for time in sorted(found)]


def _pictures(container: InputContainer) -> VideoStream:
    """The stream to decode, after checks of what the file declares."""
    from av.stream import Disposition

    if len(container.streams) > MAX_STREAMS:
        raise InputError(f"the video has {len(container.streams)} streams; at most {MAX_STREAMS} are allowed")
    _check_seconds((container.duration or 0) / 1e6)
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds = sorted({stream.type or "unknown" for stream in container.streams})
        raise InputError(f"the video has no pictures, only {', '.join(kinds) or 'nothing'}")
    codec = streams[0].codec_context.codec.canonical_name if streams[0].codec_context else "unknown"
    if codec not in CODECS:
        raise InputError(f"the video's codec is {codec}; known are {', '.join(CODECS.values())}")
    return streams[0]


def _checked_size(stream: VideoStream) -> tuple[int, int]:
    width, height, limit = stream.codec_context.width, stream.codec_context.height, settings().max_image_pixels
    if width < 1 or height < 1:
        raise InputError(f"the video's frames are {width} x {height} px; it is broken or ends early")
    if width * height > limit:
        raise InputError(f"the video is {width} x {height} px; at most {limit:,} px are allowed (GOODSIGHT_MAX_IMAGE_PIXELS)")
    return width, height


def _check_seconds(seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise InputError(f"the video is {seconds:,.0f} seconds long; at most {MAX_SECONDS} are allowed")


def _packets(container: InputContainer, stream: VideoStream, size: int) -> list[Packet]:
    """The packets of the stream from the first keyframe on, not decoded: as many, as long and as large as a file of `size` may hold."""
    from av.stream import Discard

    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    packets: list[Packet] = []
    read = total = 0
    for packet in container.demux(stream):
        read, total = read + bool(packet.size), total + packet.size
        if read > MAX_SAMPLES or total > 2 * size:
            raise InputError(f"the video has {total:,} bytes or more in {read:,} packets; allowed are {2 * size:,} in {MAX_SAMPLES:,}")
        if packet.size and packet.pts is not None and (packets or packet.is_keyframe):
            packets.append(packet)
    if read < stream.frames:
        raise InputError(f"the video ends early: {read:,} of {stream.frames:,} frames")
    if not packets:
        raise InputError(f"the video has no frames: no keyframe in {read:,} packets")
    times = _times(packets)
    _check_seconds(float((max(times) - min(times)) * (stream.time_base or 0)))
    return packets


def _times(packets: list[Packet]) -> list[int]:
    return [packet.pts for packet in packets if packet.pts is not None]


@dataclass
class _Run:
    """Packets to decode from a keyframe on, and the times of the frames to keep of them."""

    start: int
    length: int = 1
    times: list[int] = field(default_factory=list)


def _plan(times: list[int], keys: list[int], budget: int) -> list[_Run]:
    """Which packets to decode, at most `budget`, for frames that are evenly spread, when these are the times of all and `keys` are
    the places of the keyframes, the first packet among them.
    """
    place = {time: index for index, time in enumerate(times)}
    wanted = _even(sorted(place), min(FRAMES, budget // 2))
    runs: dict[int, _Run] = {}
    for time in wanted:
        start = keys[bisect_right(keys, place[time]) - 1]
        run = runs.setdefault(start, _Run(start))
        run.length = max(run.length, place[time] - start + 1)
    lengths = [run.length for run in runs.values()]
    spare = budget - min(len(wanted), len(keys) - len(runs))  # a keyframe may stand in for a frame out of reach, and is decoded too
    longest = bisect_right(range(budget + 1), spare, key=lambda length: sum(min(length, run) for run in lengths)) - 1
    for run in runs.values():
        run.length = min(run.length, longest)
    reach = {index for run in runs.values() for index in range(run.start, run.start + run.length)} | set(keys)
    known = sorted(times[index] for index in reach)
    for time in wanted:
        index = place[time if place[time] in reach else _nearest(known, time)]
        start = keys[bisect_right(keys, index) - 1]
        runs.setdefault(start, _Run(start)).times.append(times[index])
    return [run for run in runs.values() if run.times]


def _even(times: list[int], count: int) -> list[int]:
    """Of the sorted `times` at which frames begin, those shown at `count` moments evenly spread."""
    step = (times[-1] - times[0]) // max(len(times) - 1, 1)
    whole = times[-1] - times[0] + max(step, 1)
    moments = [times[0] + number * whole // count for number in range(count)]
    return sorted({times[bisect_right(times, moment) - 1] for moment in moments})


def _nearest(times: list[int], time: int) -> int:
    after = bisect_right(times, time)
    return min(times[max(after - 1, 0) : after + 1], key=lambda other: abs(other - time))


def _decoded(stream: VideoStream, packets: list[Packet], times: list[int]) -> Iterator[tuple[int, VideoFrame]]:
    """The frames shown at `times`, each with its own time; frames that no other needs are not decoded unless asked for."""
    decoder, asked = stream.codec_context, set(times)
    wanted, last = sorted(asked), None
    if not decoder.is_open:
        decoder.thread_count, decoder.thread_type = 1, "NONE"
        decoder.options = {"max_pixels": _allowed(decoder.width * decoder.height)}
    for packet in [*packets, None]:
        decoder.skip_frame = "DEFAULT" if packet is None or packet.pts in asked else "NONREF"
        for frame in decoder.decode(packet):
            if frame.pts is None:
                continue
            while wanted and last is not None and wanted[0] < frame.pts:
                yield last
                wanted.pop(0)
            last = frame.pts, frame
    if wanted and last is not None:
        yield last
    decoder.flush_buffers()


def _square(frame: VideoFrame) -> Image.Image:
    """The frame as an upright RGB square."""
    side = min(SIDE, max(frame.width, frame.height))
    picture = frame.reformat(side, side, "rgb24", interpolation="BICUBIC", threads=1).to_image()
    turn = TURNS.get(_matrix_signs(frame))
    return picture if turn is None else picture.transpose(turn)


def _matrix_signs(frame: VideoFrame) -> tuple[int, ...]:
    """Signs of the four numbers of the display matrix that turn and mirror; of upright frames (1, 0, 0, 1)."""
    found: Any = frame.side_data
    if "DISPLAYMATRIX" not in found:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(found["DISPLAYMATRIX"]))
    largest = max(abs(a), abs(b), abs(c), abs(d), 1)
    return tuple(round(value / largest) for value in (a, b, c, d))
