"""A turntable film of a triangle mesh: a small z-buffer rasteriser in numpy, with flat Lambert shading on white.

Every frame turns the model by another 30 degrees under a fixed camera that looks down a little, without perspective.
Letters in shapes: T triangles, K fragments (a triangle over a pixel centre), S side of a frame in samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samples._model import Floats, Mesh

FRAMES = 12
SIDE = 96  # pixels of a frame's side

_SAMPLES = 2  # per pixel and axis; their mean smooths the edges
_TILT = np.deg2rad(22.0)
_MARGIN = 0.96
_LIGHT = np.array([-0.35, 0.6, 0.72], np.float32) / np.float32(np.linalg.norm([-0.35, 0.6, 0.72]))
_AMBIENT = 0.5
_FRAGMENTS = 1_000_000  # at a time, which bounds memory
_CUTOUT = 0.5  # less opaque texels are holes, as in leaves
_NOTHING = np.iinfo(np.int64).max

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Surface:
    """A material as the rasteriser wants it: `texels` (H, W, 4), one texel if it has no texture."""

    texels: Floats
    opacity: float

    @property
    def cutout(self) -> bool:
        return bool(self.texels[..., 3].min() < _CUTOUT)


def turntable(mesh: Mesh, size: Sequence[float], rotation: Sequence[float]) -> Image.Image:
    """`FRAMES` views side by side of a model that is turned by `rotation`, then scaled to `size` (x, y, z)."""
    mesh = upright(mesh, size, rotation)
    scale = _scale(mesh.corners)
    surfaces = [_surface(mesh, number, scale) for number in range(len(mesh.materials))]
    angles = 2 * np.pi * np.arange(1, FRAMES + 1) / FRAMES
    strip = Image.new("RGB", (FRAMES * SIDE, SIDE))
    for column, angle in enumerate(angles):
        samples = _frame(mesh, surfaces, _camera(angle) * scale)
        frame = Image.fromarray(np.rint(samples * 255).astype(np.uint8))
        strip.paste(frame.reduce(_SAMPLES), (column * SIDE, 0))
    return strip


def upright(mesh: Mesh, size: Sequence[float], rotation: Sequence[float]) -> Mesh:
    """The mesh turned, stretched to `size` and centred at the origin."""
    corners = mesh.corners @ np.array(rotation, np.float32).reshape(3, 3).T
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    stretch = np.array(size, np.float32) / np.maximum(high - low, 1e-6)
    return Mesh((corners - (low + high) / 2) * stretch, mesh.uv, mesh.material, mesh.materials)


def _scale(corners: Floats) -> float:
    """Samples per centimetre at which no frame is cut off."""
    radius = np.hypot(corners[..., 0], corners[..., 2])
    height = np.abs(corners[..., 1]) * np.cos(_TILT) + radius * np.sin(_TILT)
    return float(_MARGIN * SIDE * _SAMPLES / 2 / max(radius.max(), height.max()))


def _camera(angle: float) -> Floats:
    """Rows: to the right, up and towards the viewer, for a model turned by `angle`."""
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(_TILT), -np.sin(_TILT)], [0, np.sin(_TILT), np.cos(_TILT)]])
    return np.asarray(tilt @ turn, np.float32)


def _surface(mesh: Mesh, number: int, scale: float) -> _Surface:
    material = mesh.materials[number]
    if material.texture is None:
        colour = np.clip(np.array([*material.colour, 1.0], np.float32), 0, 1)
        return _Surface(colour.reshape(1, 1, 4), material.opacity)
    texture = material.texture.convert("RGBA").reduce(_shrink(mesh, number, material.texture, scale))
    return _Surface(np.asarray(texture, np.float32) / np.float32(255), material.opacity)


def _shrink(mesh: Mesh, number: int, texture: Image.Image, scale: float) -> int:
    """By how much to shrink a texture so that about one texel falls on one sample, which keeps it from glittering."""
    chosen = mesh.material == number
    edges, uv_edges = (np.diff(values[chosen], axis=1) for values in (mesh.corners * scale, mesh.uv))
    samples = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1).sum()
    uv_area = np.abs(uv_edges[:, 0, 0] * uv_edges[:, 1, 1] - uv_edges[:, 0, 1] * uv_edges[:, 1, 0]).sum()
    texels = uv_area * texture.width * texture.height
    ratio = np.sqrt(texels / samples) if samples > 0 else 1.0
    return int(np.clip(ratio, 1, min(texture.size)))


def _frame(mesh: Mesh, surfaces: Sequence[_Surface], camera: Floats) -> Floats:
    """One view (S, S, 3): the nearest opaque surface, then the nearest see-through one before it."""
    corners = mesh.corners @ camera.T
    opacity = np.array([surface.opacity for surface in surfaces], np.float32)[mesh.material]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    shade = _lambert(normals)
    side = SIDE * _SAMPLES
    corners = corners * np.array([1, -1, 1], np.float32) + np.array([side / 2, side / 2, 0], np.float32)
    picture = np.ones((side * side, 3), np.float32)
    buffer = np.full(side * side, _NOTHING)
    for solid in (True, False):
        chosen = np.flatnonzero((opacity >= 1) == solid)
        if not len(chosen):
            continue
        layer = np.full(side * side, _NOTHING)
        _rasterise(layer, corners, chosen, mesh, surfaces)
        seen = np.flatnonzero(layer < buffer)
        triangle = layer[seen] & 0xFFFFFFFF
        colour = _texels(mesh, surfaces, triangle, _weights(corners[triangle], seen))[:, :3]
        alpha = opacity[triangle, None] if not solid else 1.0
        picture[seen] = alpha * colour * shade[triangle, None] + (1 - alpha) * picture[seen]
        buffer[seen] = layer[seen]
    return picture.reshape(side, side, 3)


def _lambert(normals: Floats) -> Floats:
    """Brightness (T,) of triangles that are lit alike on both sides."""
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    facing = np.where(normals[:, 2] < 0, -1, 1) / length
    return np.asarray(_AMBIENT + (1 - _AMBIENT) * np.clip(normals @ _LIGHT * facing, 0, 1), np.float32)


def _rasterise(buffer: Integers, corners: Floats, chosen: Integers, mesh: Mesh, surfaces: Sequence[_Surface]) -> None:
    """Keep in `buffer` (S * S) the nearest triangle of every sample: its depth in the high bits, its number below."""
    cutout = np.array([surface.cutout for surface in surfaces])[mesh.material]
    for triangle, pixel, weights in _fragments(corners, chosen):
        leafy = np.flatnonzero(cutout[triangle])
        holes = leafy[_texels(mesh, surfaces, triangle[leafy], weights[:, leafy])[:, 3] < _CUTOUT]
        triangle, pixel, weights = (
            np.delete(triangle, holes),
            np.delete(pixel, holes),
            np.delete(weights, holes, axis=1),
        )
        nearness = np.einsum("ki,ik->k", corners[triangle, :, 2], weights)
        depth = np.rint((4 * SIDE * _SAMPLES - nearness) * 2**16).astype(np.int64)
        np.minimum.at(buffer, pixel, depth << 32 | triangle)


def _fragments(corners: Floats, chosen: Integers) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Triangle (K,), sample (K,) and weights (3, K) wherever a sample's centre lies inside a triangle."""
    side = SIDE * _SAMPLES
    planes = _planes(corners)
    for triangle, row in _rows(corners, chosen[np.isfinite(planes[chosen, 2])]):
        x, y, *slopes = planes[triangle].T
        slope = np.stack([slopes[0], slopes[2], -slopes[0] - slopes[2]])  # of the three weights along the row
        base = np.stack([slopes[1], slopes[3], -slopes[1] - slopes[3]]) * (row + np.float32(0.5) - y)
        base[2] += 1
        zero = -base / np.where(slope == 0, np.float32(-1e-12), slope)  # where each weight changes its sign
        first = np.where(slope > 0, zero, -np.inf).max(axis=0) + x - 0.5
        last = np.where(slope <= 0, zero, np.inf).min(axis=0) + x - 0.5
        start = np.clip(np.ceil(first), 0, side).astype(np.int64)
        count = np.maximum(np.clip(np.floor(last), -1, side - 1).astype(np.int64) - start + 1, 0)
        span, offset = _expand(count)
        column = start[span] + offset
        right = column.astype(np.float32) + np.float32(0.5) - x[span]
        yield triangle[span], row[span] * side + column, base[:, span] + slope[:, span] * right


def _rows(corners: Floats, chosen: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Triangles and the rows of samples that they may cover, some at a time."""
    side = SIDE * _SAMPLES
    low, high = corners[chosen, :, :2].min(axis=1), corners[chosen, :, :2].max(axis=1)
    first = np.clip(np.ceil(low - 0.5), 0, side).astype(np.int64)
    extent = np.clip(np.floor(high - 0.5), -1, side - 1).astype(np.int64) - first + 1
    covering = (extent > 0).all(axis=1)
    chosen, first, extent = chosen[covering], first[covering, 1], extent[covering]
    end = np.cumsum(extent.prod(axis=1))
    cuts = np.searchsorted(end, np.arange(_FRAGMENTS, end[-1] if len(end) else 0, _FRAGMENTS))
    for part in np.split(np.arange(len(chosen)), cuts):
        number, offset = _expand(extent[part, 1])
        yield chosen[part][number], first[part][number] + offset


def _expand(count: Integers) -> tuple[Integers, Integers]:
    """Each index as often as its count says, and which time it is: [2, 1] gives [0, 0, 1] and [0, 1, 0]."""
    number = np.repeat(np.arange(len(count)), count)
    return number, np.arange(len(number)) - (np.cumsum(count) - count)[number]


def _planes(corners: Floats) -> Floats:
    """What the weights of each triangle (T, 6) follow from: its last corner, and the slopes of the first two weights."""
    (ax, bx, cx), (ay, by, cy) = corners[:, :, 0].T, corners[:, :, 1].T
    area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy)
    edge_on = np.abs(area) < 1e-9
    slopes = np.stack([by - cy, cx - bx, cy - ay, ax - cx]) / np.where(edge_on, 1, area)
    slopes[:, edge_on] = np.nan
    return np.vstack([cx, cy, slopes]).T


def _weights(corners: Floats, pixel: Integers) -> Floats:
    """Barycentric coordinates (3, K) of samples in their triangles."""
    row, column = np.divmod(pixel, SIDE * _SAMPLES)
    x, y, *slopes = _planes(corners).T
    right, down = column + np.float32(0.5) - x, row + np.float32(0.5) - y
    first, second = slopes[0] * right + slopes[1] * down, slopes[2] * right + slopes[3] * down
    return np.stack([first, second, 1 - first - second])


def _texels(mesh: Mesh, surfaces: Sequence[_Surface], triangle: Integers, weights: Floats) -> Floats:
    """Colour and opacity (K, 4) of the surface at each fragment; textures repeat, and their v runs upwards."""
    uv = np.einsum("kij,ik->kj", mesh.uv[triangle], weights)
    material = mesh.material[triangle]
    result = np.empty((len(triangle), 4), np.float32)
    for number in np.unique(material):
        mine = np.flatnonzero(material == number)
        texels = surfaces[number].texels
        height, width = texels.shape[:2]
        column = np.floor(uv[mine, 0] * width).astype(np.int64) % width
        row = np.floor((1 - uv[mine, 1]) * height).astype(np.int64) % height
        result[mine] = texels[row, column]
    return result
