"""The same service by a team that cares for speed: FastAPI and ONNX Runtime; uvicorn --workers 2.

POST /predict {"data": [{feature: value, ...}, ...]} with `Authorization: Bearer BENCH_KEY`.
"""

import hmac
import os
from typing import Optional

import numpy as np
import onnxruntime
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

import known
from meso_features import Ratios

KEY = f"Bearer {os.environ['BENCH_KEY']}".encode()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"])
KIND = np.float64 if "double" in SESSION.get_inputs()[0].type else np.float32
RATIOS = Ratios()
app = FastAPI()


class Body(BaseModel):
    data: list[dict[str, Optional[float]]]


@app.post("/predict")
async def predict(body: Body, authorization: str = Header("")):
    if not hmac.compare_digest(authorization.encode(), KEY):
        raise HTTPException(403, "Forbidden")
    if not body.data:
        raise HTTPException(400, "data list required")
    selected = RATIOS.transform(np.array([known.values(row) for row in body.data])).astype(KIND)
    return known.answer(np.ravel(SESSION.run(["probability"], {"selected": selected})[0]).tolist())
