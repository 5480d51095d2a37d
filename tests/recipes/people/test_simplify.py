"""recipes/people/clothes/simplify.py: fewer triangles, the same shape."""

from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from recipes.people.clothes.mesh import normals, primitive, triangles
from recipes.people.clothes.simplify import cached_simplify, simplify

SIDE = 21


@pytest.fixture
def cap() -> tuple[ndarray, ndarray, ndarray]:
    """A bulged grid, half a metre a side: face, vertices, texture coordinates of the corners."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    vertices = 0.5 * np.stack([x, y, 0.3 * np.sin(np.pi * x) * np.sin(np.pi * y)], -1).reshape(-1, 3)
    corner = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[:-1, :-1].ravel()
    face = triangles(np.c_[corner, corner + 1, corner + SIDE + 1, corner + SIDE])
    return face, vertices, vertices[face][..., :2]


def area(face: ndarray, vertices: ndarray) -> float:
    a, b, c = (vertices[face[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_short_edges_collapse_and_the_surface_stays(cap: tuple[ndarray, ndarray, ndarray]) -> None:
    face, vertices, uv = cap
    fewer, fewer_uv = simplify(face, vertices, 0.06, uv)
    assert len(fewer) < len(face) / 2
    assert area(fewer, vertices) == pytest.approx(area(face, vertices), rel=0.02)
    # What stays keeps its place in the texture, and looks the same way.
    np.testing.assert_allclose(fewer_uv, vertices[fewer][..., :2], atol=1e-12)
    assert (normals(fewer, vertices)[np.unique(fewer)][:, 2] > 0).all()


def test_borders_and_seams_stay(cap: tuple[ndarray, ndarray, ndarray]) -> None:
    face, vertices, uv = cap
    uv[: len(uv) // 4] += 1  # Another place in the texture: a seam between these triangles and the others.
    fewer, _ = simplify(face, vertices, 0.06, uv)
    border = {k for k in range(SIDE * SIDE) if k % SIDE in (0, SIDE - 1) or k // SIDE in (0, SIDE - 1)}
    seam = set(face[: len(face) // 4].ravel()) & set(face[len(face) // 4 :].ravel())
    assert border | seam <= set(fewer.ravel())


def test_long_edges_stay(cap: tuple[ndarray, ndarray, ndarray]) -> None:
    face, vertices, uv = cap
    fewer, _ = simplify(face, vertices, 0.001, uv)
    np.testing.assert_array_equal(fewer, face)


def test_a_simplified_mesh_is_kept(
    cap: tuple[ndarray, ndarray, ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DKPVID_CACHE", str(tmp_path))
    first = cached_simplify("cap", cap[0], cap[1], 0.06, cap[2])
    (kept,) = (tmp_path / "meshes").glob("cap-*.npz")
    written = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(cached_simplify("cap", cap[0], cap[1], 0.06, cap[2])[0], first[0])
    assert kept.stat().st_mtime_ns == written
    cached_simplify("cap", cap[0], cap[1], 0.03, cap[2])
    assert len(list((tmp_path / "meshes").glob("cap-*.npz"))) == 2


@pytest.mark.parametrize("kind", ["box", "sphere", "pole"])
def test_primitives_have_their_size_and_look_outwards(kind: str) -> None:
    surface, vertices = primitive(kind, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(np.ptp(vertices, axis=0), [1, 2, 3], rtol=0.01)
    outwards = (normals(surface.face, vertices) * vertices).sum(1)
    assert (outwards > -1e-9).all()
    assert (outwards > 0).mean() > 0.9
