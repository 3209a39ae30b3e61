"""Phantoms are the same for a seed, their labels are where the picture says, and held-out ranges are held out."""
from __future__ import annotations

import sys
import unittest
from dataclasses import fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import phantom_ct  # noqa: E402
import phantom_mr  # noqa: E402

SHAPE, SPACING, ORIGIN = (40, 50, 40), (5.0, 5.0, 5.0), (-100.0, -125.0, -105.0)


class MrPhantom(unittest.TestCase):
    def test_same_seed_gives_the_same_voxels(self):
        one = phantom_mr.sample(phantom_mr.draw(5), ORIGIN, SPACING, SHAPE)
        two = phantom_mr.sample(phantom_mr.draw(5), ORIGIN, SPACING, SHAPE)
        for left, right in zip(one, two):
            np.testing.assert_array_equal(left, right)

    def test_core_lies_in_the_brain_around_the_drawn_centre(self):
        seed = next(s for s in range(100) if len(phantom_mr.draw(s).lesions) == 1)
        scene = phantom_mr.draw(seed)
        _, labels, brain = phantom_mr.sample(scene, ORIGIN, SPACING, SHAPE)
        core = labels == phantom_mr.CORE
        self.assertTrue((brain[core]).mean() > 0.95)
        middle = np.argwhere(core).mean(0)[::-1] * SPACING + ORIGIN
        expected = scene.turn @ scene.lesions[0].centre + scene.centre
        self.assertLess(float(np.linalg.norm(middle - expected)), 6.0)

    def test_no_core_lies_hidden_under_the_oedema_of_another_lesion(self):
        def is_near(scene) -> bool:
            one, two = (scene.lesions + [None, None])[:2]
            return two is not None and float(np.linalg.norm(one.centre - two.centre)) < 30
        scene = next(s for s in map(phantom_mr.draw, range(400)) if is_near(s))
        scene.noise = scene.bias_depth = 0.0
        for lesion in scene.lesions:
            lesion.oedema_signal = 100.0
        image, labels, _ = phantom_mr.sample(scene, ORIGIN, SPACING, SHAPE)
        self.assertGreater(float(image[labels == phantom_mr.OEDEMA].max()) / scene.gain, 90.0)
        # At its edge a core covers half of what lies below it.
        self.assertLess(float(image[labels == phantom_mr.CORE].max()) / scene.gain, 60.0)

    def test_the_hard_part_of_the_training_ranges_is_a_part_of_them(self):
        for one in fields(phantom_mr.TRAINING):
            whole, part = getattr(phantom_mr.TRAINING, one.name), getattr(phantom_mr.HARDER, one.name)
            if isinstance(whole, tuple):
                self.assertTrue(min(whole) <= min(part) and max(part) <= max(whole), one.name)
            else:
                self.assertEqual(whole, part, one.name)

    def test_brightest_voxels_are_not_the_lesion(self):
        for seed in range(4):
            image, labels, _ = phantom_mr.sample(phantom_mr.draw(seed), ORIGIN, SPACING, SHAPE)
            bright = image > np.quantile(image, 0.99)
            self.assertLess(float((labels[bright] == phantom_mr.CORE).mean()), 0.5)


class CtPhantom(unittest.TestCase):
    def test_classes_share_sizes_and_attenuation(self):
        drawn = [phantom_ct.draw(s) for s in range(400)]
        for measure in (lambda h: float(h.radii.mean()), lambda h: h.excess_hu):
            means = [np.mean([measure(h) for h in drawn if h.kind == k])
                     for k in (phantom_ct.GLIOMA, phantom_ct.MENINGIOMA, phantom_ct.PITUITARY)]
            self.assertLess(max(means) / min(means), 1.15)

    def test_head_without_tumour_shows_none(self):
        _, area = phantom_ct.slices(phantom_ct.draw(4, kind=phantom_ct.NONE), [-20, 0, 20])
        self.assertEqual(float(area.sum()), 0.0)


class HeldOut(unittest.TestCase):
    def test_no_interval_overlaps_the_training_one(self):
        for module in (phantom_mr, phantom_ct):
            for one in fields(module.Ranges):
                train, held = getattr(module.TRAINING, one.name), getattr(module.HELD_OUT, one.name)
                if isinstance(train, tuple) and one.name != "lesions":
                    self.assertGreaterEqual(held[0], train[1], f"{module.__name__}.{one.name}")


if __name__ == "__main__":
    unittest.main()
