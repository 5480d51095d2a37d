"""What one person wears, collected: packed garments, and clothes tailored from the base mesh."""

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Bool, Float, UInt8
from recipes.people.bodies.body import NUM_VERTICES, Body, bone
from recipes.people.clothes.base import ARMS, LEGS, NECK_FRONT, Cut, base_mesh
from recipes.people.clothes.mesh import MAX_IMAGES, Part, Soup, Surface, assemble, normals, ramp

SMOOTHINGS = 4
"""Of the normals along which cloth is pushed off the body."""


class Outfit:
    """The surfaces of one person, their images, what they hide of the body. The first image is its skin."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.hidden: Bool[ndarray, " vertex"] = np.zeros(NUM_VERTICES, bool)
        """Body vertices that are not drawn."""
        self.thickness = 0.0
        """Metres of cloth on the body."""
        self._parts: list[Part] = []
        self._images: list[ndarray] = []
        self._tint, self._relief = np.ones((MAX_IMAGES, 4), np.float32), np.zeros(MAX_IMAGES, np.float32)
        outwards = normals(base_mesh().all_faces, body.vertices)
        for _ in range(SMOOTHINGS):
            outwards = base_mesh().smoothing @ outwards
        self._outwards = outwards / np.linalg.norm(outwards, axis=1, keepdims=True).clip(1e-9)

    def paint(
        self,
        picture: UInt8[ndarray, "256 256 4"],
        tint: ndarray | float = 1.0,
        gloss: float = 0.1,
        relief: float = 0.0,
    ) -> int:
        """Add an image, and return its number.

        Args:
            picture: RGBA; alpha cuts out, or is the height of folds.
            tint: Factors of linear RGB.
            gloss: 0 is matt.
            relief: Metres that folds are high; 0: alpha cuts out.
        """
        number = len(self._images)
        self._images.append(picture)
        self._tint[number, :3], self._tint[number, 3], self._relief[number] = tint, gloss, relief
        return number

    def wear(self, surface: Surface, vertices: Float[ndarray, "vertex 3"], layer: int | ndarray) -> None:
        """Put on a surface; `layer`: number of its image, or of each vertex's."""
        drawn = np.broadcast_to(layer, len(vertices))[surface.source]
        self._parts.append(Part(surface, vertices, drawn))

    def shell(self, keep: Bool[ndarray, " vertex"], push: float, layer: int) -> None:
        """Wear the body's triangles whose vertices are all kept, pushed out by metres."""
        base = base_mesh()
        face = base.body[keep[base.body].all(1)]
        vertices = self.body.vertices + self._outwards * push
        self.wear(Surface(face, base.cloth_uv(face), base.bone, base.weight), vertices, layer)

    def tailor(
        self,
        cut: Cut,
        layer: int,
        loose: float,
        flare: float,
        skirt: bool = False,
        cuffed: bool = False,
        bell: float = 0.0,
    ) -> None:
        """Wear the base mesh's tights, or its skirt, cut to size.

        Args:
            cut: How far it reaches.
            layer: Number of the image.
            loose: Metres off the body.
            flare: Metres more at the ends of limbs and of skirts.
            skirt: The skirt instead of the tights.
            cuffed: Gathered at the ends.
            bell: Metres by which wide sleeves hang at their ends.
        """
        base = base_mesh()
        face = base.skirt if skirt else base.tights
        face = face[cut.covers(0, skirt)[face].any(1) & cut.covers(-0.14, skirt)[face].all(1)]
        arm = np.isin(base.part, ARMS) & (not skirt)
        leg = np.isin(base.part, LEGS) & (not skirt)
        trunk_end = -base.height / 1.5 if skirt else np.zeros(NUM_VERTICES)
        end = np.select([arm, leg], [base.along / max(cut.sleeve, 0.1), base.along], trunk_end).clip(0, 1.2)
        push = loose + flare * end**1.5 * (1 - 0.8 * ramp(end, 0.85, 1.0) * cuffed)
        push += arm * bell * end**2 * (0.25 + 0.75 * (-self._outwards[:, 1]).clip(0))
        push *= 1 - 0.75 * ramp(base.height, 0.8, 1.0) * ~arm  # Collars fit.
        if cut.top < 0.6:
            push *= 1 - 0.6 * ramp(base.height, cut.top - 0.25, cut.top)  # Waists fit.
        vertices = self._trim(cut, self.body.vertices + self._outwards * push[:, None], skirt)
        self.wear(Surface(face, base.cloth_uv(face), base.bone, base.weight), vertices, layer)
        beneath = cut.covers(0.12, True) & ~np.isin(base.part, ARMS) if skirt else cut.covers(0.05)
        self.hidden |= beneath & (base.height < 1.0)  # The head stays.
        self.thickness = max(self.thickness, loose + 0.3 * flare + 0.3 * bell)

    def _trim(self, cut: Cut, vertices: ndarray, skirt: bool) -> Float[ndarray, "vertex 3"]:
        """Clean edges: what reaches beyond the cut is moved onto it."""
        base, heads = base_mesh(), self.body.heads
        hip, neck = heads[bone("upperleg01.L")][1], heads[bone("neck01")]
        unit = neck[1] - hip
        arm = np.isin(base.part, ARMS) & (not skirt)
        level = vertices[:, 1].clip(hip + cut.hem * unit, hip + cut.top * unit)
        vertices[:, 1] = np.where(arm, vertices[:, 1], level)
        away = vertices - neck - NECK_FRONT
        distance = np.linalg.norm(away, axis=1, keepdims=True).clip(1e-3)
        collar = neck + NECK_FRONT + away * cut.neck * unit / distance
        vertices = np.where((base.from_neck < cut.neck)[:, None], collar, vertices)
        if skirt:
            return vertices
        for limbs, limit, first, last in (
            (ARMS, cut.sleeve, "upperarm01", "wrist"),
            (LEGS, cut.leg, "upperleg01", "foot"),
        ):
            for part, side in zip(limbs, "LR", strict=True):
                beyond = np.where(base.part == part, (base.along - limit).clip(0), 0)
                axis = heads[bone(f"{last}.{side}")] - heads[bone(f"{first}.{side}")]
                vertices = vertices - beyond[:, None] * axis
        return vertices

    def soup(self) -> Soup:
        """All of it, the body first, without what is hidden."""
        base = base_mesh()
        shown = ~self.hidden[base.body].all(1)
        skin = Surface(base.body[shown], base.body_uv[shown], base.bone, base.weight)
        parts = [Part(skin, self.body.vertices, 0), *self._parts]
        return assemble(parts, self._images, self._tint, self._relief)
