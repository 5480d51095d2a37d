"""recipes/people/clothes/cloth.py: periodic, in range, the same for the same seed."""

import numpy as np
import pytest

from recipes.people.clothes.cloth import KINDS, cloth_texture, noise, palette, pattern


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_are_pictures_and_seeded(kind: str) -> None:
    first, again, other = (pattern(np.random.default_rng(seed), 64, kind=kind) for seed in (3, 3, 4))
    assert first.shape == (64, 64, 3)
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_odds_of_patterns_sum_to_one() -> None:
    assert sum(KINDS.values()) == pytest.approx(1)


def test_noise_is_smooth_across_its_borders(rng: np.random.Generator) -> None:
    field = noise(rng, 128, 4)
    inside = np.abs(np.diff(field, axis=0)).max()
    assert np.abs(field[0] - field[-1]).max() <= 1.5 * inside
    assert 0 <= field.min() < 0.2
    assert 0.8 < field.max() <= 1


def test_stretched_noise_is_longer_along_u(rng: np.random.Generator) -> None:
    field = noise(rng, 128, 8, stretch=2.5)
    assert np.abs(np.diff(field, axis=1)).mean() < 0.5 * np.abs(np.diff(field, axis=0)).mean()


def test_a_palette_begins_with_the_wanted_colour(rng: np.random.Generator) -> None:
    wanted = np.array([0.2, 0.4, 0.6], np.float32)
    colours = palette(rng, wanted)
    assert colours.shape == (4, 3)
    np.testing.assert_array_equal(colours[0], wanted)


def test_the_shading_of_a_garment_darkens_cloth() -> None:
    detail = np.full((256, 256, 4), 255, np.uint8)
    detail[:64, :, :3] = 64  # A quarter lies in the shade.
    white = np.full((4, 3), 0.9, np.float32)
    texture = cloth_texture(np.random.default_rng(0), white, "plain", detail)
    plain = cloth_texture(np.random.default_rng(0), white, "plain")
    shade = texture[..., :3].astype(float) / plain[..., :3]
    assert shade[:64].mean() == pytest.approx(64 / 255, abs=0.02)
    assert shade[64:].mean() == pytest.approx(1, abs=0.02)
