"""Which channels of a Keras model hang together, and the model without some of them.

Every output channel of every layer is a number. A walk through the model labels each axis of
each weight with the channels along it, and gives channels that an addition joins the same
number. Pruning is then one rule: drop a number, and with it every slice of every weight that
bears it (Li et al. 2017, arXiv:1608.08710, section 3). Where a layer is of no known kind, the
channels that reach it are frozen and the reason is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import StepFailed

WIDTH = {"Conv2D": "filters", "SeparableConv2D": "filters", "Dense": "units"}  # the field that holds a layer's width
DEPTHWISE = "DepthwiseConv2D"
ELEMENTWISE = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
CHANNELWISE = {
    *("Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("ZeroPadding2D", "Cropping2D", "UpSampling2D"),
}
KNOWN = {*WIDTH, DEPTHWISE, *ELEMENTWISE, *CHANNELWISE, "BatchNormalization", "Flatten", "Concatenate"}
# Softmax and its like are missing: they compute each channel from all.
ELEMENTWISE_ACTIVATIONS = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "swish", "silu", "mish"),
    *("tanh", "sigmoid", "hard_sigmoid", "softplus", "softsign", "exponential"),
}


@dataclass(frozen=True)
class Group:
    """Layers whose channels can only be removed together, and these channels: int [width]."""

    layers: tuple[str, ...]
    channels: np.ndarray


@dataclass(frozen=True)
class ChannelGraph:
    """What can be removed from a model, and what hangs on it. `kept` is bool [channels] throughout."""

    channels: int  # how many numbers there are
    groups: tuple[Group, ...]
    obstacles: dict[str, str]  # layer → why it cannot be pruned
    outputs: dict[str, np.ndarray]  # layer with filters → its channels
    normalized_by: dict[str, str]  # layer with filters → the batch normalization right behind it
    axes: dict[str, list[dict[int, np.ndarray]]]  # layer → for each of its weights: axis → channels along it
    shapes: dict[str, list[tuple[int, ...]]]  # layer → shapes of its weights
    positions: dict[str, int]  # layer with filters → places in which its kernel is applied

    def kept(self, widths: list[int], importance: np.ndarray) -> np.ndarray:
        """Return which channels stay when each group keeps its `widths` most important ones."""
        kept = np.ones(self.channels, bool)
        for group, width in zip(self.groups, widths, strict=True):
            order = np.argsort(-importance[group.channels], kind="stable")
            kept[group.channels[order[width:]]] = False
        return kept

    def widths(self, kept: np.ndarray) -> dict[str, int]:
        """Return the number of channels that each layer with filters keeps."""
        return {name: int(kept[channels].sum()) for name, channels in self.outputs.items()}

    def cost(self, kept: np.ndarray) -> dict[str, int]:
        """Return parameters and multiply-accumulates (of convolutions and dense layers) of the model that is left."""
        parameters = multiply_accumulates = 0
        for name, shapes in self.shapes.items():
            for index, shape in enumerate(shapes):
                left = list(shape)
                for axis, channels in self._labels(name, index).items():
                    left[axis] = int(kept[channels].sum())
                parameters += math.prod(left)
                if len(left) > 1:
                    multiply_accumulates += math.prod(left) * self.positions.get(name, 0)
        return {"parameters": parameters, "multiply_accumulates": multiply_accumulates}

    def weights(self, model: Any, kept: np.ndarray, *, zeros: bool = False) -> dict[str, list[np.ndarray]]:
        """Return each layer's weights without what is not kept, or, with `zeros`, with zeros in its place."""
        found = {layer.name: layer.get_weights() for layer in model.layers}
        for name, weights in found.items():
            for index, weight in enumerate(weights):
                for axis, channels in self._labels(name, index).items():
                    if zeros:
                        np.moveaxis(weight, axis, 0)[~kept[channels]] = 0
                    else:
                        weight = weights[index] = weight.compress(kept[channels], axis)
        return found

    def _labels(self, name: str, index: int) -> dict[int, np.ndarray]:
        return self.axes[name][index] if name in self.axes else {}


def importance(model: Any, graph: ChannelGraph) -> np.ndarray:
    """Return float [channels]: the L1 norm of each channel's filter, as deployed.

    A batch normalization right behind the filter scales it by |gamma| / standard deviation
    (Liu et al. 2017, arXiv:1708.06519, rank by gamma alone). Layers that share channels are
    put on one scale by their means, and summed.
    """
    scores = np.zeros(graph.channels)
    for name, channels in graph.outputs.items():
        kernel = [weight for weight in model.get_layer(name).get_weights() if weight.ndim > 1][-1]
        norms = np.abs(kernel).reshape(-1, len(channels)).sum(axis=0)
        if name in graph.normalized_by:
            layer = model.get_layer(graph.normalized_by[name])
            gamma = layer.gamma.numpy() if layer.scale else 1.0
            norms = norms * np.abs(gamma) / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
        np.add.at(scores, channels, norms / (norms.mean() or 1.0))
    return scores


def cut(model: Any, graph: ChannelGraph, kept: np.ndarray) -> Any:
    """Return a new model that has the kept channels alone, with their weights."""
    from pipeline.keras_legacy import keras

    widths = graph.widths(kept)

    def narrower(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in widths and type(layer).__name__ in WIDTH:
            config[WIDTH[type(layer).__name__]] = widths[layer.name]
        return type(layer).from_config(config)

    narrow = keras.models.clone_model(model, clone_function=narrower)
    for name, weights in graph.weights(model, kept).items():
        narrow.get_layer(name).set_weights(weights)
    return narrow


def trace(model: Any) -> ChannelGraph:
    """Return the channels of a sequential or functional model.

    Raises StepFailed for a subclassed model, or one whose sizes are not fixed.
    """
    if not getattr(model, "_is_graph_network", False):
        raise StepFailed(
            "the channels of this model cannot be followed",
            received=f"a subclassed or unbuilt model ({type(model).__name__})",
            expected="a sequential or functional Keras model",
            fix="write build_model() of the workload with keras.Sequential or keras.Model(inputs, outputs)",
        )
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    walk = _Walk(Counter(node.layer.name for node in nodes))
    for node in nodes:
        walk.visit(node)
    for tensor in model.outputs:
        walk.freeze(walk.tensors[str(id(tensor))], "its channels are the model's outputs")
    return walk.graph({layer.name: [weight.shape for weight in layer.get_weights()] for layer in model.layers})


class _Walk:
    """Numbers the channels, node by node from the inputs on."""

    def __init__(self, uses: Counter[str]):
        self.uses = uses  # layer → places in which it is used
        self.numbers = np.zeros(0, int)  # channel as first met → its number; tied channels have the same
        self.frozen: dict[int, str] = {}  # channel → why it must stay
        self.tensors: dict[str, np.ndarray] = {}  # Keras' tensor id → channels along its last axis
        self.obstacles: dict[str, str] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.normalized_by: dict[str, str] = {}
        self.axes: dict[str, list[dict[int, np.ndarray]]] = {}
        self.positions: Counter[str] = Counter()

    def visit(self, node: Any) -> None:
        from pipeline.keras_legacy import tf

        name, kind = node.layer.name, type(node.layer).__name__
        shapes = [tuple(tensor.shape) for tensor in tf.nest.flatten(node.outputs)]
        if any(None in shape[1:] for shape in shapes):
            raise StepFailed(
                f"the layer {name} has no fixed size",
                received=f"shape {list(shapes[0])}",
                expected="a fixed size on every axis but the batch",
                fix="give the model an input of the workload's INPUT_SHAPE",
            )
        if kind in WIDTH or kind == DEPTHWISE:
            self.positions[name] += math.prod(shapes[0][1:-1])
        inputs = [self.tensors[tensor] for tensor in node.flat_input_ids]
        if node.is_input:
            found = [self.new(_width(shapes[0]), "its channels are tied to the model's input")]
        elif obstacle := self.obstacle(node, inputs):
            for channels in inputs:
                self.freeze(channels, f"its channels feed {name} ({kind}), {obstacle}")
            if node.layer.weights:
                self.obstacles[name] = f"it is a {kind}, {obstacle}"
            found = [self.new(_width(shape), f"its channels are tied to {name} ({kind})") for shape in shapes]
        else:
            found = [self.follow(node, inputs)]
        self.tensors.update(zip(node.flat_output_ids, found, strict=True))

    def obstacle(self, node: Any, inputs: list[np.ndarray]) -> str:
        """Return why channels cannot be followed through a layer; nothing when they can."""
        from pipeline.keras_legacy import keras

        layer, config, kind = node.layer, node.layer.get_config(), type(node.layer).__name__
        if kind not in KNOWN or type(layer) is not getattr(keras.layers, kind, None):
            return "a kind of layer through which channels are not followed"
        if self.uses[layer.name] > 1 and layer.weights:
            return f"which is shared: used in {self.uses[layer.name]} places"
        if config.get("data_format", "channels_last") != "channels_last":
            return "whose channels are not on the last axis"
        if kind == "BatchNormalization" and list(np.ravel(layer.axis)) != [node.outputs.shape.rank - 1]:
            return "which does not normalize the last axis"
        if config.get("groups", 1) != 1:
            return f"whose filters see one of {config['groups']} groups of channels each"
        if kind == DEPTHWISE and layer.depth_multiplier != 1:
            return f"which has {layer.depth_multiplier} filters for each channel"
        if kind in ELEMENTWISE and len({len(channels) for channels in inputs}) > 1:
            return "which stretches one channel over all of another input"
        return ""

    def follow(self, node: Any, inputs: list[np.ndarray]) -> np.ndarray:
        """Label the weights of a layer of known kind; return the channels of its output."""
        layer, kind, entry = node.layer, type(node.layer).__name__, inputs[0]
        config = layer.get_config()
        found, labels = entry, []
        if kind in WIDTH:
            found = self.outputs[layer.name] = self.new(config[WIDTH[kind]])
            labels = [{-2: entry, -1: found}, {-1: found}]
            if kind == "SeparableConv2D":
                widened = np.repeat(entry, layer.depth_multiplier)
                labels = [{-2: entry}, {-2: widened, -1: found}, {-1: found}]
        elif kind == DEPTHWISE:
            self.outputs[layer.name] = entry
            labels = [{-2: entry}, {-1: entry}]
        elif kind == "BatchNormalization":
            labels = [{-1: entry}] * 4
            self.normalized_by[node.parent_nodes[0].layer.name] = layer.name
        elif kind == "Flatten":
            found = np.tile(entry, node.outputs.shape[-1] // len(entry))
        elif kind == "Concatenate" and layer.axis % node.outputs.shape.rank == node.outputs.shape.rank - 1:
            found = np.concatenate(inputs)
        for other in inputs[1:] if found is entry else ():
            self.tie(entry, other)
        if labels:
            self.axes[layer.name] = labels[: len(layer.weights)]
        if str(config.get("activation", "linear")) not in ELEMENTWISE_ACTIVATIONS:
            self.freeze(found, f"its channels are mixed by the activation of {layer.name}")
        return found

    def new(self, width: int, reason: str = "") -> np.ndarray:
        channels = np.arange(len(self.numbers), len(self.numbers) + width)
        self.numbers = np.concatenate([self.numbers, channels])
        if reason:
            self.freeze(channels, reason)
        return channels

    def tie(self, channels: np.ndarray, others: np.ndarray) -> None:
        for one, other in zip(channels, others, strict=True):
            self.numbers[self.numbers == self.numbers[other]] = self.numbers[one]

    def freeze(self, channels: np.ndarray, reason: str) -> None:
        self.frozen.update(dict.fromkeys(channels.tolist(), reason))

    def graph(self, shapes: dict[str, list[tuple[int, ...]]]) -> ChannelGraph:
        """Sort the layers into groups, now that every tie is known."""
        outputs = {name: self.numbers[channels] for name, channels in self.outputs.items()}
        frozen = {int(self.numbers[channel]): reason for channel, reason in self.frozen.items()}
        tied: list[tuple[list[str], set[int]]] = []
        for name, channels in outputs.items():
            touching = [group for group in tied if not group[1].isdisjoint(channels.tolist())]
            tied = [group for group in tied if group not in touching]
            tied.append(
                (
                    [*(layer for layers, _ in touching for layer in layers), name],
                    set(channels.tolist()).union(*(numbers for _, numbers in touching)),
                )
            )
        groups = []
        for layers, numbers in tied:
            reasons = [frozen[number] for number in sorted(numbers) if number in frozen]
            if not reasons and any(len(outputs[layer]) != len(numbers) for layer in layers):
                reasons = [f"its channels are tied to a part of another layer's ({', '.join(layers)})"]
            if reasons:
                self.obstacles.update(dict.fromkeys(layers, reasons[0]))
            else:
                groups.append(Group(tuple(layers), np.array(sorted(numbers))))
        return ChannelGraph(
            channels=len(self.numbers),
            groups=tuple(groups),
            obstacles=self.obstacles,
            outputs=outputs,
            normalized_by=self.normalized_by,
            axes={
                name: [{axis: self.numbers[channels] for axis, channels in weight.items()} for weight in labels]
                for name, labels in self.axes.items()
            },
            shapes=shapes,
            positions=dict(self.positions),
        )


def _width(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) > 1 else 1
