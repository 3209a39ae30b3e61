"""The service that a hospital team writes first: Flask and the scikit-learn pipeline; gunicorn -w 2 in front.

POST /predict {"data": [{feature: value, ...}, ...]} with `Authorization: Bearer BENCH_KEY`.
"""

import hmac
import os

import joblib
import numpy as np
from flask import Flask, jsonify, request

import known

KEY = f"Bearer {os.environ['BENCH_KEY']}".encode()
PIPELINE = joblib.load(os.environ["BENCH_PIPELINE"])
app = Flask(__name__)


@app.post("/predict")
def predict():
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), KEY):
        return jsonify(detail="Forbidden"), 403
    rows = (request.get_json(silent=True) or {}).get("data")
    if not isinstance(rows, list) or not rows:
        return jsonify(detail="data list required"), 400
    probabilities = PIPELINE.predict_proba(np.array([known.values(row) for row in rows]))[:, 1].tolist()
    return jsonify(known.answer(probabilities))
