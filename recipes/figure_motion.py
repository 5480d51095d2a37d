"""How the rendered people move: a table of periodic motions, and the skeleton that a pose gives.

World frame: x to the image's right, y up, z towards the viewer, the origin on the floor, unit: one body
height. Positive yaw turns a figure that faces the viewer to the image's right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDED_JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ("head", *(f"{side}_{name}" for name in SIDED_JOINTS for side in ("left", "right")))
EDGES = ((0, 1), (0, 2), (1, 3), (3, 5), (2, 4), (4, 6), (1, 7), (2, 8), (7, 9), (9, 11), (8, 10), (10, 12))

# A pose is one number per channel, in degrees; `lift` is in body heights, and `planted` is the share of
# the feet's movement that the body makes instead (1: the feet stay and the hips move).
SIDED_CHANNELS = ("arm_flex", "arm_spread", "arm_turn", "elbow", "leg_flex", "leg_spread", "knee")
TRUNK_CHANNELS = ("lean", "tilt", "twist", "lift", "planted")
CHANNELS = (*(f"{side}_{name}" for side in "lr" for name in SIDED_CHANNELS), *TRUNK_CHANNELS)

# One motion a line: its cycles per second, then waves `channel mean swing phase harmonic`, the phase in
# cycles. A channel without l_ or r_ means both sides.
MOTION_TABLE = """
walk 0.95: l_leg_flex 3 26; r_leg_flex 3 26 .5; l_knee 25 22 .24; r_knee 25 22 .74; l_arm_flex 2 25 .5; \
  r_arm_flex 2 25; arm_spread 6; elbow 28 6; twist 0 6; lean 3
march 1: l_leg_flex 32 33; r_leg_flex 32 33 .5; l_knee 40 38; r_knee 40 38 .5; l_arm_flex 20 35 .5; \
  r_arm_flex 20 35; arm_spread 8; elbow 75 10
jacks 0.9: arm_spread 90 72 -.25; elbow 14 6; leg_spread 14 11 -.25; knee 10 8 0 2; \
  lift .02 .02 -.25 2; planted 1
squat 0.6: leg_flex 46 43 -.25; knee 56 52 -.25; lean 20 16 -.25; arm_flex 48 38 -.25; elbow 10; \
  leg_spread 11; planted 1
wave 1.4: r_arm_spread 82 4; r_arm_turn 88; r_elbow 72 28; l_arm_spread 9; l_elbow 16; leg_spread 5; \
  tilt 2 3; knee 4; planted 1
box 1.1: l_arm_flex 52 34; r_arm_flex 52 34 .5; l_elbow 70 62 .5; r_elbow 70 62; arm_spread 12; \
  arm_turn -18; twist 0 20 .5; l_leg_flex 20; r_leg_flex -12; l_knee 20 4 0 2; r_knee 24 4 0 2; \
  leg_spread 8; lean 5; planted 1
bend 0.5: lean 40 37 -.25; arm_flex 44 38 -.25; elbow 8; leg_flex 9 9 -.25; knee 8 4; leg_spread 7; \
  planted 1
side_bend 0.5: tilt 0 22; l_arm_spread 80 70 .5; r_arm_spread 80 70; elbow 12; leg_spread 13; \
  planted 1
tai_chi 0.3: leg_spread 21; l_knee 38 18; r_knee 38 18 .5; l_leg_flex 24 10; r_leg_flex 24 10 .5; \
  l_arm_flex 55 28 .1; r_arm_flex 55 28 .5; l_arm_spread 28 22 .3; r_arm_spread 28 22 .75; \
  arm_turn -12 25 .6; l_elbow 55 30 .45; r_elbow 55 30 .1; twist 0 22 .2; tilt 0 4; planted 1
kick 0.7: r_leg_flex 32 44 -.25; r_knee 30 22 .05; l_knee 8; arm_spread 35 8; arm_flex 20 15 .25; \
  elbow 50; lean -5 5
dance 0.8: l_arm_spread 85 60; r_arm_spread 85 60 .5; l_elbow 45 30 .2; r_elbow 45 30 .7; \
  arm_turn 40 40 .3; twist 0 15 .25; tilt 0 10; leg_spread 12; l_knee 20 14; r_knee 20 14 .5; \
  l_leg_flex 10 7; r_leg_flex 10 7 .5; planted 1
stretch 0.4: arm_flex 95 70 -.25; arm_spread 14 8; elbow 20 15 .25; lean -2 4; leg_spread 6; knee 5 4; \
  planted 1
"""

STRIDE = 0.031  # body heights walked per cycle and degree of leg swing: the feet hardly slide
ANKLE_HEIGHT = 0.045  # body heights


def _parse_motions(table: str) -> dict[str, tuple[float, np.ndarray]]:
    """The table as motion -> (cycles per second, channels x (mean, swing, phase, harmonic))."""
    motions = {}
    for line in table.strip().splitlines():
        head, _, waves = line.partition(":")
        name, frequency = head.split()
        values = np.tile([0.0, 0, 0, 1], (len(CHANNELS), 1))
        for wave in waves.split(";"):
            channel, *numbers = wave.split()
            for row in [i for i, full in enumerate(CHANNELS) if channel in (full, full[2:])]:
                values[row, : len(numbers)] = [float(number) for number in numbers]
        motions[name] = (float(frequency), values)
    return motions


MOTIONS = _parse_motions(MOTION_TABLE)


@dataclass(frozen=True)
class Segment:
    """One motion of a clip, from `start_seconds` until the next segment."""

    start_seconds: float
    frequency: float
    """Cycles per second."""
    waves: np.ndarray
    """Channels x (mean, swing, phase, harmonic), as in MOTIONS."""


def segment_pose(segment: Segment, time_seconds: float) -> np.ndarray:
    """The channels' values at a time of the clip."""
    mean, swing, phase, harmonic = segment.waves.T
    cycles = segment.frequency * (time_seconds - segment.start_seconds)
    return mean + swing * np.sin(2 * np.pi * (harmonic * cycles + phase))


def plan_motions(
    rng: np.random.Generator, motions: Sequence[str], duration_seconds: float, room: float
) -> tuple[tuple[Segment, ...], np.ndarray, np.ndarray]:
    """Give each motion an equal time, and walk across as far as `room` (x in body heights) allows."""
    each = duration_seconds / len(motions)
    x, yaw = rng.uniform(-room, room), rng.uniform(-60, 60)
    if "walk" in motions:
        x = rng.choice([-1, 1]) * room
    segments, seconds, path = [], [], []
    for index, name in enumerate(motions):
        frequency, waves = MOTIONS[name]
        frequency *= rng.uniform(0.85, 1.15)
        waves = waves * [1, rng.uniform(0.8, 1.05), 1, 1]
        waves[:14, 0] += rng.normal(0, 3, 14) * (waves[:14, 0] != 0)  # nobody is quite symmetric
        if rng.random() < 0.5:  # the same with the other arm and leg
            waves = waves[[*range(7, 14), *range(7), *range(14, 19)]]
            waves[15:17, :2] *= -1  # tilt and twist
        begin = end = x
        yaws = yaw + rng.uniform(-15, 15, 2)
        if name == "walk":
            stride = STRIDE * waves[4, 1]
            way = -1 if x > 0 else 1
            distance = min(stride * frequency * each, room - way * x)
            yaws = way * rng.uniform(60, 85, 2)
            if distance > 0.5 * stride:  # otherwise there is no room: walk in place
                end, frequency = x + way * distance, distance / stride / each
        segments.append(Segment(index * each, frequency, waves))
        seconds += [index * each + 0.25, (index + 1) * each - 0.25]
        path += [(begin, rng.uniform(-0.05, 0.05), yaws[0]), (end, rng.uniform(-0.05, 0.05), yaws[1])]
        x, yaw = end, rng.uniform(-60, 60)
    return tuple(segments), np.array(seconds), np.array(path)


@dataclass(frozen=True)
class Proportions:
    """A person's measures in body heights."""

    shoulder: float
    hip: float
    arm: float
    leg: float


@dataclass(frozen=True)
class Skeleton:
    """One moment of a person, in the world frame.

    The frames' columns are the directions left, up and forward of the chest, the hips and the head.
    """

    joints: np.ndarray
    chest: np.ndarray
    hips: np.ndarray
    head: np.ndarray
    toes: np.ndarray
    """Directions of the left and the right foot."""


def _turn(axis: int, degrees: float) -> np.ndarray:
    """The right-handed rotation about x, y or z (0, 1, 2)."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def pose_skeleton(pose: np.ndarray, body: Proportions, x: float, z: float, yaw: float) -> Skeleton:
    """Put a pose's joints into the world, with the lower foot on the floor.

    Args:
        pose: The channels' values, as CHANNELS.
        body: The person's measures.
        x: Where the hips are (the feet, as far as the pose is planted), in body heights.
        z: The same towards the viewer.
        yaw: Where the hips face, in degrees.
    """
    lean, tilt, twist, lift, planted = pose[14:]
    chest = _turn(1, twist) @ _turn(0, lean) @ _turn(2, tilt)
    spine = 0.29 * (0.5 * chest[:, 1] + 0.5 * (_turn(0, 0.8 * lean) @ _turn(2, 0.8 * tilt))[:, 1])
    joints = np.zeros((13, 3))
    toes = np.zeros((2, 3))
    for side, mirror in enumerate(([1, 1, 1], [-1, 1, 1])):
        arm_flex, spread, turn, elbow, leg_flex, leg_spread, knee = pose[7 * side : 7 * side + 7]
        bend = np.radians(elbow)
        arm = chest @ np.diag(mirror) @ _turn(0, -arm_flex) @ _turn(2, spread) @ _turn(1, turn)
        joints[1 + side] = spine + chest @ (np.array([body.shoulder, 0, 0]) * mirror)
        joints[3 + side] = joints[1 + side] - 0.168 * body.arm * arm[:, 1]
        forearm = arm @ [0, -np.cos(bend), np.sin(bend)]
        joints[5 + side] = joints[3 + side] + 0.15 * body.arm * forearm
        bend = np.radians(knee)
        leg = np.diag(mirror) @ _turn(0, -leg_flex) @ _turn(2, leg_spread)
        joints[7 + side] = np.array([body.hip, 0, 0]) * mirror
        joints[9 + side] = joints[7 + side] - 0.25 * body.leg * leg[:, 1]
        shin = leg @ [0, -np.cos(bend), -np.sin(bend)]
        joints[11 + side] = joints[9 + side] + 0.235 * body.leg * shin
        toes[side] = leg @ [0, -np.sin(bend), np.cos(bend)]
    head_up = chest[:, 1] + [0, 0.6, 0]
    joints[0] = spine + 0.115 * head_up / np.linalg.norm(head_up)

    ankles = joints[11:13]
    floor = ankles[:, 1].min() - ANKLE_HEIGHT
    # A foot on the floor is flat; only a lifted one keeps its right angle to the shin.
    lifted = np.clip((ankles[:, 1:2] - floor - ANKLE_HEIGHT) / 0.12, 0, 1)
    toes = lifted * toes + (1 - lifted) * [[0.2, 0, 1], [-0.2, 0, 1]]
    shift = -planted * ankles.mean(0)
    shift[1] = lift - floor
    heading = _turn(1, yaw)
    head = heading @ _turn(1, 0.7 * twist) @ _turn(0, 0.5 * lean) @ _turn(2, 0.7 * tilt)
    return Skeleton(
        joints=(joints + shift) @ heading.T + [x, 0, z],
        chest=heading @ chest,
        hips=heading,
        head=head,
        toes=toes / np.linalg.norm(toes, axis=1, keepdims=True) @ heading.T,
    )
