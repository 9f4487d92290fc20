"""The parts of the script that makes the furniture sample, on inputs a few lines long."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from samples import make_furniture
from samples._groups import leak_groups, splits
from samples._model import Mesh, cut_polygon, load_mesh
from samples._render import FRAMES, SIDE, turntable
from samples._speech import RATE, resample, voice_of, without_serial
from samples._sweethome import numbered, parse_properties
from samples._texts import queries

UPRIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
SIDES = ("1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4")
MATERIALS = b"newmtl red\nKd 1 0 0\nd 1\nnewmtl glass\nKd 0 0 1\nd 0.5\nnewmtl net\nmap_Kd C:\\my pictures\\net.png\n"


def _box(material: str = "red", first: int = 1) -> str:
    """A unit cube as OBJ text; `first` is the number of its first corner."""
    corners = "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    faces = "".join("f " + " ".join(str(int(n) + first - 1) for n in side.split()) + "\n" for side in SIDES)
    return f"mtllib box.mtl\n{corners}usemtl {material}\n{faces}"


def _mesh(model: str, **files: bytes) -> Mesh:
    stored: Mapping[str, bytes] = {"a/box.obj": model.encode(), "a/box.mtl": MATERIALS, **files}
    return load_mesh(PurePosixPath("a/box.obj"), lambda path: stored[str(path)])


def _frames(mesh: Mesh, size: tuple[float, float, float] = (1, 1, 1)) -> NDArray[np.int64]:
    strip = np.asarray(turntable(mesh, size, UPRIGHT), np.int64)
    return strip.reshape(SIDE, FRAMES, SIDE, 3).swapaxes(0, 1)


def test_a_cube_is_twelve_triangles() -> None:
    assert _mesh(_box()).corners.shape == (12, 3, 3)


def test_corners_may_be_counted_from_the_end_and_carry_texture_points() -> None:
    mesh = _mesh("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.25 0.75\nf -3/1 -2/-1/1 3//1\n")
    assert mesh.corners.tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0]]]
    assert mesh.uv.tolist() == [[[0.25, 0.75], [0.25, 0.75], [0, 0]]]


def test_a_missing_material_file_leaves_grey() -> None:
    mesh = _mesh(_box().replace("box.mtl", "lost.mtl"))
    assert [material.texture for material in mesh.materials] == [None]


def test_a_red_cube_is_red_in_the_middle_and_white_around() -> None:
    for frame in _frames(_mesh(_box())):
        red, green, blue = frame[SIDE // 2, SIDE // 2]
        assert red > 100
        assert green == blue == 0
        assert (frame[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()


def test_the_silhouette_of_a_tall_box_is_tall() -> None:
    inked = (_frames(_mesh(_box()), (1, 4, 1))[-1] < 250).any(axis=-1)
    assert inked.any(axis=1).sum() > 80
    assert 15 < inked.any(axis=0).sum() < 30


def test_frames_of_a_lopsided_object_all_differ() -> None:
    tower = _box().replace("v 1 1 1", "v 2 3 1.5")
    frames = _frames(_mesh(tower))
    for first in range(FRAMES):
        for second in range(first):
            assert (frames[first] != frames[second]).any()


@pytest.mark.parametrize(("frame", "side"), [(11, "2 6 8 4"), (2, "1 2 4 3"), (5, "1 3 7 5"), (8, "5 7 8 6")])
def test_the_table_turns_from_the_front_to_the_left_side_and_on(frame: int, side: str) -> None:
    """One side of a grey cube is painted red; only the frame that faces it shows it below the middle."""
    model = _box("grey").replace(f"f {side}\n", "") + f"usemtl red\nf {side}\n"
    red = [bool(view[60, SIDE // 2, 1] == 0) for view in _frames(_mesh(model))]
    assert red[frame]
    assert not red[(frame + 6) % FRAMES]


def test_glass_lets_the_background_through() -> None:
    red, green, blue = _frames(_mesh(_box("glass")))[0][SIDE // 2, SIDE // 2]
    assert red == green
    assert 120 < red < 135
    assert blue > red


def test_transparent_texels_are_holes() -> None:
    file = BytesIO()
    Image.new("RGBA", (2, 2), (0, 255, 0, 0)).save(file, "PNG")
    assert (_frames(_mesh(_box("net"), **{"a/net.png": file.getvalue()})) == 255).all()


def test_properties_are_read_as_java_reads_them() -> None:
    text = "# a comment\n! another\nname#1=Lit d\\u2019appoint\n\ntags#1 = a, \\\n   b\nname#12: B\xe9b\xe9\nlonely#-1\n"
    properties = parse_properties(text.encode("iso-8859-1"))
    assert properties == {"name#1": "Lit d\u2019appoint", "tags#1": "a, b", "name#12": "B\xe9b\xe9", "lonely#-1": ""}
    assert numbered(properties) == {1: {"name": "Lit d\u2019appoint", "tags": "a, b"}, 12: {"name": "B\xe9b\xe9"}}


def test_like_titles_and_like_pictures_share_a_group() -> None:
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("white", "black", "#050505", "blue")]
    groups = leak_groups(["d", "c", "b", "a"], ["Bed", "Lamp", "Sofa", "bed"], pictures)
    assert groups == ["a", "b", "b", "a"]


def test_splits_keep_groups_whole_near_their_shares() -> None:
    groups = [f"group {number // 3}" for number in range(900)]
    found = splits(groups)
    assert len(set(zip(groups, found, strict=True))) == 300
    assert [found.count(split) for split in ("train", "val", "test")] == [630, 90, 180]
    assert splits(groups[::-1])[::-1] == found


def test_queries_come_from_names_and_from_tags_that_are_not_too_common() -> None:
    rows = [{"id": f"p{number}", "title": "Bed", "description": "Home"} for number in range(61)]
    rows.append({"id": "lamp", "title": "Lamp", "description": "Light, Night"})
    found = {(query["text"], query["rule"]): query["relevant"] for query in queries(rows)}
    assert set(found) == {("bed", "name"), ("lamp", "name"), ("light", "tag"), ("night", "tag")}
    assert len(found["bed", "name"]) == 61


def test_a_voice_belongs_to_an_id() -> None:
    assert voice_of("a") == voice_of("a")
    assert len({voice_of(str(number)) for number in range(50)}) == 5


def test_resampling_keeps_the_tone() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert resample(tone, 22_050) == pytest.approx(expected, abs=1e-6)


def test_the_same_sound_gives_the_same_bytes() -> None:
    def encoded() -> bytes:
        file = BytesIO()
        soundfile.write(file, np.sin(np.arange(RATE) / 9), RATE, format="OGG", subtype="OPUS")
        return without_serial(file.getvalue())

    assert encoded() == encoded()
    assert len(soundfile.read(BytesIO(encoded()))[0]) == RATE


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="apt-get install sweethome3d-furniture"):
        make_furniture.main([str(tmp_path / "out"), "--furniture-dir", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0)])
def test_a_polygon_with_a_notch_is_cut_without_filling_the_notch(axes: tuple[int, int, int]) -> None:
    outline = np.array([(0, 0, 7), (4, 0, 7), (4, 3, 7), (3, 3, 7), (3, 1, 7), (1, 1, 7), (1, 3, 7), (0, 3, 7)], np.float32)
    triangles = outline[cut_polygon(outline[:, axes])]
    edges = np.diff(triangles, axis=1)
    assert len(triangles) == 6
    assert np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).sum() / 2 == pytest.approx(4 * 3 - 2 * 2)
