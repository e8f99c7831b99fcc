"""Multi-label: traits of scikit-learn's digits (8×8 pixels), of which several hold at once."""

import numpy as np
from sklearn.datasets import load_digits
from tabular import Rows, dense

from pipeline.workload import Training

DESCRIPTION = "Traits of 1,797 digits"
TASK = "multi_label"
LABELS = ("odd", "above four", "has a loop")
INPUT_SHAPE = (64,)
INPUT_RANGE = (-4.0, 4.0)
TRAINING = Training(epochs=40, batch_size=32, learning_rate=3e-3)

_VALUES, _DIGITS = load_digits(return_X_y=True)
_LABELS = np.stack([_DIGITS % 2, _DIGITS > 4, np.isin(_DIGITS, (0, 6, 8, 9))], axis=1).astype(np.int64)
ROWS = Rows(_VALUES, _LABELS)
load, preprocess, data_hashes = ROWS.load, ROWS.preprocess, ROWS.data_hashes


def build_model():
    return dense(64, 3)
