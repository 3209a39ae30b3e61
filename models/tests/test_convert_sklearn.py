"""The converter's promise: the package gives the pipeline's own numbers, or is not written.

    python -m unittest discover models/tests
"""
from __future__ import annotations

import json
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier, XGBRFClassifier

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import convert_sklearn  # noqa: E402
import package  # noqa: E402
from meso_features import BASE, RATIOS, SELECTED, Ratios  # noqa: E402
from train_meso import rows, with_gaps  # noqa: E402

MODULE = '''
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

class Halver(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        X = np.asarray(X, float)
        return np.stack([X[:, 0] / np.where(X[:, 1] == 0, np.nan, X[:, 1]), X[:, 1]], axis=1)
'''


def fitted(forest) -> Pipeline:
    table, labels = rows(400, 5)
    return Pipeline([("features", Ratios()), ("scale", StandardScaler()), ("forest", forest)]).fit(
        with_gaps(table, 6), labels)


class Conversion(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.info = {"algorithm": "Forest", "threshold": 0.29, "schema": {
            "base_features": list(BASE), "derived_features": list(RATIOS), "selected_features": list(SELECTED)}}

    def convert(self, pipeline, *more: str) -> str:
        joblib.dump(pipeline, self.folder / "model.joblib")
        (self.folder / "info.json").write_text(json.dumps(self.info))
        return convert_sklearn.convert(convert_sklearn.arguments(
            ["--pipeline", str(self.folder / "model.joblib"), "--info", str(self.folder / "info.json"),
             "--id", "made", "--name", "Made", "--out", str(self.folder / "made"), *more]))

    def answer(self, table: np.ndarray) -> np.ndarray:
        return package.run(self.folder / "made" / "model.onnx", {"selected": Ratios().transform(table)},
                           ["probability"])[0][:, 0]

    def check_same(self, forest, tolerance: float):
        pipeline = fitted(forest)
        self.convert(pipeline)
        fresh = with_gaps(rows(3000, 7)[0], 8, 0.15)
        off = np.abs(self.answer(fresh) - pipeline.predict_proba(fresh)[:, 1])
        self.assertLessEqual(off.max(), tolerance)

    def test_forest_with_pure_leaves_is_equal_to_the_last_bit(self):
        self.check_same(RandomForestClassifier(120, random_state=1, n_jobs=1), 0.0)

    def test_forest_with_mixed_leaves_is_equal_to_the_last_bit(self):
        self.check_same(RandomForestClassifier(120, min_samples_leaf=6, class_weight="balanced", random_state=1,
                                               n_jobs=1), 0.0)

    def test_boosted_trees_agree_within_a_float32(self):
        self.check_same(XGBClassifier(n_estimators=80, max_depth=4, base_score=0.3), 1.2e-7)

    def test_boosted_forest_agrees_within_a_float32(self):
        self.check_same(XGBRFClassifier(n_estimators=80, max_depth=5, random_state=1), 1.2e-7)

    def test_forest_fitted_on_complete_rows_still_agrees_on_gaps(self):
        table, labels = rows(400, 5)
        pipeline = Pipeline([("features", Ratios()), ("scale", StandardScaler()),
                             ("forest", RandomForestClassifier(50, random_state=1))]).fit(table, labels)
        self.convert(pipeline)
        fresh = with_gaps(rows(2000, 7)[0], 8, 0.3)
        np.testing.assert_array_equal(self.answer(fresh), pipeline.set_params(forest__n_jobs=1)
                                      .predict_proba(fresh)[:, 1])

    def test_description_states_threshold_order_and_digest(self):
        self.convert(fitted(RandomForestClassifier(20, random_state=1)))
        told = tomllib.loads((self.folder / "made" / "model.toml").read_text())
        self.assertEqual(told["tabular"]["threshold"], 0.29)
        self.assertEqual(tuple(told["tabular"]["selected"]), SELECTED)
        self.assertEqual([f["name"] for f in told["tabular"]["feature"]], list(BASE))
        self.assertEqual(len(told["weights"][0]["sha256"]), 64)
        self.assertEqual(np.load(self.folder / "made" / "selftest" / "input.npy").shape, (200, 11))

    def test_own_module_and_expression_replace_its_feature_engineering(self):
        (self.folder / "halver_module.py").write_text(MODULE)
        convert_sklearn.run_module(self.folder / "halver_module.py")
        g = np.random.default_rng(3)
        table = g.normal(10, 4, (300, 2)).round(1)
        pipeline = Pipeline([("half", sys.modules["halver_module"].Halver()),
                             ("forest", RandomForestClassifier(30, random_state=1))])
        pipeline.fit(table, (table[:, 0] > table[:, 1]).astype(int))
        self.info = {"algorithm": "RandomForest", "threshold": 0.5, "schema": {
            "base_features": ["a", "b"], "derived_features": ["half"], "selected_features": ["half", "b"]}}
        right, wrong = self.folder / "right.json", self.folder / "wrong.json"
        right.write_text('{"half": "where(b == 0, 0 / 0, a / b)"}')
        wrong.write_text('{"half": "a / (b + 1e-6)"}')
        module = ("--module", str(self.folder / "halver_module.py"))
        with self.assertRaisesRegex(convert_sklearn.Refused, "rows come out otherwise"):
            self.convert(pipeline, "--derived", str(wrong), *module)
        self.assertFalse((self.folder / "made").exists())
        self.assertIn("5000 rows agree", self.convert(pipeline, "--derived", str(right), *module))

    def test_unknown_derived_feature_is_asked_for_by_name(self):
        self.info["schema"]["derived_features"].append("secret_ratio")
        with self.assertRaisesRegex(convert_sklearn.Refused, "how is 'secret_ratio' made"):
            self.convert(fitted(RandomForestClassifier(5)))

    def test_other_estimator_is_refused_by_name(self):
        with self.assertRaisesRegex(convert_sklearn.Refused, "ends in ExtraTreesClassifier"):
            self.convert(fitted(ExtraTreesClassifier(5)))

    def test_info_file_without_schema_is_refused(self):
        self.info = {"algorithm": "RandomForest"}
        with self.assertRaisesRegex(convert_sklearn.Refused, "lacks 'schema'"):
            self.convert(fitted(RandomForestClassifier(5)))


if __name__ == "__main__":
    unittest.main()
