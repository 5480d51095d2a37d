"""The base mesh of all bodies: its body, tights and skirt, where every vertex lies on a person, and cuts."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import anny
import numpy as np
from numpy import ndarray

from dkpvid.shapes import Bool, Float
from recipes.people.bodies.body import (
    NUM_BODY_VERTICES,
    NUM_VERTICES,
    Body,
    average_body,
    bone,
    model,
    skeleton,
    skin_weights,
)
from recipes.people.clothes.mesh import averaging, strongest_bones, triangles
from recipes.people.clothes.simplify import cached_simplify

TORSO, ARMS, LEGS = 0, (1, 2), (3, 4)
GIRTH = np.array([1, 0.35, 0.35, 0.5, 0.5])
"""Metres of texture round each part."""
NECK_FRONT = np.array([0, 0.02, 0.045])
"""From the neck bone to the middle of a collar, metres."""
EDGE_HEAD, EDGE_HAND, EDGE_BODY, EDGE_CLOTH = 0.009, 0.012, 0.018, 0.028
"""Edges shorter than these (metres) are collapsed."""
_ARM_BONES = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
_LEG_BONES = ("upperleg", "lowerleg", "foot", "toe")
_LIMBS = (
    (ARMS, _ARM_BONES, ("upperarm01", "lowerarm01", "wrist", "finger3-3")),
    (LEGS, _LEG_BONES, ("upperleg01", "lowerleg01", "foot", "toe3-3")),
)
"""Per pair of limbs: what its bones' names begin with; the bones at its joints."""


class BaseMesh:
    """What is the same for all bodies."""

    def __init__(self) -> None:
        self.bone, self.weight = strongest_bones(skin_weights())
        groups = _groups()
        tights, skirt = triangles(groups["helper-tights"]), triangles(groups["helper-skirt"])
        quads = model().faces.numpy()
        uv = model().texture_coordinates.numpy()[model().face_texture_coordinate_indices.numpy()]
        visible = (quads < NUM_BODY_VERTICES).all(1)
        body, body_uv = triangles(quads[visible]), triangles(uv[visible])
        self.all_faces = np.concatenate([body, tights, skirt])
        self.smoothing = averaging(self.all_faces, NUM_VERTICES)
        self.part = np.zeros(NUM_VERTICES, int)
        """TORSO, or one of ARMS or LEGS (left first)."""
        self.along = np.zeros(NUM_VERTICES)
        """How far down its limb: 0 at the root, 1 at wrist or ankle, 2 at the tips."""
        self._uv = np.zeros((5, NUM_VERTICES, 2))
        self._measure(average_body())
        edges = np.where(np.isin(self.part, ARMS) & (self.along > 1), EDGE_HAND, EDGE_BODY)
        edges = np.where(self.height > 1.0, EDGE_HEAD, edges)
        vertices = average_body().vertices
        self.body, self.body_uv = cached_simplify("body", body, vertices, edges, body_uv)
        self.tights, self.skirt = (
            cached_simplify(name, face, vertices, EDGE_CLOTH, np.zeros((*face.shape, 2)))[0]
            for name, face in (("tights", tights), ("skirt", skirt))
        )

    def _measure(self, body: Body) -> None:
        """Where every vertex lies: limb, along it, height, and place in the texture of cloth."""
        vertices, heads = body.vertices, body.heads
        for limbs, prefixes, chain in _LIMBS:
            for part, side in zip(limbs, "LR", strict=True):
                joints = [heads[bone(f"{name}.{side}")] for name in chain]
                along, centre = _along(vertices, joints)
                axis = joints[2] - joints[0]
                length = np.linalg.norm(axis)
                front = np.cross([1, 0, 0], axis) if part in LEGS else np.cross(axis, [0, 1, 0])
                front = front / np.linalg.norm(front)
                across = np.cross(axis / length, front)
                angle = np.arctan2((vertices - centre) @ across, (vertices - centre) @ front)
                self._uv[part] = np.c_[angle / (2 * np.pi) * GIRTH[part], -length * along]
                mine = [
                    k
                    for name, k in skeleton().index.items()
                    if name.startswith(prefixes) and name.endswith(side)
                ]
                follows = np.asarray(skin_weights()[:, mine].sum(1)).ravel() > 0.5
                self.part[follows], self.along[follows] = part, along[follows]
        hip, neck = heads[bone("upperleg01.L")][1], heads[bone("neck01")]
        self.height = (vertices[:, 1] - hip) / (neck[1] - hip)
        """0 at the hip joints, 1 at the base of the neck."""
        self.from_neck = np.linalg.norm(vertices - neck - NECK_FRONT, axis=1) / (neck[1] - hip)
        """From the middle of the collar, in the same unit."""
        round_torso = np.arctan2(vertices[:, 0], vertices[:, 2] - 0.02) / (2 * np.pi)
        self._uv[TORSO] = np.c_[round_torso, vertices[:, 1] - hip]

    def cloth_uv(self, face: ndarray) -> Float[ndarray, "triangle 3 2"]:
        """Texture coordinates in metres: round the trunk or limb, and along it."""
        part = np.sort(self.part[face], 1)[:, 1]  # The majority's.
        uv = self._uv[part[:, None], face]
        girth = GIRTH[part][:, None]
        uv[..., 0] -= np.round((uv[..., 0] - uv[:, :1, 0]) / girth) * girth  # Triangles across the seam.
        return uv


def _groups() -> dict[str, ndarray]:
    """Quads of the base mesh's groups that clothes are cut from."""
    groups: dict[str, list[list[int]]] = {}
    quads: list[list[int]] = []
    for line in (Path(anny.__file__).parent / "data/mpfb2/3dobjs/base.obj").read_text("utf-8").splitlines():
        if line.startswith("g "):
            quads = groups.setdefault(line.split()[1], [])
        elif line.startswith("f "):
            quads.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    return {name: np.array(groups[name]) for name in ("helper-tights", "helper-skirt")}


def _along(vertices: ndarray, joints: list[ndarray]) -> tuple[Float[ndarray, " vertex"], ndarray]:
    """How far down a limb of three bones each vertex is (0 to 2), and the nearest point of the bones."""
    ways = [(start, end - start) for start, end in pairwise(joints)]
    shares = [np.clip((vertices - start) @ way / (way @ way), 0, 1) for start, way in ways]
    steps = [share[:, None] * way for share, (_, way) in zip(shares, ways, strict=True)]
    return 0.5 * shares[0] + 0.5 * shares[1] + shares[2], joints[0] + sum(steps)


@lru_cache(1)
def base_mesh() -> BaseMesh:
    """The base mesh."""
    return BaseMesh()


@dataclass(frozen=True)
class Cut:
    """How far a garment reaches: heights as in BaseMesh.height, limbs as in BaseMesh.along."""

    hem: float = -9.0
    top: float = 9.0
    sleeve: float = -1.0
    leg: float = 9.0
    neck: float = 0.0
    """Radius of the opening about the base of the neck, in heights."""

    def covers(self, margin: float = 0.0, skirt: bool = False) -> Bool[ndarray, " vertex"]:
        """Which vertices lie at least `margin` inside."""
        base = base_mesh()
        trunk = (base.height >= self.hem + margin) & (base.height <= self.top - margin)
        if not skirt:
            trunk &= ~(np.isin(base.part, LEGS) & (base.along > self.leg - margin))
            trunk = np.where(np.isin(base.part, ARMS), base.along <= self.sleeve - margin, trunk)
        return trunk & (base.from_neck >= self.neck + margin)
