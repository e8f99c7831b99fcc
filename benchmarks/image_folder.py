"""Figures of image folders: time to build the cache, input against training, memory, and files that are read again.

    python -m benchmarks.image_folder cache 10000      phases from 10,000 PNGs of 64×64 to samples
    python -m benchmarks.image_folder again 10000      the same once more, and after one picture was added
    python -m benchmarks.image_folder input 10000      seconds of training, and of its input alone
    python -m benchmarks.image_folder build 10000      the whole way to a verdict, transfer from a checkpoint included
    python -m benchmarks.image_folder memory 10000     highest resident memory of a process that trains 30 steps

Pictures (circles, squares, triangles and crosses with noise) are made once into the folder that --work names. Each
line of the answer is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle", "cross")
OTHER_CLASSES = ("ring", "bar", "diamond", "two")  # what the checkpoint was trained on
NETWORK = "mobilenet_v2:width=0.35"
TARGET = """description = "Shapes on a phone: int8 in and out, by transfer from a checkpoint"
runner = "host"
input_dtype = "int8"
output_dtype = "int8"

[budgets]
size_bytes = 700_000
accuracy_min = 0.97
accuracy_drop_max = 0.02
speedup_min = 1.0
memory_bytes = 20_000_000

[[recipe]]
step = "load"
path = "checkpoint.h5"

[[recipe]]
step = "transfer"
head_epochs = 1
epochs = 4

[[recipe]]
step = "quantize"
scheme = "int8"
calibration_samples = 500
"""
BATCH = 64
STEPS = 30


def draw(number: int, folder: Path) -> None:
    """Write picture `number`, of class number % 4."""
    random = np.random.default_rng(number)
    image = Image.new("RGB", (64, 64), tuple(random.integers(0, 120, 3).tolist()))
    pen, colour = ImageDraw.Draw(image), tuple(random.integers(130, 256, 3).tolist())
    x, y, r = (int(value) for value in random.integers((20, 20, 10), (44, 44, 20)))
    name = folder_classes(folder)[number % 4]
    if name == "ring":
        pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=4)
    elif name == "bar":
        pen.rectangle((x - r, y - 4, x + r, y + 4), fill=colour)
    elif name == "diamond":
        pen.polygon(((x, y - r), (x - r, y), (x, y + r), (x + r, y)), fill=colour)
    elif name == "two":
        pen.ellipse((x - r, y - 5, x - r + 10, y + 5), fill=colour)
        pen.ellipse((x + r - 10, y - 5, x + r, y + 5), fill=colour)
    elif name == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif name == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif name == "triangle":
        pen.polygon(((x, y - r), (x - r, y + r), (x + r, y + r)), fill=colour)
    else:
        pen.rectangle((x - r, y - 3, x + r, y + 3), fill=colour)
        pen.rectangle((x - 3, y - r, x + 3, y + r), fill=colour)
    noisy = np.asarray(image, np.float32) + random.normal(0, 12, (64, 64, 3))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:06}.png", compress_level=1)


def folder_classes(folder: Path) -> tuple[str, ...]:
    """Return what a folder's pictures show."""
    return OTHER_CLASSES if folder.name == "others" else CLASSES


def pictures(work: Path, count: int, name: str = "shapes") -> Path:
    """Return a folder of `count` pictures, made where it is not there, in a project of its own."""
    project = work / (str(count) if name == "shapes" else name)
    folder = project / name
    if not (project / "tasks.py").is_file():
        for name in folder_classes(folder):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            list(pool.map(draw, range(count), [folder] * count, chunksize=500))
        (folder / "data.toml").write_text("size = [64, 64]\n")
        (project / "tasks.py").write_text("from pipeline.tasks import namespace\n")
        time.sleep(2.5)  # a file that has just changed is read again
    os.chdir(project)
    return folder


def timed(call: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return round(time.perf_counter() - started, 2), result


def opened(folder: Path) -> dict[str, Any]:
    """Return seconds of each phase from the folder to samples, and files read."""
    from pipeline.data import image_folder

    listing, source = timed(lambda: image_folder.open_data(folder))
    known = {path.stat().st_size for path in Path("artifacts").rglob("index.bin")}
    decoding, cache = timed(source._cache)
    grouping, _ = timed(lambda: source._groups)
    splitting, parts = timed(lambda: {split: source.load(split) for split in ("train", "validation", "test")})
    rows = len(cache.index)
    before = max(known, default=0) // cache.index.itemsize
    return {
        "files_hashed": source.files_read,
        "pictures_decoded": rows - before,
        "list_and_hash_s": listing,
        "decode_s": decoding,
        "near_duplicates_s": grouping,
        "split_s": splitting,
        "near_duplicates": source.report()["near_duplicates"],
        "samples": {split: len(labels) for split, (_, labels) in parts.items()},
    }


def workload(folder: Path) -> Any:
    """Return a workload over the folder with a small convolutional network."""
    from pipeline.data import image_folder
    from pipeline.workload import Training, Workload

    source = image_folder.open_data(folder)

    def build_model() -> Any:
        from pipeline.keras_legacy import keras

        layers = keras.layers
        return keras.Sequential(
            [
                layers.Conv2D(16, 3, strides=2, activation="relu", input_shape=source.input_shape),
                layers.Conv2D(32, 3, strides=2, activation="relu"),
                layers.Conv2D(64, 3, strides=2, activation="relu"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(len(source.labels)),
            ]
        )

    module = ModuleType("shapes")
    module.__dict__.update(
        {"__file__": __file__, "LABELS": source.labels, "INPUT_SHAPE": source.input_shape, "DESCRIPTION": "shapes"},
        INPUT_RANGE=source.input_range,
        TRAINING=Training(epochs=1, batch_size=BATCH),
        load=source.load,
        preprocess=source.preprocess,
        build_model=build_model,
    )
    return Workload("shapes", module)


def input_share(folder: Path) -> dict[str, Any]:
    """Return milliseconds of a training step with samples in memory and streamed, and how long each waits for input."""
    from pipeline.keras_legacy import keras
    from pipeline.steps._batches import training_batches

    streamed, held = workload(folder), workload(folder)
    samples, labels = streamed.load("train")
    whole = samples[:]
    held.module.__dict__["load"] = lambda split: (whole, labels)
    model = streamed.build_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = {
        name: iter(training_batches(learned, BATCH, 0)) for name, learned in (("memory", held), ("streamed", streamed))
    }
    steps = len(labels) // BATCH  # an epoch
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in batches}
    for turn in range(4):
        for name, source in batches.items():
            waited, started = 0.0, time.perf_counter()
            for _ in range(steps):
                asked = time.perf_counter()
                batch = next(source)
                waited += time.perf_counter() - asked
                model.train_on_batch(*batch)
            if turn:  # the first traces
                seconds[name].append((time.perf_counter() - started, waited))
    alone, _ = timed(lambda: [next(batches["streamed"]) for _ in range(steps)] and None)
    answer: dict[str, Any] = {"batch": BATCH, "input_alone_ms_a_step": round(1000 * alone / steps, 2)}
    for name, found in seconds.items():
        total, waited = min(found)
        answer[f"{name}_ms_a_step"] = round(1000 * total / steps, 2)
        answer[f"{name}_waiting_share"] = round(waited / total, 4)
    return answer


def build(folder: Path, work: Path) -> dict[str, Any]:
    """Return seconds of `invoke build` from pictures that nothing has read yet to the verdict, and of its stages."""
    project = folder.parent
    others = pictures(work, 600, "others")
    trained = invoke(others.parent, "train", "--data=others", f"--model={NETWORK}")
    shutil.copyfile(others.parent / trained["output"] / "model.h5", project / "checkpoint.h5")
    shutil.rmtree(project / "artifacts", ignore_errors=True)
    (project / "targets").mkdir(exist_ok=True)
    (project / "targets" / "phone.toml").write_text(TARGET)
    shutil.rmtree(project / "workloads", ignore_errors=True)
    (project / "targets" / "shapes.toml").unlink(missing_ok=True)
    invoke(project, "new", "--name=shapes", "--data=shapes", f"--model={NETWORK}")
    seconds, document = timed(lambda: invoke(project, "build", "--target=phone", "--workload=shapes"))
    stages = {stage["name"]: round(stage["seconds"], 1) for stage in document["stages"]}
    told = ("verdict", "sha256", "size_bytes", "accuracy", "validation_accuracy", "baseline_accuracy")
    return {"build_s": seconds, "stages_s": stages, **{name: document[name] for name in told}}


def invoke(project: Path, *arguments: str) -> dict[str, Any]:
    """Return the document of a task that is run in a project, whatever its verdict."""
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-m", "invoke", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE, check=False
    )
    if done.returncode not in (0, 3, 5):
        sys.exit(done.stdout.decode())
    return json.loads(done.stdout)


def memory(folder: Path) -> dict[str, Any]:
    """Return the highest resident memory before samples, and after 30 steps and a validation in parts."""
    from pipeline.keras_legacy import keras
    from pipeline.steps._batches import training_batches, validation_arguments

    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learned = workload(folder)
    listed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    learned.load("train")
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = learned.build_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = training_batches(learned, BATCH, 0)
    model.fit(batches, steps_per_epoch=STEPS, epochs=1, verbose=0, **validation_arguments(learned))
    trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sizes = {"imports": started, "listed": listed, "loaded": loaded, "trained": trained}
    return {f"{name}_megabytes": round(size / 1024) for name, size in sizes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cache", "again", "input", "build", "memory"))
    parser.add_argument("count", type=int)
    parser.add_argument("--work", type=Path, default=Path("artifacts/image_folder_figures"))
    given = parser.parse_args()
    making, folder = timed(lambda: pictures(given.work.absolute(), given.count))
    if given.what == "cache":
        shutil.rmtree("artifacts", ignore_errors=True)
        answer = {"pictures_made_s": making, **opened(folder)}
    elif given.what == "again":
        print(json.dumps({"what": "nothing changed", **opened(folder)}))
        fresh = given.count + int(time.time()) % 10**6 * 4
        draw(fresh, folder)
        answer = {"what": "one added", **opened(folder)}
    elif given.what == "build":
        answer = build(folder, given.work.absolute())
    else:
        answer = (input_share if given.what == "input" else memory)(folder)
    print(json.dumps({"pictures": given.count, **answer}))


if __name__ == "__main__":
    main()
