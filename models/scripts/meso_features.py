"""The feature engineering of the mesothelioma pipeline, as a scikit-learn pipeline that is kept with joblib needs it."""
from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

BASE = ("age", "duration_of_symptoms", "platelet_count_(PLT)", "cell_count_(WBC)", "blood_lactic_dehydrogenise_(LDH)",
        "pleural_lactic_dehydrogenise", "pleural_protein", "total_protein", "albumin", "C-reactive_protein_(CRP)",
        "duration_of_asbestos_exposure")
RATIOS = {"LDH_ratio": ("pleural_lactic_dehydrogenise", "blood_lactic_dehydrogenise_(LDH)"),
          "protein_ratio": ("pleural_protein", "total_protein"),
          "exposure_age_ratio": ("duration_of_asbestos_exposure", "age")}
SELECTED = ("exposure_age_ratio", "age", "platelet_count_(PLT)", "duration_of_symptoms", "LDH_ratio",
            "pleural_protein", "albumin", "C-reactive_protein_(CRP)")


class Ratios(TransformerMixin, BaseEstimator):
    """Base features (rows, 11) → selected features (rows, 8); what is missing stays missing."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        base = np.asarray(X, np.float64)
        columns = {name: base[:, i] for i, name in enumerate(BASE)}
        for name, (above, below) in RATIOS.items():
            columns[name] = columns[above] / (columns[below] + 1e-6)
        return np.stack([columns[name] for name in SELECTED], axis=1)
