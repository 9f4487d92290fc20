"""Loading an OBJ model with its MTL materials into one flat list of triangles, ready to render.

Only what a picture needs is kept: corners, texture coordinates, and per material a colour, an opacity and a texture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Point = tuple[float, float]
Read = Callable[[PurePosixPath], bytes]  # the bytes of a file beside the model; KeyError if there is none

_GREY = (0.8, 0.8, 0.8)


@dataclass
class Material:
    colour: tuple[float, float, float] = _GREY
    opacity: float = 1.0
    texture: Image.Image | None = None


@dataclass(frozen=True)
class Mesh:
    """N triangles; `corners` (N, 3, 3) is x, y (up), z (to the front), `uv` (N, 3, 2), `material` (N,)."""

    corners: Floats
    uv: Floats
    material: NDArray[np.int32]
    materials: list[Material]


@dataclass
class _Faces:
    """What the lines of an OBJ file add up to; a corner is an index of a position and one of a texture point."""

    positions: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    corners: list[tuple[int, int]] = field(default_factory=list)
    material: list[int] = field(default_factory=list)


def load_mesh(path: PurePosixPath, read: Read) -> Mesh:
    """The OBJ model at `path`, its polygons cut into triangles."""
    names: dict[str, int] = {"": 0}
    materials = [Material()]
    faces = _Faces()
    current = 0
    for key, rest in _statements(read(path)):
        if key == "v":
            faces.positions.append(rest)
        elif key == "vt":
            faces.points.append(rest)
        elif key == "f":
            _add_face(faces, rest.split(), current)
        elif key == "usemtl":
            current = names.get(rest, 0)
        elif key == "mtllib":
            for name, material in load_materials(path.with_name(rest), read).items():
                names[name] = len(materials)
                materials.append(material)
    return _mesh(faces, materials)


def load_materials(path: PurePosixPath, read: Read) -> dict[str, Material]:
    """The materials of an MTL file by name; a missing file or texture is no error: models do name such."""
    try:
        data = read(path)
    except KeyError:
        return {}
    materials: dict[str, Material] = {}
    material = Material()
    for key, rest in _statements(data):
        if key == "newmtl":
            material = materials[rest] = Material()
        elif key == "Kd":
            red, green, blue = (float(value) for value in rest.split()[:3])
            material.colour = (red, green, blue)
        elif key == "d":
            material.opacity = float(rest.split()[-1])
        elif key == "map_Kd":
            material.texture = _texture(path.with_name(rest.replace("\\", "/").rsplit("/", 1)[-1]), read)
    return materials


def _statements(data: bytes) -> Iterator[tuple[str, str]]:
    text = data.decode("utf-8", errors="replace").replace("\\\n", " ").replace("\\\r\n", " ")
    for line in text.splitlines():
        key, _, rest = line.strip().partition(" ")
        if rest and not key.startswith("#"):
            yield key, rest.strip()


def _texture(path: PurePosixPath, read: Read) -> Image.Image | None:
    try:
        image = Image.open(BytesIO(read(path)))
    except KeyError:
        return None
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _add_face(faces: _Faces, tokens: Sequence[str], material: int) -> None:
    counts = len(faces.positions), len(faces.points)
    corners = [_corner(token, *counts) for token in tokens]
    for triangle in _triangles(faces, corners):
        faces.corners += (corners[index] for index in triangle)
        faces.material.append(material)


def _triangles(faces: _Faces, corners: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int, int]]:
    """Small polygons are taken for convex: a fan around the first corner."""
    if len(corners) > 4:
        return cut_polygon(_numbers([faces.positions[position] for position, _ in corners], 3))
    return [(0, last - 1, last) for last in range(2, len(corners))]


def cut_polygon(outline: Floats) -> list[tuple[int, int, int]]:
    """Triangles of a polygon (N, 3) that may have notches: ears are clipped off until one triangle is left."""
    flat = _flatten(outline)
    left = list(range(len(flat)))
    triangles = []
    while len(left) > 3:
        tip = next((index for index in (*range(1, len(left)), 0) if _is_ear(flat, left, index)), 1)
        triangles.append((left[tip - 1], left[tip], left[(tip + 1) % len(left)]))
        del left[tip]
    return [*triangles, (left[0], left[1], left[2])]


def _flatten(outline: Floats) -> list[Point]:
    """The outline seen from the side to which it is widest open, counter-clockwise."""
    normal = np.cross(outline, np.roll(outline, -1, axis=0)).sum(axis=0)
    axis = int(np.abs(normal).argmax())
    flat = np.delete(outline, axis, axis=1) * [1.0 if (normal[axis] > 0) == (axis != 1) else -1.0, 1.0]
    return [(x, y) for x, y in flat.tolist()]


def _is_ear(flat: Sequence[Point], left: Sequence[int], tip: int) -> bool:
    """Whether the corner juts out and no other one lies in the triangle that it makes with its neighbours."""
    a, b, c = (flat[left[index % len(left)]] for index in (tip - 1, tip, tip + 1))
    if _turn(a, b, c) < 0:
        return False
    others = (flat[index] for index in left)
    return not any(_turn(a, b, p) >= 0 and _turn(b, c, p) >= 0 and _turn(c, a, p) >= 0 for p in others if p not in (a, b, c))


def _turn(a: Point, b: Point, c: Point) -> float:
    """Positive if the way from a over b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _corner(token: str, positions: int, points: int) -> tuple[int, int]:
    """`7/3/1`, `7//1` or `7`: indices from one, or from the end when negative; -1 is no texture point."""
    position, _, rest = token.partition("/")
    point = rest.partition("/")[0]
    first = int(position)
    second = int(point) if point else 0
    return first - 1 if first > 0 else positions + first, second - 1 if second >= 0 else points + second


def _mesh(faces: _Faces, materials: list[Material]) -> Mesh:
    index = np.array(faces.corners, dtype=np.int64).reshape(-1, 3, 2)
    positions = _numbers(faces.positions, 3)
    points = np.vstack([_numbers(faces.points, 2), np.zeros((1, 2), np.float32)])  # -1 is the last row
    return Mesh(positions[index[..., 0]], points[index[..., 1]], np.array(faces.material, np.int32), materials)


def _numbers(rows: Sequence[str], width: int) -> Floats:
    """The first `width` numbers of each row."""
    flat = [value for row in rows for value in row.split()[:width]]
    return np.array(flat, dtype=np.float32).reshape(-1, width)
