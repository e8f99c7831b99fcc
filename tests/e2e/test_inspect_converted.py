"""The inspector against TensorFlow's converter and interpreter: one small network, every scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pipeline.flatbuffer import read_model
from pipeline.inspect import float_leftovers, inspect_file

# scheme, number format of input and output, number format of the kernels
VARIANTS = {
    "float32": ("float32", "float32", "float32"),
    "float16": ("float16", "float32", "float16"),
    "dynamic": ("dynamic", "float32", "int8"),
    "int8": ("int8", "int8", "int8"),
    "int8_float_io": ("int8", "float32", "int8"),
    "int16x8": ("int16x8", "int16", "int8"),
    "int16x8_float_io": ("int16x8", "float32", "int8"),
    "sparse": ("sparse", "float32", "float32"),
}


@pytest.fixture(scope="module")
def network() -> Any:
    """A network with a convolution, a depthwise one, an addition and a dense layer; half its weights zero."""
    from pipeline.keras_legacy import keras, make_repeatable

    make_repeatable(5)
    layers = keras.layers
    inputs = layers.Input((16, 16, 2))
    first = layers.Conv2D(8, 3, activation="relu")(inputs)
    second = layers.DepthwiseConv2D(3, padding="same")(first)
    pooled = layers.MaxPooling2D(2)(layers.Add()([first, second]))
    # The dense kernel is 392 by 32; dynamic range quantization leaves those below 1,024 elements in float.
    model = keras.Model(inputs, layers.Dense(10)(layers.Dense(32, activation="relu")(layers.Flatten()(pooled))))
    random = np.random.default_rng(5)
    weights = [random.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()]
    for weight in weights:
        if weight.ndim > 1:  # blocks of zeros: the converter encodes those sparsely
            weight[random.random(weight.shape) < 0.8] = 0
    model.set_weights(weights)
    return model


@pytest.fixture(scope="module")
def files(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from pipeline.keras_legacy import tf

    random = np.random.default_rng(6)
    samples = random.random((20, 1, 16, 16, 2), np.float32)
    function = tf.function(
        lambda batch: network(batch, training=False),
        input_signature=[tf.TensorSpec([1, 16, 16, 2], tf.float32, name="input")],
    ).get_concrete_function()
    folder, made = tmp_path_factory.mktemp("converted"), {}
    for name, (scheme, io_dtype, _) in VARIANTS.items():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
        if scheme == "sparse":
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        elif scheme != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if scheme.startswith("int"):
            converter.representative_dataset = lambda: ([sample] for sample in samples)
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8
                if scheme == "int8"
                else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io_dtype)
        made[name] = folder / f"{name}.tflite"
        made[name].write_bytes(converter.convert())
    return made


@pytest.mark.parametrize("name", VARIANTS)
def test_counts_are_those_of_the_keras_model(name: str, files: dict[str, Path], network: Any) -> None:
    found = inspect_file(files[name])
    assert found.parameters == network.count_params()
    convolution, depthwise, dense = 14 * 14 * 8 * 3 * 3 * 2, 14 * 14 * 8 * 3 * 3, 7 * 7 * 8 * 32 + 32 * 10
    assert found.multiply_accumulates == convolution + depthwise + dense
    kernels = [weight for weight in network.get_weights() if weight.ndim > 1]
    assert sorted(kernel.elements for kernel in found.kernels) == sorted(kernel.size for kernel in kernels)
    share = sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)
    # Quantization rounds a few small weights to zero, and no zero away.
    assert share <= found.zero_fraction <= share + (0.02 if VARIANTS[name][2] == "int8" else 0.0001)
    stored_bytes = {"float32": 4, "float16": 2, "int8": 1}[VARIANTS[name][2]] * found.parameters
    if name == "sparse":
        assert found.weight_bytes < stored_bytes / 2
    else:
        # Biases are wider than kernels, and "dynamic" leaves small kernels in float.
        assert stored_bytes <= found.weight_bytes <= stored_bytes * 1.2


@pytest.mark.parametrize("name", VARIANTS)
def test_tensors_are_those_of_the_interpreter(name: str, files: dict[str, Path]) -> None:
    path, (_, io_dtype, kernel_dtype) = files[name], VARIANTS[name]
    found, interpreter = inspect_file(path), Interpreter(str(path))
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for tensor in (*found.inputs, *found.outputs):
        detail = details[tensor.index]
        assert (tensor.name, list(tensor.shape)) == (detail["name"], detail["shape"].tolist())
        assert tensor.dtype == np.dtype(detail["dtype"]).name == io_dtype
        assert list(tensor.shape_signature) == detail["shape_signature"].tolist()
        assert (tensor.scale or 0.0, tensor.zero_point or 0) == detail["quantization"]
    assert [tensor.index for tensor in found.inputs] == [d["index"] for d in interpreter.get_input_details()]
    assert [tensor.index for tensor in found.outputs] == [d["index"] for d in interpreter.get_output_details()]
    operators = interpreter._get_ops_details()
    assert [operator.name for operator in found.operators] == [
        o["op_name"] for o in operators if o["op_name"] != "DELEGATE"
    ]
    for tensor, (index, detail) in zip(read_model(path).subgraphs[0].tensors, sorted(details.items()), strict=False):
        assert (tensor.name, list(tensor.shape)) == (detail["name"], detail["shape"].tolist()), index
        assert tensor.dtype == np.dtype(detail["dtype"]).name
        parameters = detail["quantization_parameters"]
        assert list(tensor.scale) == parameters["scales"].tolist()
        assert list(tensor.zero_point) == parameters["zero_points"].tolist()
    small = {"float32"} if name == "dynamic" else set()
    assert {kernel.dtype for kernel in found.kernels} == {kernel_dtype, *small}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in ("float16", "sparse")])
def test_zeros_and_distinct_values_are_those_that_the_interpreter_holds(name: str, files: dict[str, Path]) -> None:
    interpreter = Interpreter(str(files[name]))
    interpreter.allocate_tensors()
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    for kernel in inspect_file(files[name]).kernels:
        values = interpreter.get_tensor(indices[kernel.name])
        assert (kernel.zeros, kernel.distinct_values) == (int((values == 0).sum()), np.unique(values).size)


@pytest.mark.parametrize("name", VARIANTS)
def test_peak_is_a_lower_bound_of_the_arena(name: str, files: dict[str, Path]) -> None:
    interpreter = Interpreter(str(files[name]), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    peak = inspect_file(files[name]).peak_activation_bytes
    graph = read_model(files[name]).subgraphs[0]
    decoded = {
        i
        for o in graph.operators
        for i in o.outputs
        if o.name in ("DEQUANTIZE", "DENSIFY") and o.inputs and graph.tensors[o.inputs[0]].data is not None
    }
    places = []
    for index, tensor in enumerate(graph.tensors):
        if tensor.data is None and index not in decoded:
            array = interpreter.tensor(index)()
            start = array.__array_interface__["data"][0]
            places.append((start, start + array.nbytes))
    arena = max(end for _, end in places) - min(start for start, _ in places)
    assert 0.5 * arena <= peak <= arena


@pytest.mark.parametrize("name", VARIANTS)
def test_float_leftovers(name: str, files: dict[str, Path]) -> None:
    scheme, io_dtype, _ = VARIANTS[name]
    found = inspect_file(files[name])
    assert bool(float_leftovers(found, float_io=True)) == (not scheme.startswith("int"))
    assert bool(float_leftovers(found, float_io=False)) == (io_dtype == "float32")
