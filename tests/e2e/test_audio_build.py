"""Keyword spotting at small scale: folders of WAV files to a full-integer file that passes its budgets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy.io.wavfile
from small_project import add_target, copy_project, invoke

RATE = 8000
WORDS = {"down": (1200, 400), "flat": (700, 700), "up": (400, 1200)}  # Hz at the beginning and at the end
WORKLOAD = """
from pathlib import Path

from pipeline.data import audio_folder
from pipeline.workload import Training

DESCRIPTION = "gliding tones, one convolution"
TRAINING = Training(epochs=4, batch_size=32, learning_rate=3e-3)
DATA = audio_folder.open_data(Path(__file__).parents[1] / "words")
TASK, LABELS, INPUT_SHAPE, INPUT_RANGE = DATA.task, DATA.labels, DATA.input_shape, DATA.input_range
load, preprocess, data_hashes = DATA.load, DATA.preprocess, DATA.hashes


def build_model():
    from pipeline.keras_legacy import keras

    layers = keras.layers
    first = layers.Conv2D(8, 5, strides=2, activation="relu", input_shape=INPUT_SHAPE, name="conv")
    return keras.Sequential([first, layers.Flatten(), layers.Dense(len(LABELS), name="logits")])
"""


def speak(folder: Path, word: str, number: int) -> None:
    draw = np.random.default_rng([number, *WORDS[word]])
    begin, end = np.array(WORDS[word]) * draw.uniform(0.9, 1.1)
    phase = 2 * np.pi * np.cumsum(np.linspace(begin, end, RATE // 2)) / RATE
    sound = 0.3 * np.sin(phase) + draw.normal(0, 0.02, RATE // 2)
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(folder / f"{number}.wav", RATE, np.round(sound * 32767).astype(np.int16))


def test_words_become_a_file_that_tells_them_apart(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    for word in WORDS:
        for number in range(150):
            speak(project / "words" / word, word, number)
    (project / "words" / "data.toml").write_text("clip_ms = 500\nmels = 20\nwindow_ms = 32\n")
    (project / "workloads" / "words.py").write_text(WORKLOAD)
    add_target(project, "words", ("epochs = 2", "epochs = 6\nbatch_size = 16"))  # enough steps for pruning
    document = json.loads(invoke(project, "build", "--target=words", "--workload=words", "--json").stdout)
    assert document["verdict"] == "pass"
    assert document["accuracy"] > 0.9, "a third is chance"
