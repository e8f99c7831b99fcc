"""Samples that are read as they are asked for give what the same samples in memory give."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data import streaming
from pipeline.workload import Training
from tests.e2e.step_runs import varied


class Lazy:
    """An array that is never given as a whole."""

    def __init__(self, samples: np.ndarray):
        self._samples, self.shape, self.dtype, self.most = samples, samples.shape, samples.dtype, 0

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index):
        found = self._samples[index]
        self.most = max(self.most, len(found) if found.ndim == self._samples.ndim else 1)
        return found


@pytest.fixture(scope="module")
def pair():
    small = varied()
    held = {
        split: tuple(part[:count] for part in small.load(split))
        for split, count in (("train", 300), ("validation", 120), ("test", 100))
    }
    lazy = {split: (Lazy(samples), labels) for split, (samples, labels) in held.items()}
    in_memory = varied(load=lambda split: held[split])
    streamed = varied(load=lambda split: lazy[split])
    return in_memory, streamed, {split: samples for split, (samples, _) in lazy.items()}


def test_training_batches_are_equal(pair):
    from pipeline.steps._batches import training_batches

    both = [training_batches(workload, 64, seed=3).take(7) for workload in pair[:2]]
    count = 0
    for (one, one_labels), (other, other_labels) in zip(*both, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)
        np.testing.assert_array_equal(one_labels.numpy(), other_labels.numpy())
        count += 1
    assert count == 7


def test_a_model_learns_the_same(pair, monkeypatch):
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import fit, validation_score

    monkeypatch.setattr(streaming, "CHUNK_BYTES", 28 * 28 * 4 * 50)
    histories, scores = [], []
    for samples in pair[2].values():
        samples.most = 0
    for workload in pair[:2]:
        make_repeatable(0)
        model = workload.build_model()
        facts = fit(model, workload, Training(epochs=2, batch_size=64), 0, lambda progress: None)
        histories.append(facts["history"])
        scores.append(validation_score(model, workload))
    assert histories[0].keys() == histories[1].keys()
    for name in histories[0]:
        assert histories[0][name] == pytest.approx(histories[1][name], abs=1e-3)
    assert scores[0] == scores[1]
    assert pair[2]["train"].most <= 64
    assert pair[2]["validation"].most <= 250


def test_a_file_is_evaluated_in_parts(pair, monkeypatch, tmp_path):
    from pipeline import evaluate
    from pipeline.steps._convert import convert, fixed_batch_converter

    monkeypatch.setattr(streaming, "CHUNK_BYTES", 28 * 28 * 4 * 50)
    model = pair[0].build_model()
    convert(fixed_batch_converter(model, pair[0]), tmp_path, "float32")
    facts = []
    for number, workload in enumerate(pair[:2]):
        for samples in pair[2].values():
            samples.most = 0
        out = tmp_path / str(number)
        out.mkdir()
        facts.append(evaluate.run(tmp_path, workload, evaluate.Config(runner="host"), out, lambda progress: None))
    assert facts[0] == facts[1]
    assert pair[2]["test"].most == 50
    for split in ("validation", "test"):
        np.testing.assert_array_equal(*(np.load(tmp_path / str(number) / f"{split}.npy") for number in range(2)))


def test_representative_samples_are_equal(pair):
    from pipeline.calibration import representative_dataset

    (one, record), (other, same) = (representative_dataset(workload, 50, 0) for workload in pair[:2])
    assert record == same
    np.testing.assert_array_equal(one, other)


def test_channel_sensitivity_is_equal_in_parts(pair, monkeypatch):
    from pipeline.steps._channel_graph import importance, trace
    from pipeline.steps.prune_channels import sensitivity

    monkeypatch.setattr(streaming, "CHUNK_BYTES", 28 * 28 * 4 * 50)
    model = pair[0].build_model()
    graph = trace(model)
    tried = [[len(group.channels), 2] for group in graph.groups]
    curves = [sensitivity(model, graph, importance(model, graph), workload, tried) for workload in pair[:2]]
    for one, other in zip(*curves, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
