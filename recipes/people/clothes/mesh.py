"""Triangle meshes: surfaces that follow bones, their normals, primitives, and the soup that is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from dkpvid.shapes import Float, Int, UInt8

MAX_IMAGES = 16
"""Of one soup."""


class Surface:
    """Triangles with texture coordinates, on up to four bones a vertex."""

    def __init__(
        self,
        face: Int[ndarray, "triangle 3"],
        corner_uv: Float[ndarray, "triangle 3 2"],
        bone: UInt8[ndarray, "vertex 4"],
        weight: Float[ndarray, "vertex 4"],
    ) -> None:
        # A vertex at a seam of the texture is drawn as several: one for each place in the texture.
        key = np.c_[face.reshape(-1), np.round(corner_uv.reshape(-1, 2) * 4096)].astype(np.int64)
        packed = key @ [1, 1 << 20, 1 << 40]
        _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
        self.face = face
        self.source = face.reshape(-1)[first]
        """The vertex that each drawn vertex is."""
        self.uv = corner_uv.reshape(-1, 2)[first]
        self.triangle = inverse.reshape(-1, 3)
        self.bone, self.weight = bone[self.source], weight[self.source]


@dataclass(frozen=True, eq=False)
class Soup:
    """Triangles to draw: one person, or the things of a scene."""

    position: Float[ndarray, "vertex 3"]
    """At rest, metres."""
    normal: Float[ndarray, "vertex 3"]
    uv: Float[ndarray, "vertex 2"]
    """In 0..1, repeating; v is up."""
    layer: Int[ndarray, " vertex"]
    """Which image."""
    bone: UInt8[ndarray, "vertex 4"]
    weight: Float[ndarray, "vertex 4"]
    """Sums to 1."""
    triangle: Int[ndarray, "triangle 3"]
    images: Sequence[UInt8[ndarray, "side side 4"]]
    """RGBA, the bottom row first; alpha cuts out, or is the height of folds where relief > 0."""
    tint: Float[ndarray, "16 4"]
    """Per image: factors of linear RGB, gloss."""
    relief: Float[ndarray, " 16"]
    """Per image: height of alpha = 1 in metres."""


@dataclass(frozen=True, eq=False)
class Part:
    """A surface in place."""

    surface: Surface
    vertices: Float[ndarray, "vertex 3"]
    layer: ndarray | int
    """Of each drawn vertex, or of all."""


def assemble(parts: Sequence[Part], images: Sequence[ndarray], tint: ndarray, relief: ndarray) -> Soup:
    """One soup of several parts."""
    starts = np.cumsum([0] + [len(part.surface.source) for part in parts])
    surfaces = [part.surface for part in parts]

    def drawn(values: ndarray, surface: Surface) -> ndarray:
        return values[surface.source]

    return Soup(
        position=np.concatenate([drawn(part.vertices, part.surface) for part in parts]),
        normal=np.concatenate([drawn(normals(p.surface.face, p.vertices), p.surface) for p in parts]),
        uv=np.concatenate([surface.uv for surface in surfaces]),
        layer=np.concatenate([np.broadcast_to(part.layer, len(part.surface.source)) for part in parts]),
        bone=np.concatenate([surface.bone for surface in surfaces]),
        weight=np.concatenate([surface.weight for surface in surfaces]),
        triangle=np.concatenate([s.triangle + start for s, start in zip(surfaces, starts, strict=False)]),
        images=images,
        tint=tint,
        relief=relief,
    )


def strongest_bones(weights: sp.csr_matrix) -> tuple[UInt8[ndarray, "vertex 4"], Float[ndarray, "vertex 4"]]:
    """The four strongest bones of each row, and their weights."""
    dense = weights.toarray()
    bone = np.argpartition(-dense, 4, 1)[:, :4]
    weight = np.take_along_axis(dense, bone, 1)
    return bone.astype(np.uint8), weight / weight.sum(1, keepdims=True).clip(1e-9)


def normals(
    face: Int[ndarray, "triangle 3"], vertices: Float[ndarray, "vertex 3"]
) -> Float[ndarray, "vertex 3"]:
    """Unit vertex normals: the sum of the triangles' normals, larger triangles count more."""
    a, b, c = (vertices[face[:, corner]] for corner in range(3))
    normal, total = np.cross(b - a, c - a), np.zeros_like(vertices)
    for axis in range(3):
        total[:, axis] = np.bincount(face.ravel(), np.repeat(normal[:, axis], 3), len(vertices))
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)


def averaging(face: Int[ndarray, "triangle 3"], num_vertices: int) -> sp.csr_matrix:
    """The matrix that replaces every vertex by the mean of itself and its neighbours."""
    i, j = face[:, [0, 1, 2]].ravel(), face[:, [1, 2, 0]].ravel()
    ones, shape = np.ones(2 * len(i)), (num_vertices, num_vertices)
    linked = sp.csr_matrix((ones, (np.r_[i, j], np.r_[j, i])), shape) + sp.eye(num_vertices)
    linked.data[:] = 1
    return sp.diags(1 / np.asarray(linked.sum(1)).ravel()) @ linked


def triangles(quads: Int[ndarray, "quad 4 *rest"]) -> ndarray:
    """Two triangles a quad; further axes (of texture coordinates) stay."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def ramp(x: ndarray, low: float, high: float) -> ndarray:
    """0 below low, 1 above high (either order), smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def primitive(kind: str, size: Float[ndarray, " 3"], bone: int = 0) -> tuple[Surface, ndarray]:
    """A "box", "sphere" or "pole" about the origin on one bone: the surface and its vertices.

    Args:
        kind: Which.
        size: Extent in metres; textures keep their scale of one metre.
        bone: That moves it.
    """
    if kind == "box":
        square = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]) / 2
        sides = (square, square * [-1, 1, -1])
        vertices = np.concatenate([np.roll(side, axis, 1) for axis in range(3) for side in sides])
        face = triangles(np.arange(24).reshape(6, 4))
        uv = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float), (6, 1))
    else:
        steps = 24
        rows = np.linspace(-0.5, 0.5, 9 if kind == "sphere" else 2)
        angle, t = np.meshgrid(np.linspace(0, 2 * np.pi, steps + 1), rows)
        radius = 0.5 * np.cos(np.pi * t) if kind == "sphere" else np.full_like(t, 0.5)
        y = 0.5 * np.sin(np.pi * t) if kind == "sphere" else t
        vertices = np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], -1).reshape(-1, 3)
        k = np.arange((steps + 1) * (len(rows) - 1)).reshape(-1, steps + 1)[:, :-1].ravel()
        face = triangles(np.c_[k, k + 1, k + steps + 2, k + steps + 1])
        uv = np.stack([angle / (2 * np.pi), t + 0.5], -1).reshape(-1, 2)
    span = np.array([max(size[0], size[2]) * (1 if kind == "box" else 3), size[1]])
    bones = np.full((len(vertices), 4), bone, np.uint8)
    weights = np.tile([1.0, 0, 0, 0], (len(vertices), 1))
    return Surface(face, (uv * span)[face], bones, weights), vertices * size
