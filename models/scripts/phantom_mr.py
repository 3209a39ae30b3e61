"""Seeded phantoms of brain MR examinations (T1-weighted, after contrast agent) with known lesions.

A phantom is a scene: an analytic description of a head in patient coordinates (LPS, mm) that can be sampled on any
grid. The recipe is shared with `src/demo/phantom/` in Rust, which writes such a head as a DICOM study; the two draw
their parameters from generators of their own and agree in kind, not in bits.

What a scene holds: scalp fat, skull with marrow, CSF, folded cortex over white matter, deep nuclei, ventricles with
enhancing plexus, cerebellum and stem, eyes, venous sinus and vessels as bright as any tumour, cysts as dark as any
necrosis, and up to two lesions (core, solid or with necrosis or not enhancing at all, and oedema in white matter
around it). On top come a bias field, Rician noise, partial volume at each boundary, and a tilted head.

What it is not: anatomy. A model trained on it has seen no patient.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

BACKGROUND, CORE, OEDEMA = 0, 1, 2
LABELS = ("background", "lesion core", "oedema")
KINDS = ("enhancing", "necrotic", "non-enhancing")


@dataclass(frozen=True)
class Ranges:
    """What the generator draws from; a pair is a uniform interval."""

    tilt_deg: tuple[float, float] = (0.0, 24.0)
    shift_mm: tuple[float, float] = (0.0, 12.0)
    brain_scale: tuple[float, float] = (0.92, 1.08)
    ventricle_scale: tuple[float, float] = (0.6, 1.6)
    fold_depth_mm: tuple[float, float] = (8.0, 16.0)
    core_radius_mm: tuple[float, float] = (7.0, 21.0)
    core_roughness: tuple[float, float] = (0.0, 0.16)
    oedema_mm: tuple[float, float] = (4.0, 18.0)
    lesions: tuple[int, ...] = (0, 1, 1, 1, 1, 1, 1, 2, 2)
    bias: tuple[float, float] = (0.05, 0.32)
    noise: tuple[float, float] = (0.01, 0.06)
    edge_mm: tuple[float, float] = (0.8, 2.0)
    vessel_brightness: tuple[float, float] = (1.15, 1.8)
    contrast_jitter: float = 0.06


TRAINING = Ranges()

# The part of the training's ranges that is hardest to learn: large lesions with wide oedema, noise, soft boundaries.
HARDER = replace(TRAINING, core_radius_mm=(13.0, 21.0), oedema_mm=(10.0, 18.0), core_roughness=(0.06, 0.16),
                 lesions=(1, 2, 2), bias=(0.15, 0.32), noise=(0.03, 0.06), edge_mm=(1.2, 2.0), tilt_deg=(8.0, 24.0))

# Every interval begins where the training's ends.
HELD_OUT = Ranges(tilt_deg=(24.0, 27.0), shift_mm=(12.0, 15.0), brain_scale=(1.08, 1.11), ventricle_scale=(1.6, 1.8),
                  fold_depth_mm=(16.0, 18.0), core_radius_mm=(21.0, 24.0), core_roughness=(0.16, 0.19),
                  oedema_mm=(18.0, 21.0), lesions=(1, 2), bias=(0.32, 0.38), noise=(0.06, 0.07),
                  edge_mm=(2.0, 2.3), vessel_brightness=(1.8, 2.0), contrast_jitter=0.08)


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue relative to normal white matter."""

    name: str
    white: float
    grey: float
    csf: float
    fat: float
    muscle: float
    marrow: float
    eye: float
    enhancing: tuple[float, float]
    necrosis: tuple[float, float]
    non_enhancing: tuple[float, float]
    oedema: tuple[float, float]


T1_CONTRAST = Contrast("T1 with contrast agent", 1.0, 0.76, 0.3, 1.5, 0.65, 0.8, 0.35,
                       (1.25, 1.7), (0.3, 0.48), (0.44, 0.58), (0.68, 0.82))


class Waves:
    """A smooth random field: a few plane waves, so that it can be evaluated at any point. Values lie in [-1, 1]."""

    def __init__(self, rng: np.random.Generator, count: int, wavelength_mm: tuple[float, float]):
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        wavelength = rng.uniform(*wavelength_mm, size=(count, 1))
        self.k = (2 * np.pi * direction / wavelength).astype(np.float32)
        self.phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)

    def at(self, p: np.ndarray) -> np.ndarray:
        total = np.zeros(len(p), np.float32)
        for k, phase in zip(self.k, self.phase):
            total += np.sin(p @ k + phase)
        return total / len(self.k)


def rotation(angles_deg) -> np.ndarray:
    """Rotation about x, then y, then z."""
    a, b, c = np.deg2rad(angles_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (rz @ ry @ rx).astype(np.float32)


def ellipsoid(p: np.ndarray, centre, radii) -> np.ndarray:
    """First-order signed distance to an ellipsoid with axes along the frame, negative inside."""
    q = p - np.asarray(centre, np.float32)
    r = np.asarray(radii, np.float32)
    k0 = np.sqrt(((q / r) ** 2).sum(1))
    k1 = np.sqrt(((q / (r * r)) ** 2).sum(1))
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


@dataclass
class Lesion:
    kind: str
    centre: np.ndarray  # head coordinates, mm
    radii: np.ndarray
    turn: np.ndarray
    roughness_mm: float
    shape: Waves
    texture: Waves
    rim_mm: float
    oedema_mm: float
    halo: Waves
    core_signal: float
    necrosis_signal: float
    oedema_signal: float

    def distance(self, p: np.ndarray) -> np.ndarray:
        q = (p - self.centre) @ self.turn
        return ellipsoid(q, (0, 0, 0), self.radii) + self.roughness_mm * self.shape.at(p)


@dataclass
class Vessel:
    """A tube that winds along one axis of the head."""

    axis: int
    start: float
    end: float
    offset: np.ndarray
    swing: np.ndarray
    wavelength: float
    radius: float

    def distance(self, p: np.ndarray) -> np.ndarray:
        u = p[:, self.axis]
        v, w = (p[:, i] for i in range(3) if i != self.axis)
        turn = 2 * np.pi * u / self.wavelength
        across = np.hypot(v - self.offset[0] - self.swing[0] * np.sin(turn),
                          w - self.offset[1] - self.swing[1] * np.cos(turn)) - self.radius
        return np.maximum(across, np.maximum(self.start - u, u - self.end))


@dataclass
class Scene:
    """One head with its lesions and the way it was acquired."""

    seed: int
    contrast: Contrast
    radii: np.ndarray
    turn: np.ndarray  # head → patient
    centre: np.ndarray  # of the head, in patient coordinates, mm
    ventricle_scale: float
    fold_depth: float
    cortex_mm: float
    folds: Waves
    texture: Waves
    marrow: Waves
    vessels: list[Vessel]
    vessel_signal: float
    cysts: list[tuple[np.ndarray, np.ndarray]]
    lesions: list[Lesion]
    bias: Waves
    bias_depth: float
    noise: float
    edge_mm: float
    gain: float
    signal: dict[str, float] = field(default_factory=dict)


def _pair(rng: np.random.Generator, interval: tuple[float, float]) -> float:
    return float(rng.uniform(*interval))


def _lesion(rng: np.random.Generator, ranges: Ranges, contrast: Contrast, brain: np.ndarray) -> Lesion:
    radius = _pair(rng, ranges.core_radius_mm)
    # Somewhere in the hemispheres, deep enough to lie in the brain, and not across the midline.
    while True:
        centre = rng.uniform(-1, 1, 3) * brain * (0.8, 0.8, 0.7)
        deep = ellipsoid(centre[None].astype(np.float32), (0, 0, 0), brain)[0] < -(0.75 * radius + 3)
        if deep and abs(centre[0]) > 0.6 * radius and centre[2] > -0.35 * brain[2]:
            break
    kind = KINDS[int(rng.integers(len(KINDS)))]
    signal = {"enhancing": contrast.enhancing, "necrotic": contrast.enhancing,
              "non-enhancing": contrast.non_enhancing}[kind]
    return Lesion(kind=kind, centre=centre.astype(np.float32),
                  radii=(radius * rng.uniform(0.82, 1.18, 3)).astype(np.float32),
                  turn=rotation(rng.uniform(-90, 90, 3)), roughness_mm=radius * _pair(rng, ranges.core_roughness),
                  shape=Waves(rng, 5, (14, 34)), texture=Waves(rng, 6, (5, 14)),
                  rim_mm=float(rng.uniform(0.2, 0.4) * radius + 1.0), oedema_mm=_pair(rng, ranges.oedema_mm),
                  halo=Waves(rng, 5, (25, 60)), core_signal=_pair(rng, signal),
                  necrosis_signal=_pair(rng, contrast.necrosis), oedema_signal=_pair(rng, contrast.oedema))


def _vessels(rng: np.random.Generator, brain: np.ndarray) -> list[Vessel]:
    # The superior sagittal sinus follows the vault and is painted from its own distance; these lie in the brain.
    vessels = []
    for _ in range(int(rng.integers(5, 11))):
        axis = int(rng.integers(3))
        start = float(rng.uniform(-0.7, 0.2) * brain[axis])
        vessels.append(Vessel(axis=axis, start=start, end=start + float(rng.uniform(20, 60)),
                              offset=rng.uniform(-0.6, 0.6, 2) * np.delete(brain, axis), swing=rng.uniform(2, 9, 2),
                              wavelength=float(rng.uniform(25, 70)), radius=float(rng.uniform(0.9, 2.4))))
    return vessels


def draw(seed: int, ranges: Ranges = TRAINING, contrast: Contrast = T1_CONTRAST) -> Scene:
    """The scene of one seed."""
    rng = np.random.default_rng(seed)
    brain = np.array((66.0, 84.0, 68.0)) * _pair(rng, ranges.brain_scale) * rng.uniform(0.96, 1.04, 3)
    jitter = {name: float(1 + ranges.contrast_jitter * rng.uniform(-1, 1))
              for name in ("white", "grey", "csf", "fat", "muscle", "marrow", "eye")}
    sign = rng.choice((-1, 1), 3)
    return Scene(
        seed=seed, contrast=contrast, radii=brain.astype(np.float32),
        turn=rotation(sign * rng.uniform(*ranges.tilt_deg, 3)),
        centre=(rng.choice((-1, 1), 3) * rng.uniform(*ranges.shift_mm, 3)).astype(np.float32),
        ventricle_scale=_pair(rng, ranges.ventricle_scale), fold_depth=_pair(rng, ranges.fold_depth_mm),
        cortex_mm=float(rng.uniform(2.6, 4.0)), folds=Waves(rng, 7, (15, 30)), texture=Waves(rng, 6, (8, 30)),
        marrow=Waves(rng, 5, (8, 30)), vessels=_vessels(rng, brain),
        vessel_signal=_pair(rng, ranges.vessel_brightness),
        cysts=[((rng.uniform(-0.55, 0.55, 3) * brain).astype(np.float32), rng.uniform(4, 11, 3))
               for _ in range(int(rng.choice((0, 0, 1, 2))))],
        lesions=[_lesion(rng, ranges, contrast, brain) for _ in range(int(rng.choice(ranges.lesions)))],
        bias=Waves(rng, 4, (160, 420)), bias_depth=_pair(rng, ranges.bias), noise=_pair(rng, ranges.noise),
        edge_mm=_pair(rng, ranges.edge_mm), gain=float(rng.uniform(250, 1400)),
        signal={name: factor * getattr(contrast, name) for name, factor in jitter.items()})


class _Canvas:
    """Signal and labels at a list of points; later coats cover earlier ones, softly within the edge."""

    def __init__(self, p: np.ndarray, edge_mm: float):
        self.p, self.edge_mm = p, edge_mm
        self.signal = np.zeros(len(p), np.float32)

    def cover(self, distance: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - distance / self.edge_mm, 0, 1)

    def paint(self, distance: np.ndarray, signal) -> None:
        self.blend(self.cover(distance), signal)

    def blend(self, fraction: np.ndarray, signal) -> None:
        self.signal += fraction * (signal - self.signal)


def _outside_brain(c: _Canvas, scene: Scene, hull: np.ndarray) -> None:
    p, s = c.p, scene.signal
    neck = np.maximum(np.hypot(p[:, 0], p[:, 1] - 18) - 56, p[:, 2] + 45)
    c.paint(neck, s["muscle"])
    c.paint(ellipsoid(p, (0, -62, -62), (50, 42, 44)), s["muscle"])
    c.paint(hull - 15, s["fat"])
    c.paint(hull - 13 + 1.5 * scene.marrow.at(p), s["muscle"])
    c.paint(hull - 10.5, 0.08)
    c.paint(np.abs(hull - 6.5) - 1.6, s["marrow"] * (0.8 + 0.35 * scene.marrow.at(p)))
    for side in (-1, 1):
        c.paint(ellipsoid(p, (side * 31, -84, -30), (17, 15, 16)), s["fat"])
        c.paint(ellipsoid(p, (side * 31, -87, -30), (12, 12, 12)), s["eye"])


def _brain_tissue(c: _Canvas, scene: Scene, hull: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Paints the brain; returns the signed distance to tissue (negative inside) and how white it is (0 to 1)."""
    p, s = c.p, scene.signal
    c.paint(hull - 2.5, s["csf"])
    floor = p[:, 2] + 42 + 0.12 * p[:, 1]
    c.paint(np.maximum(floor + 4, hull - 2.5), 0.4 + 0.25 * scene.marrow.at(p))  # the base of the skull
    depth = -hull
    ridge = 1 - 2 * np.abs(scene.folds.at(p)) * 2.2  # 1 on the sheets where the field is zero
    sulcus = np.clip(ridge, 0, 1) * scene.fold_depth
    depth = depth - sulcus
    fissure = np.abs(p[:, 0] + 0.03 * p[:, 1]) - 0.8
    depth = np.where(p[:, 2] > 8, np.minimum(depth, fissure), depth)
    depth = np.minimum(depth, floor)
    tissue = -depth
    c.paint(tissue, s["grey"])
    white = c.cover(tissue + scene.cortex_mm)
    c.blend(white, s["white"] * (1 + 0.04 * scene.texture.at(p)))
    for side in (-1, 1):
        for centre, radii in (((14, 8, 4), (8, 14, 9)), ((26, -6, 2), (5, 17, 10)), ((13, -22, 10), (5, 10, 9))):
            nucleus = c.cover(ellipsoid(p, (side * centre[0], centre[1], centre[2]), radii))
            c.blend(0.85 * nucleus, s["grey"] * 1.03)
            white = white * (1 - nucleus)
    # Cerebellum and stem in their own bed of CSF.
    cerebellum = ellipsoid(p, (0, 42, -48), (48, 30, 22)) + 2.2 * np.abs(np.sin(p[:, 2] * 0.9 + 0.05 * p[:, 1]))
    stem = np.maximum(np.hypot(p[:, 0], p[:, 1] - 10 - 0.12 * p[:, 2]) - 12, p[:, 2] + 14)
    low = np.minimum(cerebellum, stem)
    inside = p[:, 2] < -12
    c.paint(np.where(inside, low - 3, 9.0), s["csf"])
    c.paint(np.where(inside, cerebellum, 9.0), s["grey"])
    c.paint(np.where(inside, np.minimum(cerebellum + 7, stem), 9.0), s["white"] * 0.95)
    tissue = np.minimum(tissue, np.where(inside, low, 9.0))
    return tissue, white


def _ventricles(c: _Canvas, scene: Scene) -> np.ndarray:
    p, s, k = c.p, scene.signal, scene.ventricle_scale
    nearest = np.full(len(p), 99.0, np.float32)
    for side in (-1, 1):
        bent = p + np.stack((np.zeros(len(p)), np.zeros(len(p)), 0.006 * p[:, 1] ** 2), 1).astype(np.float32)
        horn = ellipsoid(bent, (side * (5 + 4 * k), 2, 18), (5.5 * k, 32 * (0.7 + 0.3 * k), 7.5 * k))
        plexus = ellipsoid(p, (side * (7 + 5 * k), 20, 12), (2.4, 7, 2.6))
        c.paint(horn, s["csf"])
        c.paint(plexus, scene.vessel_signal * 0.9)
        nearest = np.minimum(nearest, horn)
    third = ellipsoid(p, (0, 4, 2), (1.6 * k, 12, 9))
    c.paint(third, s["csf"])
    return np.minimum(nearest, third)


def _decoys(c: _Canvas, scene: Scene, hull: np.ndarray) -> None:
    p = c.p
    for vessel in scene.vessels:
        c.paint(np.maximum(vessel.distance(p), hull + 2), scene.vessel_signal)
    vault = np.hypot(p[:, 0], hull - 1.0) - 3.6
    c.paint(np.where(p[:, 2] > 0, vault, 9.0), scene.vessel_signal)
    for centre, radii in scene.cysts:
        c.paint(np.maximum(ellipsoid(p, centre, radii), hull + 3), scene.signal["csf"])


def _paint_oedema(c: _Canvas, lesion: Lesion, hull: np.ndarray, tissue: np.ndarray, ventricle: np.ndarray,
                  white: np.ndarray, labels: np.ndarray) -> None:
    reach = lesion.oedema_mm * (0.75 + 0.6 * lesion.halo.at(c.p))
    swollen = np.clip(0.5 - (_core_distance(c, lesion, hull) - reach) / 2.5, 0, 1)
    swollen = swollen * c.cover(tissue) * c.cover(-ventricle) * (0.3 + 0.7 * white)
    c.blend(swollen, lesion.oedema_signal * (1 + 0.04 * lesion.texture.at(c.p)))
    labels[swollen >= 0.5] = OEDEMA


def _paint_core(c: _Canvas, lesion: Lesion, hull: np.ndarray, labels: np.ndarray) -> None:
    distance, texture = _core_distance(c, lesion, hull), lesion.texture.at(c.p)
    c.blend(c.cover(distance), lesion.core_signal * (1 + 0.1 * texture))
    if lesion.kind == "necrotic":
        c.paint(distance + lesion.rim_mm + 0.8 * texture, lesion.necrosis_signal * (1 + 0.06 * texture))
    labels[distance < 0] = CORE


def _core_distance(c: _Canvas, lesion: Lesion, hull: np.ndarray) -> np.ndarray:
    return np.maximum(lesion.distance(c.p), hull + 0.5)


def sample(scene: Scene, origin, spacing, shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal, labels and brain mask on an axis-aligned LPS grid; arrays are [z, y, x], lengths in mm."""
    z, y, x = (np.float32(origin[i]) + np.float32(spacing[i]) * np.arange(n, dtype=np.float32)
               for i, n in zip((2, 1, 0), shape))
    grid = np.stack(np.broadcast_arrays(x[None, None, :], y[None, :, None], z[:, None, None]), -1).reshape(-1, 3)
    grid = grid.astype(np.float32)
    head = (grid - scene.centre) @ scene.turn
    brain_centre_distance = ellipsoid(head, (0, 0, 0), scene.radii)
    near = (brain_centre_distance < 18) | ((head[:, 2] < -40) & (np.abs(head[:, 0]) < 62)
                                           & (head[:, 1] > -110) & (head[:, 1] < 80))
    p, hull = head[near], brain_centre_distance[near]
    c = _Canvas(p, scene.edge_mm)
    _outside_brain(c, scene, hull)
    labels_near = np.zeros(len(p), np.uint8)
    brain = hull < 6
    inner = _Canvas(p[brain], scene.edge_mm)
    inner.signal = c.signal[brain]
    tissue, white = _brain_tissue(inner, scene, hull[brain])
    ventricle = _ventricles(inner, scene)
    _decoys(inner, scene, hull[brain])
    brain_labels = np.zeros(int(brain.sum()), np.uint8)
    # No core lies under another lesion's oedema: the truth must be there to be seen.
    for lesion in scene.lesions:
        _paint_oedema(inner, lesion, hull[brain], tissue, ventricle, white, brain_labels)
    for lesion in scene.lesions:
        _paint_core(inner, lesion, hull[brain], brain_labels)
    c.signal[brain], labels_near[brain] = inner.signal, brain_labels

    rng = np.random.default_rng((scene.seed, 1))
    signal = np.zeros(len(grid), np.float32)
    signal[near] = c.signal * np.exp(scene.bias_depth * 2 * scene.bias.at(grid[near]))
    a, b = rng.normal(0, scene.noise, (2, len(grid))).astype(np.float32)
    signal = np.hypot(signal + a, b)  # Rician, as magnitude images are
    labels = np.zeros(len(grid), np.uint8)
    labels[near] = labels_near
    mask = np.zeros(len(grid), bool)
    mask[near] = hull < 0
    return ((signal * np.float32(scene.gain)).reshape(shape), labels.reshape(shape), mask.reshape(shape))


def field_of_view(seed: int, spacing_mm: float) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Origin and shape of an examination as technicians choose it: the head, more or less tightly, off-centre."""
    rng = np.random.default_rng((seed, 2))
    extent = rng.uniform((170, 205, 160), (256, 256, 230))  # x, y, z, mm
    middle = rng.uniform(-6, 6, 3) + (0, 0, -8)
    shape = tuple(int(round(e / spacing_mm)) for e in extent[::-1])
    return (middle - extent / 2).astype(np.float32), shape


def normalise(volume: np.ndarray) -> np.ndarray:
    """What model.toml asks for: clip to the 0.5 and 99.5 percentiles, then zero mean and unit deviation."""
    low, high = np.percentile(volume, (0.5, 99.5))
    clipped = np.clip(volume, low, high)
    return ((clipped - clipped.mean()) / max(float(clipped.std()), 1e-6)).astype(np.float32)
