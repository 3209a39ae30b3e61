"""Seeded phantoms of head CT examinations with one of three tumours, or none.

The tumours are drawn from the same sizes and the same attenuation, so that neither tells them apart; what does is what
a radiologist looks at: a glioma grows inside the brain, with an irregular border, an uneven core and oedema around it;
a meningioma sits on the skull or the falx with a broad base, even and sharply bounded; a pituitary tumour lies in the
midline above the sella. Heads without a tumour hold the same calcifications, vessels and cysts as the others.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phantom_mr import Waves, ellipsoid, rotation

NONE, GLIOMA, MENINGIOMA, PITUITARY = range(4)
CLASSES = ("none", "glioma", "meningioma", "pituitary tumour")
SLICE_MM = 5.0
SIZE = 128
SELLA = np.array((0.0, -14.0, -40.0), np.float32)


@dataclass(frozen=True)
class Ranges:
    """What the generator draws from; a pair is a uniform interval."""

    tilt_deg: tuple[float, float] = (0.0, 10.0)
    shift_mm: tuple[float, float] = (0.0, 9.0)
    brain_scale: tuple[float, float] = (0.92, 1.08)
    radius_mm: tuple[float, float] = (9.0, 17.0)
    contrast_hu: tuple[float, float] = (16.0, 45.0)
    noise_hu: tuple[float, float] = (1.5, 5.0)
    pixel_mm: tuple[float, float] = (1.7, 2.0)
    ventricle_scale: tuple[float, float] = (0.6, 1.6)


TRAINING = Ranges()

# Every interval lies outside the training's, or at its far end.
HELD_OUT = Ranges(tilt_deg=(10.0, 13.0), shift_mm=(9.0, 12.0), brain_scale=(1.08, 1.11), radius_mm=(17.0, 20.0),
                  contrast_hu=(45.0, 55.0), noise_hu=(5.0, 6.0), pixel_mm=(2.0, 2.1), ventricle_scale=(1.6, 1.8))


@dataclass
class Head:
    """One head: everything that was drawn from the seed."""

    seed: int
    kind: int
    brain: np.ndarray
    turn: np.ndarray
    centre: np.ndarray
    pixel_mm: float
    noise: float
    ventricle_scale: float
    fold_depth: float
    folds: Waves
    texture: Waves
    marrow: Waves
    calcifications: list[tuple[np.ndarray, float, float]]
    cysts: list[tuple[np.ndarray, float]]
    tumour: np.ndarray  # centre, head coordinates
    radii: np.ndarray
    tumour_turn: np.ndarray
    excess_hu: float
    rough: Waves
    grain: Waves
    has_necrosis: bool
    oedema_mm: float


def _place(g: np.random.Generator, kind: int, brain: np.ndarray, radius: float) -> np.ndarray:
    if kind == PITUITARY:
        return (SELLA + (0, 0, 0.75 * radius) + g.uniform(-3, 3, 3)).astype(np.float32)
    if kind == MENINGIOMA:
        if g.random() < 0.25:  # on the falx
            return np.array((g.choice((-1, 1)) * 0.55 * radius, g.uniform(-0.6, 0.6) * brain[1],
                             g.uniform(0.3, 0.6) * brain[2]), np.float32)
        angle, height = g.uniform(0, 2 * np.pi), g.uniform(-0.2, 0.8)
        flat = np.sqrt(1 - height ** 2)
        surface = brain * np.array((flat * np.cos(angle), flat * np.sin(angle), height))
        return (surface * (1 - 0.45 * radius / np.linalg.norm(surface))).astype(np.float32)
    while True:  # inside the brain, off the midline
        centre = g.uniform(-0.8, 0.8, 3) * brain
        deep = ellipsoid(centre[None].astype(np.float32), (0, 0, 0), brain)[0] < -(radius + 5)
        if deep and abs(centre[0]) > 1.1 * radius and centre[2] > -0.3 * brain[2]:
            return centre.astype(np.float32)


def draw(seed: int, ranges: Ranges = TRAINING, kind: int | None = None) -> Head:
    """The head of one seed; the class goes round with the seed unless it is given."""
    g = np.random.default_rng((seed, 7))
    kind = seed % len(CLASSES) if kind is None else kind
    brain = (np.array((66.0, 84.0, 68.0)) * g.uniform(*ranges.brain_scale) * g.uniform(0.97, 1.03, 3)).astype(
        np.float32)
    radius = g.uniform(*ranges.radius_mm)
    uneven = 0.25 if kind == GLIOMA else 0.1
    return Head(
        seed=seed, kind=kind, brain=brain,
        turn=rotation(g.choice((-1, 1), 3) * g.uniform(*ranges.tilt_deg, 3)),
        centre=(g.choice((-1, 1), 3) * g.uniform(*ranges.shift_mm, 3)).astype(np.float32),
        pixel_mm=g.uniform(*ranges.pixel_mm), noise=g.uniform(*ranges.noise_hu),
        ventricle_scale=g.uniform(*ranges.ventricle_scale), fold_depth=g.uniform(6, 14),
        folds=Waves(g, 7, (15, 30)), texture=Waves(g, 6, (8, 30)), marrow=Waves(g, 5, (8, 30)),
        calcifications=[((g.uniform(-0.6, 0.6, 3) * brain).astype(np.float32), g.uniform(1.5, 4), g.uniform(40, 130))
                        for _ in range(int(g.integers(0, 4)))],
        cysts=[((g.uniform(-0.6, 0.6, 3) * brain).astype(np.float32), g.uniform(4, 10))
               for _ in range(int(g.choice((0, 0, 1, 2))))],
        tumour=_place(g, kind, brain, radius), radii=(radius * g.uniform(1 - uneven, 1 + uneven, 3)).astype(np.float32),
        tumour_turn=rotation(g.uniform(-90, 90, 3)), excess_hu=g.uniform(*ranges.contrast_hu),
        rough=Waves(g, 5, (10, 28)), grain=Waves(g, 6, (5, 14)), has_necrosis=bool(g.random() < 0.6),
        oedema_mm=g.uniform(6, 14))


def _cover(distance: np.ndarray, edge_mm: float = 2.0) -> np.ndarray:
    return np.clip(0.5 - distance / edge_mm, 0, 1)


def _paint(hu: np.ndarray, distance: np.ndarray, value) -> None:
    hu += _cover(distance) * (value - hu)


def _anatomy(head: Head, p: np.ndarray, hull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation without the tumour, and how much brain tissue each point holds."""
    hu = np.full(len(p), -1000.0, np.float32)
    x, y, z = p.T
    _paint(hu, np.maximum(np.hypot(x, y - 18) - 56, z + 45), 45)
    _paint(hu, ellipsoid(p, (0, -62, -62), (50, 42, 44)), 40)
    _paint(hu, hull - 15, -70)
    _paint(hu, hull - 13, 45)
    _paint(hu, hull - 9.5, 1100)
    _paint(hu, np.abs(hull - 6) - 1.2, 600 + 250 * head.marrow.at(p))
    _paint(hu, hull - 2.5, 8)
    sulcus = np.clip(1 - 4.4 * np.abs(head.folds.at(p)), 0, 1) * head.fold_depth
    tissue = np.maximum(hull + sulcus, -(z + 42 + 0.12 * y))
    _paint(hu, tissue, 37)
    _paint(hu, tissue + 3.5, 29 + 1.5 * head.texture.at(p))
    low = np.where(z < -12, ellipsoid(p, (0, 42, -48), (48, 30, 22)), 9.0)
    _paint(hu, low, 35)
    stem = np.where(z < -14, np.hypot(x, y - 10 - 0.12 * z) - 12, 9.0)
    _paint(hu, stem, 31)
    _paint(hu, np.where(hull < 2, np.maximum(np.abs(x) - 0.9, 6 - z), 9.0), 58)  # falx
    for side in (-1, 1):  # petrous bones, clinoids, sphenoid wings
        _paint(hu, ellipsoid((p - (side * 36, 14, -44)) @ rotation((0, 0, side * 35)), (0, 0, 0), (26, 7, 8)), 1200)
        _paint(hu, ellipsoid(p, (side * 38, -32, -38), (24, 4, 6)), 900)
        k = head.ventricle_scale
        bent = p + np.stack((np.zeros(len(p)), np.zeros(len(p)), 0.006 * y ** 2), 1).astype(np.float32)
        _paint(hu, ellipsoid(bent, (side * (5 + 4 * k), 2, 18), (5.5 * k, 32 * (0.7 + 0.3 * k), 7.5 * k)), 8)
        _paint(hu, ellipsoid(p, (side * (7 + 5 * k), 20, 12), (2.4, 6, 2.6)), 90)
    _paint(hu, ellipsoid(p, SELLA + (0, 9, -6), (11, 3, 9)), 900)
    _paint(hu, ellipsoid(p, SELLA + (0, 0, -12), (12, 10, 5)), 900)
    for centre, radius, excess in head.calcifications:
        _paint(hu, np.maximum(np.linalg.norm(p - centre, axis=1) - radius, hull), 35 + excess)
    for centre, radius in head.cysts:
        _paint(hu, np.maximum(np.linalg.norm(p - centre, axis=1) - radius, hull + 3), 9)
    return hu, _cover(tissue)


def _tumour(head: Head, p: np.ndarray, hull: np.ndarray, tissue: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Paints the tumour; returns its signed distance."""
    distance = ellipsoid((p - head.tumour) @ head.tumour_turn, (0, 0, 0), head.radii)
    radius = float(head.radii.mean())
    value = 33 + head.excess_hu
    if head.kind == GLIOMA:
        distance = np.maximum(distance + 0.2 * radius * head.rough.at(p), hull + 1)
        swollen = np.clip(0.5 - (distance - head.oedema_mm) / 3, 0, 1) * tissue
        hu += swollen * (20 - hu)
        _paint(hu, distance, value + 9 * head.grain.at(p))
        if head.has_necrosis:
            _paint(hu, distance + 0.35 * radius + head.grain.at(p), 16)
    elif head.kind == MENINGIOMA:
        distance = np.maximum(distance, hull - 2.2)
        _paint(hu, distance, value)
    elif head.kind == PITUITARY:
        distance = np.maximum(distance, SELLA[2] - 8 - p[:, 2])
        _paint(hu, distance, value)
    return distance


def slices(head: Head, levels_mm=None) -> tuple[np.ndarray, np.ndarray]:
    """Slices (level, row, column) in Hounsfield units, and the area of tumour in each, mm²."""
    levels = np.arange(-62, 70, SLICE_MM, dtype=np.float32) if levels_mm is None else np.asarray(levels_mm, np.float32)
    across = ((np.arange(SIZE) - (SIZE - 1) / 2) * head.pixel_mm).astype(np.float32)
    grid = np.stack(np.broadcast_arrays(across[None, None, :], across[None, :, None], levels[:, None, None]), -1)
    points = (grid.reshape(-1, 3) - head.centre) @ head.turn
    hull = ellipsoid(points, (0, 0, 0), head.brain)
    near = (hull < 17) | (points[:, 2] < -45)
    p, hull = points[near], hull[near]
    hu, tissue = _anatomy(head, p, hull)
    area = np.zeros(len(points), bool)
    if head.kind != NONE:
        area[near] = _tumour(head, p, hull, tissue, hu) < 0
    volume = np.full(len(points), -1000, np.float32)
    volume[near] = hu
    volume += np.random.default_rng((head.seed, 8)).normal(0, head.noise, len(volume)).astype(np.float32)
    shape = (len(levels), SIZE, SIZE)
    return volume.reshape(shape), area.reshape(shape).sum((1, 2)) * head.pixel_mm ** 2


def windowed(hu: np.ndarray) -> np.ndarray:
    """What model.toml asks for: centre 45, width 110 becomes 0 to 1."""
    return np.clip((hu + 10) / 110, 0, 1).astype(np.float32)
