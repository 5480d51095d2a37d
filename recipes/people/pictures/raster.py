"""The renderer: OpenGL without a window (on a CPU: Mesa's llvmpipe)."""

import os
from dataclasses import dataclass

# Both bring LLVM; the process dies unless OpenGL's comes last (after that of anny's warp, too).
import torch

# isort: split
os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa draws on the calling thread: one process, one core.
import moderngl
import numpy as np
from numpy import ndarray

from dkpvid.shapes import Float
from recipes.people.clothes.mesh import Soup
from recipes.people.pictures import shaders
from recipes.people.scenes.camera import Camera
from recipes.people.scenes.place import SURFACE, Panorama, Place

SHADOW_MAP = 384
"""Pixels a side."""


class Actor:
    """A soup that is ready to be drawn; release it when it is not needed any more."""

    def __init__(self, renderer: "Renderer", soup: Soup) -> None:
        context, count = renderer.context, len(soup.position)
        points = torch.from_numpy(np.c_[soup.position, np.ones(count)].astype(np.float32))
        normals = torch.from_numpy(np.c_[soup.normal, np.zeros(count)].astype(np.float32))
        self._rest = torch.stack([points, normals], 2)
        self._bone = torch.from_numpy(soup.bone.astype(np.int64))
        self._weight = torch.from_numpy(np.ascontiguousarray(soup.weight, np.float32))
        self._moving = context.buffer(reserve=24 * count)
        self._fixed = context.buffer(np.c_[soup.uv, soup.layer].astype("f4").tobytes())
        self._order = context.buffer(soup.triangle.astype("i4").tobytes())
        parts = [(self._moving, "3f 3f", "p", "n"), (self._fixed, "2f f", "t", "layer")]
        self.lit = context.vertex_array(renderer.lit, parts, self._order)
        self.shadow = context.vertex_array(renderer.shadow, [(self._moving, "3f 3x4", "p")], self._order)
        side = soup.images[0].shape[0]
        pictures = np.ascontiguousarray(np.stack(soup.images)).tobytes()
        self.texture = context.texture_array((side, side, len(soup.images)), 4, pictures)
        self.texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self.texture.build_mipmaps()
        self.tint, self.relief = soup.tint.astype("f4").tobytes(), soup.relief.astype("f4").tobytes()

    def move(self, bones: Float[ndarray, "bone 3 4"]) -> None:
        """Linear blend skinning."""
        table = torch.from_numpy(np.ascontiguousarray(bones, np.float32)).reshape(-1, 12)
        matrix = torch.nn.functional.embedding_bag(
            self._bone, table, per_sample_weights=self._weight, mode="sum"
        )
        moved = (matrix.view(-1, 3, 4) @ self._rest).transpose(1, 2)
        self._moving.write(moved.contiguous().numpy())

    def release(self) -> None:
        """Free its memory."""
        for part in (self.lit, self.shadow, self._moving, self._fixed, self._order, self.texture):
            part.release()


@dataclass(frozen=True, eq=False)
class Light:
    """What shines on a scene, and where its shadows fall."""

    sun: Float[ndarray, " 3"]
    """Unit vector towards it."""
    sun_colour: Float[ndarray, " 3"]
    harmonics: Float[ndarray, "9 3"]
    """Irradiance / pi from all sides, as the assets pack it."""
    centre: Float[ndarray, " 3"]
    """Shadows are cast inside a box of `radius` metres about it."""
    radius: float
    blobs: Float[ndarray, "4 4"]
    """Soft contact shadows: x, z, radius, weight."""
    strength: tuple[float, float]
    """Share of the light that a cast and a contact shadow take."""

    def matrix(self) -> Float[ndarray, "4 4"]:
        """From the world to the sun's view, in -1..1."""
        across = np.cross([0, 1, 0.01], self.sun)
        across /= np.linalg.norm(across)
        matrix = np.eye(4)
        rows = [across / self.radius, np.cross(self.sun, across) / self.radius, -self.sun / (3 * self.radius)]
        matrix[:3, :3] = np.stack(rows)
        matrix[:3, 3] = -matrix[:3, :3] @ self.centre
        return matrix


class Renderer:
    """Draws square pictures.

    Attributes:
        size: Pixels a side.
        times: Each pixel is the mean of times x times drawn ones.
    """

    def __init__(self, size: int = 128, times: int = 2) -> None:
        self.size, self.times = size, times
        self.context = context = moderngl.create_context(standalone=True, backend="egl")
        self.lit = context.program(vertex_shader=shaders.VERTEX, fragment_shader=shaders.FRAGMENT)
        self.shadow = context.program(
            vertex_shader=shaders.SHADOW_VERTEX, fragment_shader=shaders.SHADOW_FRAGMENT
        )
        self._ground = context.program(
            vertex_shader=shaders.GROUND_VERTEX, fragment_shader=shaders.GROUND_FRAGMENT
        )
        self._shrink = context.program(
            vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.SHRINK_FRAGMENT
        )
        self._background = context.program(
            vertex_shader=shaders.SCREEN_VERTEX, fragment_shader=shaders.BACKGROUND_FRAGMENT
        )
        large, small = (size * times,) * 2, (size, size)
        self._colour, self._depth = (
            context.texture(large, 4, dtype="f2"),
            context.texture(large, 3, dtype="f4"),
        )
        self._frame = context.framebuffer([self._colour, self._depth], context.depth_renderbuffer(large))
        self._means = [context.texture(small, 4, dtype="f4") for _ in range(2)]
        self._means_frame = context.framebuffer(self._means)
        self._behind = context.texture(small, 4, dtype="f4")
        self._behind_frame = context.framebuffer([self._behind])
        self._shadow_map = context.depth_texture((SHADOW_MAP, SHADOW_MAP))
        self._shadow_map.compare_func = "<="
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow_frame = context.framebuffer(depth_attachment=self._shadow_map)
        square = context.buffer(np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], "f4").tobytes())
        self._squares = {
            program: context.vertex_array(program, square, "q")
            for program in (self._ground, self._shrink, self._background)
        }
        self._panoramas: dict[Panorama, moderngl.Texture] = {}
        self._surfaces = [context.texture((SURFACE, SURFACE), 3, dtype="f2") for _ in range(2)]
        for texture in self._surfaces:
            texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)

    def draw(
        self, actors: list[tuple[Actor, Float[ndarray, "bone 3 4"]]], camera: Camera, light: Light
    ) -> tuple[Float[ndarray, "size size 4"], Float[ndarray, "size size 3"]]:
        """Draw actors with their bones on the ground y = 0.

        Returns:
            Linear RGB times cover and cover; inverse depth (1/m) times cover, the cover of the first actor,
            and the share of the light that shadows take from the ground.
        """
        for actor, bones in actors:
            actor.move(bones)
        self.context.enable(moderngl.DEPTH_TEST)
        self._shadow_frame.use()
        self._shadow_frame.clear(depth=1.0)
        _write(self.shadow, light=light.matrix().T)
        for actor, _ in actors:
            actor.shadow.render()
        self._frame.use()
        self._frame.clear(0, 0, 0, 0)
        self._shadow_map.use(0)
        for program in (self.lit, self._ground):
            _write(program, view=camera.view().T, proj=camera.projection().T, light=light.matrix().T)
            program["depthmap"], program["blur"] = 0, 2.5 / SHADOW_MAP
        _write(self._ground, strength=np.array(light.strength), blob=light.blobs)
        self._squares[self._ground].render(moderngl.TRIANGLE_STRIP)
        _write(self.lit, sun=light.sun, suncol=light.sun_colour, sh=light.harmonics, toworld=camera.axes)
        self.lit["tex"] = 1
        for number, (actor, _) in enumerate(actors):
            actor.texture.use(1)
            self.lit["id"] = number
            self.lit["tint"].write(actor.tint)
            self.lit["relief"].write(actor.relief)
            actor.lit.render()
        self._colour.use(0)
        self._depth.use(1)
        self._shrink["colour"], self._shrink["depth"], self._shrink["times"] = 0, 1, self.times
        self._fill(self._means_frame, self._shrink)
        return _read(self._means[0]), _read(self._means[1])[..., :3]

    def surface_depth(self) -> Float[ndarray, "large large"]:
        """Depth (z, metres) of what was drawn last before shrinking; 0: nothing."""
        return _read(self._depth)[..., 0]

    def background(
        self, place: Place, camera: Camera
    ) -> tuple[Float[ndarray, "size size 3"], Float[ndarray, "size size"]]:
        """Linear RGB and z depth in metres."""
        program = self._background
        if place.room:
            for texture, (picture, _) in zip(self._surfaces, place.room, strict=True):
                texture.write(picture.astype("f2").tobytes())
                texture.build_mipmaps()
            _write(program, light=place.face_light(), span=np.array([span for _, span in place.room]))
        samplers = {
            "panorama": self._panorama(place.panorama),
            "floor_": self._surfaces[0],
            "side": self._surfaces[1],
        }
        for unit, (name, texture) in enumerate(samplers.items()):
            texture.use(unit)
            program[name] = unit
        program["room"], program["grounded"] = int(place.room is not None), float(place.grounded)
        program["focal"], program["size"] = camera.focal, self.size
        program["wall"], program["knee"] = place.wall, place.panorama.knee
        _write(program, eye=camera.eye, centre=place.centre, axes=camera.axes, turn=place.turn.T)
        _write(program, amplitude=place.waves[0], phase=place.waves[1])
        self._fill(self._behind_frame, program)
        seen = _read(self._behind)
        return seen[..., :3], seen[..., 3]

    def _panorama(self, panorama: Panorama) -> moderngl.Texture:
        if panorama not in self._panoramas:
            picture = panorama.picture
            texture = self.context.texture(picture.shape[1::-1], 3, picture.tobytes())
            texture.filter, texture.repeat_y = (moderngl.LINEAR, moderngl.LINEAR), False
            self._panoramas[panorama] = texture
        return self._panoramas[panorama]

    def _fill(self, frame: moderngl.Framebuffer, program: moderngl.Program) -> None:
        """Run a program on every pixel."""
        self.context.disable(moderngl.DEPTH_TEST)
        frame.use()
        self._squares[program].render(moderngl.TRIANGLE_STRIP)


def _write(program: moderngl.Program, **uniforms: ndarray) -> None:
    """Uniforms from arrays; matrices as columns."""
    for name, value in uniforms.items():
        program[name].write(np.ascontiguousarray(value, "f4").tobytes())


def _read(texture: moderngl.Texture) -> Float[ndarray, "height width channel"]:
    """A texture of float32, the first row on top."""
    return np.frombuffer(texture.read(), "f4").reshape(texture.height, texture.width, -1)[::-1]
