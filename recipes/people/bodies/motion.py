"""Motion clips of the assets, and the pose of a body at a moment of one."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy import ndarray
from scipy.spatial.transform import Rotation

from dkpvid.shapes import Float
from recipes.people.assets import Assets
from recipes.people.bodies.body import Body, skeleton, turn

FRAMES_PER_SECOND = 20.0
_SOURCE_JOINTS = {
    "root": ("Hips", "hip"),
    "pelvis": ("Hips", "hip"),
    "upperleg": ("{}UpLeg", "{}Thigh"),
    "lowerleg": ("{}Leg", "{}Shin"),
    "foot": ("{}Foot", "{}Foot"),
    "spine05": ("LowerBack", "abdomen"),
    "spine04": ("LowerBack", "abdomen"),
    "spine03": ("Spine", "abdomen"),
    "spine02": ("Spine", "chest"),
    "spine01": ("Spine1", "chest"),
    "clavicle": ("{}Shoulder", "{}Collar"),
    "shoulder01": ("{}Shoulder", "{}Collar"),
    "upperarm": ("{}Arm", "{}Shldr"),
    "lowerarm": ("{}ForeArm", "{}ForeArm"),
    "wrist": ("{}Hand", "{}Hand"),
    "neck01": ("Neck", "neck"),
    "neck02": ("Neck1", "neck"),
    "neck03": ("Neck1", "neck"),
    "head": ("Head", "head"),
}
"""Beginning of a bone's name: its joint in cmu_asf and in cmu_daz; {} stands for the side."""


@dataclass
class Style:
    """What a person does on top of a clip, the same through a shot. Rotations are in rest axes."""

    extra: dict[int, ndarray] = field(default_factory=dict)
    """Bone: rotation added to the clip's."""
    instead: dict[int, ndarray] = field(default_factory=dict)
    """Bone: rotation relative to its parent that replaces the clip's."""
    upright: ndarray | None = None
    """Pitch of the pelvis that replaces the clip's; its heading is kept."""
    seat: bool = False
    """Sits on something that has to be drawn."""

    def add(self, bone: int, rotation: Float[ndarray, "3 3"]) -> None:
        """Turn a bone further, before all that turns it already."""
        self.extra[bone] = self.extra.get(bone, np.eye(3)) @ rotation


class Clips:
    """One motion file: clips of one source skeleton, as local joint rotations."""

    def __init__(self, assets: Assets, name: str) -> None:
        packed = assets.arrays("motion", name)
        self.parents, self.start = packed["parent"], packed["start"]
        self.rotation, self.root = packed["rotation"], packed["root"]
        # People do not fly.
        self.usable = [k for k, clip in enumerate(packed["clip"]) if not str(clip).startswith("fly")]
        # Rotations on the bodies' own skeleton are since the A pose; the others are since a T pose.
        self.native = name == "poses"
        joints = [str(joint) for joint in packed["joint"]]
        sources = [self._source(bone, joints, daz=name == "cmu_daz") for bone in skeleton().names]
        followed = list(range(len(sources)))
        for bone, source in enumerate(sources):
            if source < 0:
                followed[bone] = followed[skeleton().parents[bone]]
        self.followed = np.array(followed)
        """Per bone: itself, or the next bone above it that the clips move."""
        self.source = np.array(sources)[self.followed]
        tpose = packed.get("tpose", np.zeros((1, len(joints), 3)))
        self.from_tpose = [self._chain(Rotation.from_rotvec(t).as_matrix()).transpose(0, 2, 1) for t in tpose]

    def _source(self, bone: str, joints: list[str], daz: bool) -> int:
        """The source joint that a bone follows, -1 for none."""
        if self.native:
            return joints.index(bone) if bone in joints else -1
        key = next((key for key in _SOURCE_JOINTS if bone.startswith(key)), None)
        if key is None:
            return -1
        side = {".L": ("Left", "l"), ".R": ("Right", "r")}.get(bone[-2:], ("", ""))[daz]
        return joints.index(_SOURCE_JOINTS[key][daz].format(side))

    def _chain(self, local: Float[ndarray, "joint 3 3"]) -> Float[ndarray, "joint 3 3"]:
        world = local.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                world[joint] = world[parent] @ local[joint]
        return world

    def _frame(self, clip: int, seconds: float) -> tuple[int, int, float]:
        """The frames before and after a moment and how far it lies between; clips are held at their ends."""
        first, last = self.start[clip], self.start[clip + 1] - 1
        frame = float(np.clip(first + seconds * FRAMES_PER_SECOND, first, last))
        return int(frame), min(int(frame) + 1, int(last)), frame - int(frame)

    def rotations(self, clip: int, seconds: float) -> Float[ndarray, "joint 3 3"]:
        """World rotations of the source joints since the T pose."""
        before, after, share = self._frame(clip, seconds)
        local = Rotation.from_rotvec(self.rotation[before].astype(float))
        if share > 1e-3:
            step = local.inv() * Rotation.from_rotvec(self.rotation[after].astype(float))
            local = local * Rotation.from_rotvec(share * step.as_rotvec())
        return self._chain(local.as_matrix()) @ self.from_tpose[min(clip, len(self.from_tpose) - 1)]

    def hips(self, clip: int, seconds: float) -> Float[ndarray, " 3"]:
        """Place of the hips in the clip's own world, metres."""
        before, after, share = self._frame(clip, seconds)
        return (1 - share) * self.root[before] + share * self.root[after]

    def seconds(self, clip: int) -> float:
        """Length of a clip."""
        return float(self.start[clip + 1] - self.start[clip] - 1) / FRAMES_PER_SECOND


clips = lru_cache(None)(Clips)
"""`Clips(assets, name)`, each read once."""


def pose(body: Body, source: Clips, clip: int, seconds: float, style: Style) -> Float[ndarray, "bone 3 4"]:
    """Matrices that take rest vertices to posed ones; the root stays at its rest place."""
    bones = skeleton()
    parents, heads = bones.parents, body.heads
    rest = np.eye(3)[None] if source.native else body.to_tpose[source.followed]
    clip_world = source.rotations(clip, seconds)[source.source] @ rest
    rotation = clip_world[parents].transpose(0, 2, 1) @ clip_world
    root = clip_world[0]
    heading = turn([0, 1, 0], float(np.arctan2(root[0, 2], root[2, 2])))
    rotation[0] = root if style.upright is None else heading @ style.upright
    for bone, own in style.instead.items():
        rotation[bone] = own
    for bone, further in style.extra.items():
        rotation[bone] = rotation[bone] @ further
    place = heads.astype(float)
    for level in bones.levels:
        up = parents[level]
        rotation[level] = rotation[up] @ rotation[level]
        place[level] = place[up] + np.einsum("nij,nj->ni", rotation[up], heads[level] - heads[up])
    shift = place - np.einsum("nij,nj->ni", rotation, heads)
    return np.concatenate([rotation, shift[..., None]], 2)


def skin(
    bones: Float[ndarray, "bone 3 4"],
    points: Float[ndarray, "vertex 3"],
    index: ndarray,
    weight: Float[ndarray, "vertex 4"],
) -> Float[ndarray, "vertex 3"]:
    """Points at rest moved by up to four bones each."""
    matrix = np.einsum("vk,vkij->vij", weight, bones[index])
    return np.einsum("vij,vj->vi", matrix[:, :, :3], points) + matrix[:, :, 3]
