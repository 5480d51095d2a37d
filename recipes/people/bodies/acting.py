"""Random styles: what people do on top of the motion clips. Angles are in radians."""

import numpy as np
from numpy.random import Generator

from recipes.people.bodies.body import Body, between, bone, turn
from recipes.people.bodies.motion import Style

X, Y, Z = np.eye(3)
SIDES = (("L", 1.0), ("R", -1.0))
"""And which way x points there."""
NOISY = (
    *("spine05", "spine03", "spine01", "clavicle.", "upperarm01.", "lowerarm01.", "lowerarm02.", "wrist."),
    *("upperleg01.", "lowerleg01.", "foot."),
)
STANCES = {
    "crouch": 0.07,
    "sit": 0.05,
    "floor": 0.02,
    "kneel": 0.03,
    "lunge": 0.07,
    "kick": 0.04,
    "horse": 0.05,
}
"""Share of the shots in which the legs leave the clip."""
GESTURES = {"raised": 0.07, "spread": 0.04, "tai-chi": 0.08, "hips": 0.03, "folded": 0.03, "head": 0.03}
"""Share of the shots in which both arms do one thing."""
TAI_CHI_STANCES = {"crouch": 0.08, "lunge": 0.3, "kick": 0.1, "horse": 0.22}
TAI_CHI_GESTURES = {"tai-chi": 0.5, "raised": 0.08, "spread": 0.08}
ONE_ARM = 0.3
"""Share of the arms that leave the clip where the gesture does not say."""


def random_style(rng: Generator, body: Body, tai_chi: bool = False, thickness: float = 0.0) -> Style:
    """Hands and head always; arms, legs and joint noise by chance.

    Args:
        rng: Decides.
        body: Whose bones turn.
        tai_chi: More of the stances and gestures of martial arts.
        thickness: Of the clothes, metres: keeps the arms off the body.
    """
    style = Style()
    _pose_hands(rng, body, style)
    _turn_head(rng, style)
    gesture = _choose(rng, TAI_CHI_GESTURES if tai_chi else GESTURES)
    for side in "LR":
        if gesture:
            _aim_arm(body, style, side, *_gesture(rng, gesture))
        elif rng.random() < ONE_ARM:
            up, out = rng.uniform(-0.9, 1.45), rng.uniform(-0.5, 1.7)
            _aim_arm(body, style, side, up, out, rng.normal(0, 0.7), rng.uniform(-0.6, 1.5))
    stance = _choose(rng, TAI_CHI_STANCES if tai_chi else STANCES)
    if stance:
        _pose_legs(rng, style, stance)
    _add_noise(rng, style)
    for side, sign in SIDES:
        style.add(bone(f"upperarm01.{side}"), turn(Z, sign * min(thickness / 0.22, 0.35)))
    return style


def _choose(rng: Generator, odds: dict[str, float]) -> str | None:
    """One of the keys, or None for what is left of 1."""
    choice = int(rng.choice(len(odds) + 1, p=[*odds.values(), 1 - sum(odds.values())]))
    return [*odds, None][choice]


def _pose_hands(rng: Generator, body: Body, style: Style) -> None:
    """Relaxed, open or a fist: fingers turn about the line through the knuckles towards the palm."""
    for side in "LR":
        grip = rng.choice([rng.uniform(0.15, 0.6), 0.0, rng.uniform(1.2, 1.5)], p=[0.5, 0.2, 0.3])
        knuckles = body.direction(f"finger2-1.{side}", f"finger5-1.{side}")
        along = body.direction(f"finger3-1.{side}", f"finger3-3.{side}")
        thumb = body.direction(f"finger3-1.{side}", f"finger1-3.{side}")
        axis = knuckles * np.sign(np.cross(knuckles, along) @ thumb)  # The thumb lies on the palm's side.
        for finger in range(2, 6):
            for phalanx in range(1, 4):
                curl = turn(axis, grip * rng.uniform(0.85, 1.1))
                style.add(bone(f"finger{finger}-{phalanx}.{side}"), curl)
        for phalanx in (2, 3):
            style.add(bone(f"finger1-{phalanx}.{side}"), turn(axis, 0.5 * grip))


def _turn_head(rng: Generator, style: Style) -> None:
    wild = rng.choice([0.4, 1.0, 1.8])
    limit = np.array([1.2, 0.5, 0.4])
    yaw, pitch, roll = np.clip(rng.normal(0, [0.3, 0.15, 0.1]) * wild, -limit, limit) / 4
    for name in ("neck01", "neck02", "neck03", "head"):
        style.add(bone(name), turn(Y, yaw) @ turn(X, pitch) @ turn(Z, roll))


def _gesture(rng: Generator, gesture: str) -> tuple[float, float, float, float]:
    """Where the upper arm points (up, outwards), how it is turned, how far the elbow bends beyond rest."""
    if gesture == "raised":
        return rng.uniform(0.6, 1.5), rng.uniform(0.3, 1.7), rng.normal(0, 0.6), rng.uniform(-0.3, 1.6)
    if gesture == "spread":
        return rng.uniform(-0.5, 0.5), rng.uniform(1.1, 1.8), rng.normal(0, 0.5), rng.uniform(-0.5, 0.9)
    if gesture == "tai-chi":  # Round arms before the body, one or both pushed out.
        return rng.uniform(-0.8, 0.35), rng.uniform(-0.1, 1.4), rng.uniform(-0.9, 0.5), rng.uniform(-0.2, 1.5)
    if gesture == "hips":
        return rng.uniform(-1.1, -0.7), rng.uniform(1.3, 1.9), rng.normal(0.2, 0.2), rng.uniform(1.0, 1.5)
    if gesture == "folded":
        return rng.uniform(-1.3, -0.8), rng.uniform(0.2, 0.7), rng.normal(0, 0.2), rng.uniform(1.2, 1.6)
    # Hands at the head.
    return rng.uniform(0.1, 0.9), rng.uniform(0.6, 1.5), rng.normal(0, 0.3), rng.uniform(1.6, 2.1)


def _aim_arm(body: Body, style: Style, side: str, up: float, out: float, roll: float, bend: float) -> None:
    sign = dict(SIDES)[side]
    aim = np.array([sign * np.cos(up) * np.sin(out), np.sin(up), np.cos(up) * np.cos(out)])
    upper = body.direction(f"upperarm01.{side}", f"lowerarm01.{side}")
    hinge = np.cross(upper, body.direction(f"lowerarm01.{side}", f"wrist.{side}"))
    lift = turn(Z, sign * 0.35 * max(up, 0))  # The shoulder blade follows a raised arm.
    style.instead[bone(f"clavicle.{side}")] = lift
    style.instead[bone(f"upperarm01.{side}")] = lift.T @ turn(aim, sign * roll) @ between(upper, aim)
    style.instead[bone(f"lowerarm01.{side}")] = turn(hinge / np.linalg.norm(hinge), bend)


def _leg_angles(rng: Generator, stance: str) -> tuple[float, list[tuple[float, float, float]]]:
    """How far the trunk leans forward; per leg how far the thigh is raised, the knee bent, the leg opened."""
    lean = rng.uniform(-0.1, 0.3)
    if stance == "crouch":
        lean, hip, knee = rng.uniform(0.1, 0.7), rng.uniform(0.9, 1.9), rng.uniform(0.9, 1.9)
        return lean, [(hip, 1.2 * knee, rng.uniform(0.05, 0.5))] * 2
    if stance == "sit":
        wide = rng.uniform(0.0, 0.35)
        return lean, [(rng.uniform(1.35, 1.65), rng.uniform(1.1, 1.7), wide) for _ in SIDES]
    if stance == "floor":  # Heels as low as the seat.
        hips = rng.uniform(1.5, 2.4, 2)
        return lean, [
            (hip, max(2 * hip - np.pi, 0) + rng.uniform(0, 0.15), rng.uniform(0.0, 0.5)) for hip in hips
        ]
    if stance == "kneel":
        second = (1.5, 1.6, 0.2) if rng.random() < 0.5 else (rng.uniform(0, 0.4), 1.8, 0.1)
        return lean, [(rng.uniform(0, 0.4), rng.uniform(1.5, 2.2), 0.1), second]
    if stance == "lunge":
        deep = rng.uniform(0.5, 1.2)
        front = (deep, deep, rng.uniform(0.1, 0.5))
        return lean, [front, (rng.uniform(-0.6, 0.1), rng.uniform(0, 0.3), rng.uniform(0.1, 0.5))]
    if stance == "horse":  # Feet wide apart, both knees bent.
        hip, knee, wide = rng.uniform(0.3, 0.9), rng.uniform(0.4, 1.2), rng.uniform(0.3, 0.75)
        return lean, [(hip + rng.normal(0, 0.1), knee + rng.normal(0, 0.1), wide) for _ in SIDES]
    return lean, [(rng.uniform(0.7, 1.9), rng.uniform(0, 1.2), rng.uniform(0, 0.4)), (0.1, 0.15, 0.05)]


def _pose_legs(rng: Generator, style: Style, stance: str) -> None:
    lean, legs = _leg_angles(rng, stance)
    style.seat, style.upright = stance == "sit", turn(X, lean)
    for (side, sign), (hip, knee, wide) in zip(SIDES[:: rng.choice([-1, 1])], legs, strict=True):
        raised = turn(Y, sign * 0.6 * wide) @ turn(X, -hip - lean) @ turn(Z, sign * wide)
        style.instead[bone(f"upperleg01.{side}")] = raised
        style.instead[bone(f"lowerleg01.{side}")] = turn(X, knee)
        style.instead[bone(f"foot.{side}")] = turn(X, np.clip(hip - knee, -0.4, 0.9))  # Soles are level.


def _add_noise(rng: Generator, style: Style) -> None:
    """A constant offset of every large joint."""
    spread = rng.choice([0.0, 0.08, 0.16, 0.25], p=[0.2, 0.35, 0.3, 0.15])
    for name in NOISY:
        less = 0.5 if name.startswith(("lowerleg", "clavicle", "foot")) else 1.0
        for number in [bone(name + side) for side in "LR"] if name.endswith(".") else [bone(name)]:
            style.add(number, turn(rng.normal(0, less * spread, 3), 1.0))
