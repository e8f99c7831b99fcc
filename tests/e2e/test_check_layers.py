"""What a check knows of layers by heart, held against TFMOT's registries and the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.check import check
from pipeline.check_layers import (
    ACTIVATIONS,
    FLOAT_ONLY,
    KERAS_3_ONLY,
    NO_BUILTIN,
    OPERATORS,
    PRUNED,
    QUANTIZE_AWARE,
    SEPARATED,
    operators_of,
    why_not_int8,
)
from pipeline.flatbuffer import read_model
from pipeline.keras_legacy import keras, tf

ROOT = Path(__file__).parents[2]
layers = keras.layers
PICTURE, ROW, SEQUENCE, VOLUME = (8, 8, 4), (8,), (8, 4), (8, 8, 8, 4)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Dense", "LSTM", "GRU", "SimpleRNN"), (4,)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D", "RepeatVector"), (3,)),
    **dict.fromkeys(("Resizing", "CenterCrop"), (4, 4)),
    **dict.fromkeys(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise"), (0.1,)),
    **dict.fromkeys(("GaussianDropout", "AlphaDropout", "RandomRotation", "RandomZoom", "RandomContrast"), (0.1,)),
    "RandomBrightness": (0.1,),
    "RandomTranslation": (0.1, 0.1),
    "EinsumDense": ("abcd,de->abce", (None, None, 4)),
    "GroupNormalization": (2,),
    "Rescaling": (0.5, 0.5),
    "Reshape": ((4, 64),),
    "Permute": ((2, 1, 3),),
    "Embedding": (10, 4),
    "Activation": ("linear",),
    "Discretization": ([0.0, 1.0],),
    "MultiHeadAttention": (2, 4),
    "Dot": (1,),
    "MaxPooling3D": (),
    "CategoryEncoding": (10,),
}
TWICE = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")
ATTENTION = ("Attention", "AdditiveAttention")
CRASHING = ("GRU", "SimpleRNN")  # in full-integer conversion, and the interpreter of Python with it


def made(kind: str) -> Any:
    """Return a model of one layer of this kind, or of an activation."""
    if kind in ACTIVATIONS:
        function = {"relu6": tf.nn.relu6, "leaky_relu": tf.nn.leaky_relu}.get(kind, kind)
        inputs = keras.Input(PICTURE)
        return keras.Model(inputs, layers.Activation(function)(inputs))
    rows = ("Dense", "RepeatVector", "Embedding", "Discretization", "CategoryEncoding")
    sequence = kind.endswith(("1D", "1DTranspose")) or kind in (*ATTENTION, *CRASHING, "LSTM", "Masking", "Dot")
    shape = ROW if kind in rows else SEQUENCE if sequence else VOLUME if "3D" in kind else PICTURE
    inputs = keras.Input((1,) if kind == "CategoryEncoding" else SEQUENCE if kind == "MultiHeadAttention" else shape)
    given = ARGUMENTS.get(kind, (4, 3) if kind.startswith(("Conv", "SeparableConv", "LocallyConnected")) else ())
    layer = getattr(layers, kind)(*given)
    if kind in TWICE or kind in ATTENTION:
        return keras.Model(inputs, layer([inputs, inputs * 2.0 if kind in TWICE else inputs]))
    if kind == "MultiHeadAttention":
        return keras.Model(inputs, layer(inputs, inputs))
    return keras.Model(inputs, layer(inputs))


def converted(model: Any, path: Path, int8: bool) -> tuple[set[str], bool]:
    """Return the operators of the file, and whether it has float tensors."""
    shape = (1, *model.input_shape[1:])
    function = tf.function(lambda batch: model(batch, training=False), input_signature=[tf.TensorSpec(shape)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    if int8:
        random = np.random.default_rng(0)
        samples = [random.uniform(0, 1, shape).astype(np.float32) for _ in range(4)]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    graphs = read_model(path).subgraphs
    names = {operator.name for graph in graphs for operator in graph.operators}
    return names, any(tensor.is_float for graph in graphs for tensor in graph.tensors)


def test_tfmots_registries() -> None:
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry
    from tensorflow_model_optimization.quantization.keras import default_8bit

    assert sorted(PRUNED) == sorted(kind.__name__ for kind, names in PruneRegistry._LAYERS_WEIGHTS_MAP.items() if names)
    registry = default_8bit.Default8BitQuantizeRegistry()
    assert sorted(QUANTIZE_AWARE) == sorted(kind.__name__ for kind in registry._layer_quantize_map)
    assert not set(SEPARATED) & set(QUANTIZE_AWARE)


def test_layers_of_either_keras() -> None:
    assert not [kind for kind in KERAS_3_ONLY if hasattr(layers, kind)]
    assert not [kind for kind in (*OPERATORS, *NO_BUILTIN) if not hasattr(layers, kind)]


@pytest.mark.parametrize("kind", [*OPERATORS, *filter(None, ACTIVATIONS)])
def test_what_each_layer_becomes(kind: str, tmp_path: Path) -> None:
    keras.backend.clear_session()
    if kind == "InputLayer":
        return
    known = operators_of("Activation", kind) if kind in ACTIVATIONS else operators_of(kind, None)
    assert known is not None
    model = made(kind)
    stays_float = bool(why_not_int8(kind, kind))
    # Full-integer files have the same operators, but for the conversions around what stays float.
    found, is_float = converted(model, tmp_path / "model.tflite", int8=not stays_float)
    extra = {"MUL"} if kind in TWICE else set()  # what makes the second input of it
    assert found - extra <= set(known)
    # A statistic of 0 and 1 lets the converter drop what it would keep in a trained network.
    optional = {"MUL", "ADD", "SUB"} if kind in ("BatchNormalization", "Normalization", "Rescaling") else set()
    assert set(known) - optional <= found
    if stays_float and kind not in CRASHING:
        is_float = converted(model, tmp_path / "int8.tflite", int8=True)[1]
    assert is_float == stays_float or not found  # nothing is left of some to quantize


@pytest.mark.parametrize("kind", ["MaxPooling3D", "AveragePooling3D", "CategoryEncoding"])
def test_layers_without_a_builtin(kind: str, tmp_path: Path) -> None:
    assert kind in NO_BUILTIN
    with pytest.raises(Exception, match="neither a custom op nor a flex op"):
        converted(made(kind), tmp_path / "float.tflite", int8=False)


def test_float_only_layers_are_layers_or_activations() -> None:
    assert not [name for name in FLOAT_ONLY if name not in ACTIVATIONS and not hasattr(layers, name)]


def test_the_estimate_and_the_operators_of_a_network_are_those_of_its_file(tmp_path: Path) -> None:
    from pipeline.network import find_network

    foreseen = check("ds_cnn:filters=8,blocks=2", ["microcontroller"], "", ROOT)
    assert foreseen.possible
    module, options = find_network("ds_cnn:filters=8,blocks=2")
    model = module.build((28, 28, 1), 10, **options)
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    found, is_float = converted(model, tmp_path / "int8.tflite", int8=True)
    assert not is_float
    assert found <= set(foreseen.operators)
    assert foreseen.parameters == model.count_params()


def test_a_function_and_a_saved_model(tmp_path: Path) -> None:
    code = (
        "from pipeline.keras_legacy import keras\n\n\ndef make():\n"
        "    inputs = keras.Input((8, 8, 3))\n    x = keras.layers.ELU(name='odd')(inputs)\n"
        "    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))\n"
    )
    (tmp_path / "net.py").write_text(code, encoding="utf-8")
    found = check(f"{tmp_path / 'net.py'}:make", ["mobile"], "", ROOT)
    assert found.inputs == [[None, 8, 8, 3]]
    assert "odd: the converter keeps ELU in float" in found.targets[0].obstacles[0]
    (tmp_path / "net3.py").write_text(code.replace("from pipeline.keras_legacy import keras", "import keras"))
    assert "odd: the" in check(f"{tmp_path / 'net3.py'}:make", ["mobile"], "", ROOT).targets[0].obstacles[0]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="only")])
    model.save(tmp_path / "saved", save_format="tf")
    found = check(str(tmp_path / "saved"), ["mobile"], "", ROOT)
    assert found.possible
    assert found.inputs == [[None, 4]]
    assert [layer.name for layer in found.layers if layer.kind == "Dense"] == ["only"]
    assert found.parameters == 15
    tf.saved_model.save(tf.Module(), str(tmp_path / "exported"))
    exported = check(str(tmp_path / "exported"), ["mobile"], "", ROOT)
    assert (exported.kind, exported.parameters) == ("exported SavedModel", 0)
