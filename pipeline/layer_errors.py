"""How much error quantization puts into each operator's output: the float file against the quantized one.

    noise      sum of (quantized − float)² over sum of float², of all values of an operator's output over
               all samples: a share of the signal's power
    SQNR       −10 · log10(noise), in decibel: 20 dB are 1% of the power
    own noise  the same, where the float operator gets what the quantized one got: what comes in here
               and not before. It holds the rounding of weights and output, and what its range clips.

The first is counted from the model's input on, as TensorFlow's quantization debugger compares whole
models, own noise is that of its layer mode. Values are those that LiteRT's own kernels compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StepFailed
from pipeline.steps._operators import CONVERSIONS, NamedOperator, activations, lone_operator, named_operators

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class LayerError:
    """One operator that both files have."""

    float_operator: NamedOperator
    quantized_operator: NamedOperator
    noise: float
    own_noise: float

    @property
    def sqnr_db(self) -> float | None:
        """Signal to noise from the input on; None where nothing differs."""
        return -10 * math.log10(self.noise) if self.noise else None


def layer_errors(float_file: Path, quantized_file: Path, samples: np.ndarray) -> list[LayerError]:
    """Return the errors of the operators in order, the last one the model's output.

    samples: float32 [n, *input_shape]. Raises StepFailed when the two files are not of one model.
    """
    pairs = matched_operators(float_file, quantized_file)
    alone = [lone_operator(float_file, first) for first, _ in pairs]
    whole, own = [_Noise() for _ in pairs], [_Noise() for _ in pairs]
    both = zip(activations(float_file, samples), activations(quantized_file, samples), strict=True)
    for expected, found in both:
        for place, (first, second) in enumerate(pairs):
            whole[place].add(expected[first.output], found[second.output])
            own[place].add(alone[place]([found[index] for index in second.inputs]), found[second.output])
    return [
        LayerError(first, second, noise.share, own_noise.share)
        for (first, second), noise, own_noise in zip(pairs, whole, own, strict=True)
    ]


class _Noise:
    """Sums up powers of signal and noise."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        values = expected.astype("float64").reshape(-1)
        difference = found.reshape(-1) - values
        self.signal += float(values @ values)
        self.noise += float(difference @ difference)

    @property
    def share(self) -> float:
        return self.noise / self.signal if self.signal else 0.0


def matched_operators(float_file: Path, quantized_file: Path) -> list[tuple[NamedOperator, NamedOperator]]:
    """Return the operators of both files that compute the same, by their order or else by their outputs' names."""
    ours, theirs = (
        [operator for operator in named_operators(path) if operator.kind not in CONVERSIONS]
        for path in (float_file, quantized_file)
    )
    if [operator.kind for operator in ours] == [operator.kind for operator in theirs]:
        return list(zip(ours, theirs, strict=True))
    by_name = {(operator.kind, operator.output_name): operator for operator in theirs}
    keys = [(operator.kind, operator.output_name) for operator in ours]
    pairs = [(operator, by_name[key]) for operator, key in zip(ours, keys, strict=True) if key in by_name]
    if not pairs or pairs[-1][0] is not ours[-1]:
        raise StepFailed(
            "the operators of the float file and of the quantized one cannot be matched",
            received=", ".join(operator.kind for operator in theirs),
            expected=", ".join(operator.kind for operator in ours),
            fix="compare files of one model; a converter that fuses otherwise in another format gives no such pair",
        )
    return pairs
