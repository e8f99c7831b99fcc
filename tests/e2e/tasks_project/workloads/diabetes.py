"""Regression: progression of diabetes from ten measurements (scikit-learn's copy of Efron et al. 2004)."""

import numpy as np
from sklearn.datasets import load_diabetes
from tabular import Rows, dense

from pipeline.workload import Training

DESCRIPTION = "Progression of diabetes, 442 patients"
TASK = "regression"
LABELS = ("progression",)
INPUT_SHAPE = (10,)
INPUT_RANGE = (-4.0, 4.0)
TRAINING = Training(epochs=150, batch_size=32, learning_rate=1e-2)

_VALUES, _PROGRESSION = load_diabetes(return_X_y=True)
_LABELS = (_PROGRESSION[:, None] / 100).astype(np.float32)
ROWS = Rows(_VALUES, _LABELS)
load, preprocess, data_hashes = ROWS.load, ROWS.preprocess, ROWS.data_hashes


def build_model():
    return dense(10, 1)
