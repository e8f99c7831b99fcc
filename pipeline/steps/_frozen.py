"""A model that legacy Keras has no layers for, as a frozen TensorFlow graph: it computes, and is trained no further.

The graph is what the TFLite converter takes, so that `quantize` and `quantize_edge` need no more; the other
steps work on legacy Keras layers and refuse it, by the name of the layer that is in the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadModelFile
from pipeline.keras_legacy import tf

if TYPE_CHECKING:
    import numpy as np

GRAPH_FILE = "model.pb"  # a GraphDef with the weights in it, from "input" to "logits"
REASON_FILE = "without_layers.txt"  # what is in the way of legacy Keras
# Operators with effects, or with state, that networks do compute with; the others write files, run servers or Python.
_STATEFUL = re.compile(
    r"Assert|Assign\w*VariableOp|Case|CheckNumerics|CudnnRNN|DestroyResourceOp|DisableCopyOnRead|Empty|If|"
    r"(Anonymous)?(Mutable)?(Dense)?HashTable|InitializeTable(V2)?$|LookupTable|Multinomial|ParameterizedTruncated|"
    r"Random|ReadVariableOp|Resource|Rng|SampleDistorted|Stateful|StatelessRandom|TensorArray|TruncatedNormal|"
    r"Var(HandleOp|IsInitializedOp|iableShape|iable(V2)?$)|While"
)
# Operators without state that read files all the same, or talk to something else.
_FOREIGN = re.compile(
    r"ReadFile|MatchingFiles|PyFunc|Debug|DecodeProto|EncodeProto|GenerateVocab|InitializeTableFrom|\w*Dataset"
)
_SAVING = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename")  # of every SavedModel, beside the network


@dataclass(frozen=True)
class Frozen:
    """What the converting steps need of a model: it is called with a batch, and predicts."""

    function: Callable[[Any], Any]  # float32 [batch, *input_shape] → float32 [batch, …]
    batch: int | None = None  # where the graph takes no other
    layers = ()  # none that a step could look into

    def __call__(self, batch: Any, training: bool = False) -> Any:
        return self.function(batch)

    def predict(self, samples: np.ndarray, batch_size: int = 32, verbose: int = 0) -> np.ndarray:
        """Return float32 [n, …], the outputs of float32 [n, *input_shape]."""
        import numpy as np

        size = self.batch or batch_size
        starts = range(0, len(samples), size)
        return np.concatenate([np.asarray(self.function(samples[i : i + size])) for i in starts])


def save_frozen(model: Any, removed: str | None, out: Path) -> bool:
    """Write the model's graph into `out`; return whether the activation `removed` was taken off its end.

    model: called with float32 of the shape of `model.inputs[0]`. removed: "Softmax", "Sigmoid" or None.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name="input")]
    frozen = convert_variables_to_constants_v2(
        tf.function(lambda batch: model(batch, training=False), input_signature=signature).get_concrete_function(),
        lower_control_flow=False,
    )
    output = frozen.outputs[0]
    while output.op.type == "Identity":
        output = output.op.inputs[0]
    found = output.op.type == removed
    if found:
        output = output.op.inputs[0]
    graph = frozen.graph.as_graph_def()
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in (node for node in nodes if node.op == "Square"):  # TFLite has no SQUARE in integers, but MUL
            node.op = "Mul"
            node.input.insert(1, node.input[0])
    graph.node.append(tf.compat.v1.NodeDef(name="logits", op="Identity", input=[output.name]))
    graph.node[-1].attr["T"].type = output.dtype.as_datatype_enum
    (out / GRAPH_FILE).write_bytes(graph.SerializeToString(deterministic=True))
    return found


def load_frozen(folder: Path) -> Frozen:
    """Return the model that `save_frozen` wrote into the folder."""
    graph = tf.compat.v1.GraphDef.FromString((folder / GRAPH_FILE).read_bytes())

    def function(batch: Any) -> Any:
        return tf.graph_util.import_graph_def(graph, {"input:0": batch}, ["logits:0"], name="")[0]

    (given,) = (node for node in graph.node if node.name == "input")
    batch = given.attr["shape"].shape.dim[0].size
    return Frozen(tf.function(function, reduce_retracing=True), batch if batch > 0 else None)


@dataclass(frozen=True)
class Served:
    """What a SavedModel serves, with what the load step asks of a Keras model."""

    loaded: Any  # owns the variables, which live as long as it does
    input_name: str
    output_name: str
    inputs: list[Any]  # tensor specs
    outputs: list[Any]

    def __call__(self, batch: Any, training: bool = False) -> Any:
        served = self.loaded.signatures["serving_default"]
        return served(**{self.input_name: tf.cast(batch, self.inputs[0].dtype)})[self.output_name]

    def count_params(self) -> int:
        return sum(int(tf.size(variable)) for variable in self.loaded.signatures["serving_default"].variables)


def read_served(path: Path) -> Served:
    """Return what a SavedModel serves. Raises BadModelFile unless that is one output of one input."""
    loaded = tf.saved_model.load(str(path))
    served = dict(loaded.signatures).get("serving_default")
    inputs = served.structured_input_signature[1] if served else {}
    outputs = served.structured_outputs if served else {}
    if len(inputs) != 1 or len(outputs) != 1:
        raise BadModelFile(
            f"{path} does not serve what a recipe needs",
            received=f"the signature serving_default of {len(inputs)} inputs and {len(outputs)} outputs",
            expected="the signature serving_default of one input and one output",
            fix="export the model with one input and one output: model.export(folder)",
        )
    return Served(loaded, next(iter(inputs)), next(iter(outputs)), list(inputs.values()), list(outputs.values()))


def refuse_foreign_operators(path: Path) -> None:
    """Raise BadModelFile for a SavedModel whose graph reads or writes files, calls Python, or has other effects."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    from pipeline.steps._model_file import SAFE_WAY, refused

    try:
        model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise refused(path, f"a folder without a readable saved_model.pb: {error}", SAFE_WAY) from error
    for meta in model.meta_graphs:
        functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
        computing = _called(functions, meta.object_graph_def.concrete_functions)
        for name, nodes in (("", meta.graph_def.node), *functions.items()):
            for node in nodes:
                if _is_foreign(node.op) and (name in computing or node.op not in _SAVING):
                    raise refused(path, f"the operator {node.name}, a {node.op}, which no network needs", SAFE_WAY)


def _is_foreign(kind: str) -> bool:
    """Whether an operator does something besides computing. What TensorFlow does not know, it does not load."""
    from tensorflow.python.framework import op_def_registry

    known = op_def_registry.get(kind)
    is_stateful = known is not None and known.is_stateful and not _STATEFUL.match(kind)
    return bool(is_stateful or _FOREIGN.match(kind) or kind in _SAVING)


def _called(functions: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Return the names of functions that the named ones reach."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        for node in functions.get(name, ()):
            waiting.append(node.op)  # a function may be called as an operator is
            for value in node.attr.values():
                waiting += [function.name for function in (value.func, *value.list.func) if function.name]
    return found
