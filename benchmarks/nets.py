"""Untrained networks that the benchmarks time: chains of equal convolutions, and a file with one operator repeated.

tiny      int8, about 5 µs        small     int8, about 50 µs: twenty convolutions, each 5% of it
large     float32, about 5 ms     (on one thread of an x86-64 server)
"""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

NETS = {  # picture's side, channels, convolutions, int8
    "tiny": (8, 8, 7, True),
    "small": (14, 16, 20, True),
    "large": (48, 48, 4, False),
}


def make_net(name: str, path: Path) -> None:
    """Convert the untrained network of that name, in a process of its own, which TensorFlow leaves with its memory."""
    code = f"from benchmarks.nets import convert; convert({name!r}, {str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        sys.exit(done.stderr)


def convert(name: str, path: str) -> None:
    """Write the network; imports TensorFlow."""
    import numpy as np

    from pipeline.keras_legacy import keras, tf

    side, channels, depth, int8 = NETS[name]
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [layers.InputLayer((side, side, channels))]
        + [layers.Conv2D(channels, 3, padding="same", activation="relu") for _ in range(depth)]
        + [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    )
    spec = tf.TensorSpec([1, side, side, channels], tf.float32)
    function = tf.function(lambda batch: model(batch, training=False), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    if int8:
        random = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [random.random((1, side, side, channels), dtype=np.float32)] for _ in range(20)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(path).write_bytes(converter.convert())


def repeat_operator(content: bytes, index: int) -> bytes:
    """Return the file with operator `index` of its first graph done twice.

    The repeat reads what the operator reads, and its result is one more output of the graph: what nobody
    reads a delegate leaves out.
    """
    import ai_edge_litert.schema_py_generated as schema

    from pipeline.steps._pack import pack
    from pipeline.steps.slim import take_in

    model = schema.ModelT.InitFromPackedBuf(content)
    take_in(model, content)
    model.signatureDefs = None  # they name the outputs that there were
    graph = model.subgraphs[0]
    repeat = copy.copy(graph.operators[index])
    result = copy.copy(graph.tensors[int(repeat.outputs[0])])
    result.name = b"repeat"
    graph.tensors.append(result)
    repeat.outputs = [len(graph.tensors) - 1]
    graph.operators.insert(index + 1, repeat)
    graph.outputs = [*map(int, graph.outputs), len(graph.tensors) - 1]
    return pack(model)
