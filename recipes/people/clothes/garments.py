"""Packed MakeHuman garments, shoes and hair, which fit any body."""

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from scipy.sparse.csgraph import connected_components

from dkpvid.shapes import Float
from recipes.people.assets import Assets
from recipes.people.bodies.body import NUM_VERTICES, Body, average_body, skin_weights
from recipes.people.clothes.base import EDGE_BODY, base_mesh
from recipes.people.clothes.mesh import Surface, averaging, strongest_bones
from recipes.people.clothes.simplify import cached_simplify

EDGE_EYES = 0.004
"""Of eyes and eyebrows: edges shorter than this (metres) are collapsed."""
LOW = 0.15
"""Mean height (see BaseMesh.height) below which a piece of a suit is trousers or skirt."""


class Garment:
    """A garment by name; its vertices are weighted means of three body vertices, plus an offset."""

    def __init__(self, assets: Assets, name: str) -> None:
        packed = assets.arrays("meshes", name)
        count = len(packed["reference"])
        rows = np.repeat(np.arange(count), 3)
        entries = (packed["weight"].ravel(), (rows, packed["reference"].ravel()))
        self._follow = sp.csr_matrix(entries, (count, NUM_VERTICES))
        self._offset, self._scale = packed["offset"], packed["scale"]
        self.texture_name = assets.texture_name(name)
        self.hidden = packed["deleted"]
        """Body vertices below."""
        face, uv = packed["face"], packed["uv"][packed["face_uv"]]
        edge = EDGE_EYES if name.startswith(("eyebrow", "low-poly")) else EDGE_BODY
        fewer, fewer_uv = cached_simplify(name, face, self.fit(average_body()), edge, uv)
        self.surface = Surface(fewer, fewer_uv, *strongest_bones((self._follow @ skin_weights()).tocsr()))
        self.height = self._follow @ base_mesh().height
        self.smoothing = averaging(face, count)
        piece = connected_components(self.smoothing, False)[1]
        self.low = (np.bincount(piece, self.height) / np.bincount(piece))[piece] < LOW
        """Vertices of trousers or skirt, apart from the top."""

    def fit(self, body: Body) -> Float[ndarray, "vertex 3"]:
        """Vertices on a body at rest."""
        scale = [
            abs(body.vertices[int(first), axis] - body.vertices[int(last), axis]) / divisor
            if divisor
            else 0.1
            for axis, (first, last, divisor) in enumerate(self._scale)
        ]
        return self._follow @ body.vertices + self._offset * scale


garment = lru_cache(None)(Garment)
"""`Garment(assets, name)`, each made once."""
