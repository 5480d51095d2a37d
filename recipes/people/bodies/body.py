"""Bodies: the shapes of the anny package, its bones, and the 17 joints that we annotate.

Axes: x to the person's left, y up, z forward; metres. Every body has the topology of the MakeHuman base mesh
(19 158 vertices, the helper geometry for clothes included) and its 163 bones; the rest pose is an A pose.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import anny
import numpy as np
import scipy.sparse as sp
import torch
from numpy import ndarray
from scipy.spatial.transform import Rotation

from dkpvid.shapes import Float, Int

NUM_VERTICES = 19158
NUM_BODY_VERTICES = 13380
"""The visible ones, which come first; then helpers for clothes."""
COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""The annotated joints."""
Z_UP_TO_Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)


@lru_cache(1)
def model() -> anny.Anny:
    """The statistical body. The first call on a machine fills anny's cache, which takes two minutes."""
    return anny.Anny(topology="makehuman", rig="makehuman", phenotypes="all").to(dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The bones that all bodies have."""

    names: tuple[str, ...]
    parents: Int[ndarray, " bone"]
    """Always an earlier bone; the root is its own."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Number of each bone by name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def levels(self) -> list[Int[ndarray, " some"]]:
        """Bones by how many bones are above them, from 1 on."""
        depth = np.zeros(len(self.names), int)
        for bone, parent in enumerate(self.parents[1:], 1):
            depth[bone] = depth[parent] + 1
        return [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]


@lru_cache(1)
def skeleton() -> Skeleton:
    """The skeleton of the bodies."""
    parents = np.array([max(int(parent), 0) for parent in model().bone_parents])
    return Skeleton(tuple(model().bone_labels), parents)


def bone(name: str) -> int:
    """Number of a bone."""
    return skeleton().index[name]


@lru_cache(1)
def skin_weights() -> sp.csr_matrix:
    """How much of each bone's motion each vertex follows, [vertex, bone]; rows sum to 1."""
    index, weight = model().vertex_bone_indices.numpy(), model().vertex_bone_weights.numpy()
    rows = np.repeat(np.arange(len(index)), index.shape[1])
    return sp.csr_matrix((weight.ravel(), (rows, index.ravel())), (NUM_VERTICES, len(skeleton().names)))


@lru_cache(1)
def _joint_weights() -> sp.csr_matrix:
    """[17, vertex]: each joint is a weighted mean of vertices (a table of the anny package)."""
    table = torch.load(Path(anny.__file__).parent / "data/keypoints/coco.pth", weights_only=True)
    return sp.csr_matrix(np.stack([table[name].numpy() for name in COCO]))


@dataclass(frozen=True, eq=False)
class Body:
    """One body at rest."""

    vertices: Float[ndarray, "vertex 3"]
    heads: Float[ndarray, "bone 3"]
    """Where each bone begins."""

    def joints(self, pose: Float[ndarray, "bone 3 4"]) -> Float[ndarray, "17 3"]:
        """The annotated joints of the posed body."""
        return np.einsum("kbj,bij->ki", self._joint_terms, pose)

    @cached_property
    def _joint_terms(self) -> Float[ndarray, "17 bone 4"]:
        """Skinning is linear: a joint is the sum over bones of the bone's matrix times these points."""
        homogeneous = np.c_[self.vertices, np.ones(NUM_VERTICES)]
        weighted = (_joint_weights().multiply(coordinate).tocsr() for coordinate in homogeneous.T)
        return np.stack([(weights @ skin_weights()).toarray() for weights in weighted], -1)

    @cached_property
    def to_tpose(self) -> Float[ndarray, "bone 3 3"]:
        """From the A pose at rest to the T pose of the motion clips; arms turn, hands follow them."""
        bones = skeleton()
        turns = np.tile(np.eye(3), (len(bones.names), 1, 1))
        for number, name in enumerate(bones.names):
            side = name[-1]
            if name.startswith(("upperarm", "lowerarm")):
                first, last = (
                    ("upperarm01", "lowerarm01") if name.startswith("upper") else ("lowerarm01", "wrist")
                )
                sideways = np.array([1.0 if side == "L" else -1.0, 0, 0])
                turns[number] = between(self.direction(f"{first}.{side}", f"{last}.{side}"), sideways)
            elif number and not name.startswith(("clavicle", "shoulder")):
                turns[number] = turns[bones.parents[number]]
        return turns

    def direction(self, start: str, end: str) -> Float[ndarray, " 3"]:
        """Unit vector from the head of one bone to the head of another."""
        way = self.heads[bone(end)] - self.heads[bone(start)]
        return way / np.linalg.norm(way)


def make_body(**phenotype: float) -> Body:
    """A body from its phenotype.

    Args:
        **phenotype: Values in 0..1 of gender (1: male), age, muscle, weight, height, proportions, african,
            asian, caucasian; 0.5 where not given.
    """
    values = {key: torch.tensor([float(phenotype.get(key, 0.5))]) for key in model().phenotype_labels}
    still = torch.eye(4).repeat(1, len(skeleton().names), 1, 1)
    with torch.no_grad():
        shape = model()(pose_parameters=still, phenotype_kwargs=values)
    return Body(*(shape[key][0].numpy() @ Z_UP_TO_Y_UP for key in ("rest_vertices", "rest_bone_heads")))


@lru_cache(1)
def average_body() -> Body:
    """The body whose phenotype is all in the middle."""
    return make_body()


def turn(axis: Float[ndarray, " 3"] | list[float], angle: float) -> Float[ndarray, "3 3"]:
    """Rotation about a unit axis, in radians."""
    return Rotation.from_rotvec(np.asarray(axis, float) * angle).as_matrix()


def between(start: Float[ndarray, " 3"], end: Float[ndarray, " 3"]) -> Float[ndarray, "3 3"]:
    """The smallest rotation that takes one unit vector to another (not to its opposite)."""
    x, y, z = np.cross(start, end)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / (1 + float(start @ end) + 1e-9)
