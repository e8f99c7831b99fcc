"""Binary with a threshold: benign or malignant from thirty measurements (scikit-learn's breast cancer data).

A malignant tumour that is missed costs more than a second look, so the answer is yes from 0.3 on.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from tabular import Rows, dense

from pipeline.workload import Training

DESCRIPTION = "Benign or malignant, 569 tumours"
TASK = "binary"
METRIC = "auc"
THRESHOLD = 0.3
LABELS = ("benign", "malignant")
INPUT_SHAPE = (30,)
INPUT_RANGE = (-4.0, 4.0)
TRAINING = Training(epochs=30, batch_size=32, learning_rate=3e-3)

_VALUES, _BENIGN = load_breast_cancer(return_X_y=True)
_LABELS = (1 - _BENIGN).astype(np.int64)
ROWS = Rows(_VALUES, _LABELS)
load, preprocess, data_hashes = ROWS.load, ROWS.preprocess, ROWS.data_hashes


def build_model():
    return dense(30, 1)
