"""Fewer triangles: short edges collapse onto one of their ends, so that what stays keeps all it had.

The bodies have triangles of a few millimetres, most of them smaller than a pixel of a training picture, and
they are what a picture costs: with a third of them it takes half the time and looks the same.
"""

import hashlib
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from dkpvid.files import cache_folder, put_in_place, temporary_beside
from dkpvid.shapes import Bool, Float, Int

MAX_ROUNDS = 60
LEAST_COSINE = 0.3
"""Between a triangle's normals before and after a collapse."""


def simplify(
    face: Int[ndarray, "triangle 3"],
    position: Float[ndarray, "vertex 3"],
    length: Float[ndarray, " vertex"] | float,
    corner_uv: Float[ndarray, "triangle 3 2"],
) -> tuple[Int[ndarray, "fewer 3"], Float[ndarray, "fewer 3 2"]]:
    """Collapse short edges, as long as no triangle turns over.

    Args:
        face: Vertices of each triangle.
        position: Metres.
        length: Edges below are short: one number, or one for each vertex.
        corner_uv: Texture coordinates. Vertices at seams and at borders stay.

    Returns:
        face and corner_uv of the triangles that are left; vertices keep their numbers.
    """
    length = np.broadcast_to(length, len(position))
    fixed = _at_border(face, len(position)) | _at_seam(face, corner_uv, len(position))
    rng = np.random.default_rng(0)
    for _ in range(MAX_ROUNDS):
        target, cost = _shortest_edges(face, position, length, fixed)
        cost[_turned_over(face, position, target)] = np.inf
        cost += 1e-5 * rng.random(len(cost))  # Equal edges must not all wait for each other.
        # A vertex moves if no other vertex of its triangles does.
        lowest = np.full(len(position), np.inf)
        np.minimum.at(lowest, face.ravel(), np.repeat(cost[face].min(1), 3))
        moves = np.isfinite(cost) & (cost <= lowest)
        if not moves.any():
            break
        face, corner_uv = _collapse(face, corner_uv, np.where(moves, target, np.arange(len(position))))
    return face, corner_uv


def cached_simplify(
    name: str, face: ndarray, position: ndarray, length: ndarray | float, corner_uv: ndarray
) -> tuple[Int[ndarray, "fewer 3"], Float[ndarray, "fewer 3 2"]]:
    """`simplify`, which takes seconds for a body, kept in the cache folder."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for array in (face, position, np.asarray(length), corner_uv):
        digest.update(np.ascontiguousarray(array).tobytes())
    path = cache_folder() / "meshes" / f"{name}-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        fewer, uv = simplify(face, position, length, corner_uv)
        part = temporary_beside(path)
        np.savez(part, face=fewer, uv=uv)
        put_in_place(part, path)
    with np.load(path) as kept:
        return kept["face"], kept["uv"]


def _at_border(face: ndarray, num_vertices: int) -> Bool[ndarray, " vertex"]:
    """On an edge that not exactly two triangles share."""
    edges = np.sort(face[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    key, count = np.unique(edges @ [num_vertices, 1], return_counts=True)
    lone, found = key[count != 2], np.zeros(num_vertices, bool)
    found[lone // num_vertices] = found[lone % num_vertices] = True
    return found


def _at_seam(face: ndarray, corner_uv: ndarray, num_vertices: int) -> Bool[ndarray, " vertex"]:
    """At more than one place in the texture."""
    corners = np.c_[face.reshape(-1), np.round(corner_uv.reshape(-1, 2) * 4096)].astype(np.int64)
    return np.bincount(np.unique(corners, axis=0)[:, 0], minlength=num_vertices) > 1


def _shortest_edges(
    face: ndarray, position: ndarray, length: ndarray, fixed: ndarray
) -> tuple[Int[ndarray, " vertex"], Float[ndarray, " vertex"]]:
    """Where each vertex would go (-1: nowhere) and how far that is (infinity)."""
    n = len(position)
    i, j = face[:, [0, 1, 2, 1, 2, 0]].T.ravel(), face[:, [1, 2, 0, 0, 1, 2]].T.ravel()
    adjacent = sp.csr_matrix((np.ones(len(i), np.int32), (i, j)), (n, n))
    adjacent.data[:] = 1
    # Two common neighbours, or the collapse would fold the surface onto itself.
    common = (adjacent @ adjacent).multiply(adjacent).tocsr()
    span = np.linalg.norm(position[i] - position[j], axis=1)
    short = ~fixed[i] & (span < np.minimum(length[i], length[j])) & (np.asarray(common[i, j]).ravel() == 2)
    i, j, span = i[short], j[short], span[short]
    order = np.argsort(-span)  # The last assignment wins: the shortest.
    target, cost = np.full(n, -1), np.full(n, np.inf)
    target[i[order]], cost[i[order]] = j[order], span[order]
    return target, cost


def _turned_over(face: ndarray, position: ndarray, target: ndarray) -> Int[ndarray, " some"]:
    """Vertices whose move would turn one of their triangles over, or leave nothing of it."""
    turned = []
    corners = position[face]
    before = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        goal = target[face[:, corner]]
        stays = (goal >= 0) & (face != goal[:, None]).all(1)  # The other triangles vanish.
        moved = corners.copy()
        moved[:, corner] = position[goal]
        after = np.cross(moved[:, 1] - moved[:, 0], moved[:, 2] - moved[:, 0])
        limit = LEAST_COSINE * np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned.append(face[stays & ((before * after).sum(1) <= limit), corner])
    return np.concatenate(turned)


def _collapse(face: ndarray, corner_uv: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
    """Move vertices onto their targets; texture coordinates come from a triangle that has both."""
    uv = np.zeros((len(target), 2))
    moves = target != np.arange(len(target))
    for corner, other in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
        both = moves[face[:, corner]] & (target[face[:, corner]] == face[:, other])
        uv[face[both, corner]] = corner_uv[both, other]
    corner_uv = np.where(moves[face][..., None], uv[face], corner_uv)
    face = target[face]
    keep = (face[:, 0] != face[:, 1]) & (face[:, 1] != face[:, 2]) & (face[:, 0] != face[:, 2])
    return face[keep], corner_uv[keep]
