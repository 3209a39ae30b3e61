"""Makes a model package of a scikit-learn pipeline kept with joblib and the info file beside it.

    python convert_sklearn.py --pipeline meso.joblib --info info.json --module feature_engineering.py \
        --id meso-clinic --name "Mesothelioma, our own forest" --out models/meso-clinic

**Reading a joblib file runs the code in it, and `--module` is run as well: convert only files whose origin you trust.**

The info file has the shape `{"algorithm", "threshold", "schema": {"base_features", "derived_features",
"selected_features"}}`. It names derived features but does not say how they are made; that stands in the pipeline's own
code, which a package does not carry. Give the expressions with `--derived FILE.json` (`{"name": "expression"}`, as in
docs/MODELS.md); the three ratios of the mesothelioma contract are known. Nothing is taken on trust: the package is
compared with the pipeline on thousands of rows, with missing values and zeros among them, and is not
written when one probability differs.

What is covered: feature engineering (any code; it is replaced by the expressions), `StandardScaler` or none,
`RandomForestClassifier`, `XGBClassifier` or `XGBRFClassifier`, two classes 0 and 1. For XGBoost "the same" means within one unit in the last
place of a float32, since its exponential is the C library's.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import onnx
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import expressions
import forest_onnx
import package

KNOWN_RATIOS = {
    "LDH_ratio": "pleural_lactic_dehydrogenise / (`blood_lactic_dehydrogenise_(LDH)` + 1e-6)",
    "protein_ratio": "pleural_protein / (total_protein + 1e-6)",
    "exposure_age_ratio": "duration_of_asbestos_exposure / (age + 1e-6)",
}
ROWS = 5000
XGBOOST_TOLERANCE = 1.2e-7


class Refused(Exception):
    """The pair cannot become a package; the text says why."""


@dataclass
class Info:
    algorithm: str
    threshold: float
    base: list[str]
    derived: dict[str, str]
    selected: list[str]


@dataclass
class Parts:
    whole: Pipeline
    scaler: StandardScaler | None
    forest: object


def read_info(path: Path, derived: Path | None) -> Info:
    """The info file, with an expression for each derived feature."""
    told = json.loads(path.read_text())
    try:
        schema = told["schema"]
        base, names, selected = (list(schema[k]) for k in ("base_features", "derived_features", "selected_features"))
    except (KeyError, TypeError) as missing:
        raise Refused(f"{path} lacks {missing}; expected algorithm, threshold and schema with base_features, "
                      "derived_features and selected_features") from missing
    given = json.loads(derived.read_text()) if derived else {}
    made = {name: given.get(name, KNOWN_RATIOS.get(name)) for name in names}
    if unknown := [name for name, expression in made.items() if expression is None]:
        raise Refused(f"how is {unknown[0]!r} made? give its expression with --derived")
    if strange := [name for name in selected if name not in base and name not in made]:
        raise Refused(f"{path} selects {strange[0]!r}, which is neither a base nor a derived feature")
    return Info(str(told.get("algorithm", "unknown")), float(told.get("threshold", 0.5)), base, made, selected)


def run_module(path: Path) -> None:
    """Makes the module's classes findable under its own name and, for pickles made in a script, under __main__."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise Refused(f"{path} is not a Python module")
    module = sys.modules.get(path.stem)
    if module is None or getattr(module, "__file__", None) != str(path):
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    for name, value in vars(module).items():
        if isinstance(value, type) and not hasattr(sys.modules["__main__"], name):
            setattr(sys.modules["__main__"], name, value)


def read_pipeline(path: Path) -> Parts:
    """The fitted pipeline, taken apart from its end."""
    try:
        whole = joblib.load(path)
    except (AttributeError, ModuleNotFoundError) as missing:
        raise Refused(f"{path} needs code that is not here ({missing}); give the module with --module") from missing
    if not isinstance(whole, Pipeline):
        whole = Pipeline([("forest", whole)])
    forest = whole.steps[-1][1]
    before = whole.steps[-2][1] if len(whole.steps) > 1 else None
    if hasattr(forest, "n_jobs"):
        forest.n_jobs = 1  # with several jobs the order of additions, and so the last digit, is left to chance
    return Parts(whole, before if isinstance(before, StandardScaler) else None, forest)


def trees(model) -> forest_onnx.Forest:
    kind = type(model).__name__
    if kind == "RandomForestClassifier":
        return forest_onnx.of_random_forest(model)
    if kind in ("XGBClassifier", "XGBRFClassifier"):
        return forest_onnx.of_xgboost(model)
    raise Refused(f"the pipeline ends in {kind}; expected RandomForestClassifier, XGBClassifier or XGBRFClassifier")


def graph_of(parts: Parts, info: Info) -> onnx.ModelProto:
    mean = scale = None
    if parts.scaler is not None:
        mean = parts.scaler.mean_ if parts.scaler.with_mean else None
        scale = parts.scaler.scale_ if parts.scaler.with_std else None
    expected = getattr(parts.forest, "n_features_in_", len(info.selected))
    if expected != len(info.selected):
        raise Refused(f"the forest takes {expected} features, the info file selects {len(info.selected)}")
    return forest_onnx.graph(trees(parts.forest), len(info.selected), mean, scale)


def trial_rows(info: Info, parts: Parts, seed: int = 0) -> np.ndarray:
    """Rows on which package and pipeline must agree: where the trees decide, far outside, zeros and gaps."""
    g = np.random.default_rng(seed)
    columns = []
    for name in info.base:
        middle, width = 10.0, 10.0
        if parts.scaler is not None and parts.scaler.with_mean and parts.scaler.with_std and name in info.selected:
            at = info.selected.index(name)
            middle, width = float(parts.scaler.mean_[at]), 2 * float(parts.scaler.scale_[at])
        near, far = g.normal(middle, width, ROWS), g.lognormal(np.log(abs(middle) + 1), 2, ROWS)
        column = np.where(g.random(ROWS) < 0.8, np.round(near, 2), far)
        column[g.random(ROWS) < 0.02] = 0.0
        column[g.random(ROWS) < 0.1] = np.nan
        columns.append(column)
    rows = np.stack(columns, axis=1)
    rows[0] = np.nan
    return rows


def selected_features(info: Info, rows: np.ndarray) -> np.ndarray:
    columns = {name: rows[:, i] for i, name in enumerate(info.base)}
    for name, expression in info.derived.items():
        columns[name] = expressions.evaluate(expression, columns)
    return np.stack([columns[name] for name in info.selected], axis=1)


def reference(parts: Parts, info: Info, rows: np.ndarray) -> np.ndarray:
    """P(1) as the pipeline itself gives it, from base features or, without feature engineering, from selected ones."""
    front = len(parts.whole.steps) > (2 if parts.scaler is not None else 1)
    table = pd.DataFrame(rows, columns=info.base) if front else selected_features(info, rows)
    return parts.whole.predict_proba(table)[:, 1].astype(np.float64)


def toml_text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def description(args: argparse.Namespace, info: Info, tolerance: float) -> str:
    lines = ["format = 1", f"id = {toml_text(args.id)}", 'version = "1.0.0"', f"name = {toml_text(args.name)}",
             'task = "tabular"', f"intended_use = {toml_text(args.intended_use)}", "", "[[weights]]",
             'file = "model.onnx"', 'sha256 = ""', "", "[tabular]", f"algorithm = {toml_text(info.algorithm)}",
             f"threshold = {info.threshold!r}", "selected = ["]
    lines += [f"  {toml_text(name)}," for name in info.selected] + ["]"]
    for name in info.base:
        lines += ["", "[[tabular.feature]]", f"name = {toml_text(name)}", 'missing = "nan"']
    for name, expression in info.derived.items():
        lines += ["", "[[tabular.derived]]", f"name = {toml_text(name)}", f"expression = {toml_text(expression)}"]
    lines += ["", "[input]", 'tensor = "selected"', "", "[output]", 'tensor = "probability"',
              f"positive = {{ name = {toml_text(args.positive)} }}", "", "[selftest]", 'input = "selftest/input.npy"',
              'expected = "selftest/expected.npy"', f"tolerance = {tolerance}", ""]
    return "\n".join(lines)


def convert(args: argparse.Namespace) -> str:
    """Writes the package; the answer says how it was checked."""
    info = read_info(args.info, args.derived)
    if args.module:
        run_module(args.module)
    parts = read_pipeline(args.pipeline)
    model = graph_of(parts, info)
    rows = trial_rows(info, parts)
    wanted = reference(parts, info, rows)
    answer = package.run(model.SerializeToString(), {"selected": selected_features(info, rows)}, ["probability"])[0]
    off = np.abs(answer[:, 0] - wanted)
    tolerance = 0.0 if type(parts.forest).__name__ == "RandomForestClassifier" else XGBOOST_TOLERANCE
    if not (off <= tolerance).all():
        raise Refused(f"{int((off > tolerance).sum())} of {ROWS} rows come out otherwise than in the pipeline, by up to "
                      f"{off.max():.3g}: the expressions of the derived features are not what its code does")
    args.out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, args.out / "model.onnx")
    (args.out / "model.toml").write_text(description(args, info, tolerance))
    package.record(args.out, rows[:200], wanted[:200])
    package.stamp(args.out)
    return f"{args.out}: {ROWS} rows agree with {args.pipeline.name}, the largest difference is {off.max():.3g}"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, required=True, help="joblib file; it is run")
    parser.add_argument("--info", type=Path, required=True)
    parser.add_argument("--module", type=Path, help="Python file with the pipeline's own classes; it is run")
    parser.add_argument("--derived", type=Path, help="JSON: derived feature → expression")
    parser.add_argument("--id", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--positive", default="positive", help="what label 1 means")
    parser.add_argument("--intended-use", default="demonstration")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        print(convert(arguments()))
    except Refused as reason:
        sys.exit(f"not converted: {reason}")
