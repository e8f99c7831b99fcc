"""What the tools make of each kind of Keras layer: asked of them once, kept here, so that a check loads none of them.

`tests/e2e/test_check_layers.py` holds PRUNED and QUANTIZE_AWARE against TFMOT's registries, and OPERATORS,
FLOAT_ONLY and NO_BUILTIN against what the converter makes of a layer of each kind.
"""

from __future__ import annotations

from pipeline.steps.cluster import CLUSTERED_LAYERS

# fmt: off
# Kinds with a weight that TFMOT's pruning registry names.
PRUNED = (
    "Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Dense", "Embedding", "LocallyConnected1D",
    "LocallyConnected2D", "MultiHeadAttention", "SeparableConv1D", "SeparableConv2D",
)
# Kinds that TFMOT's 8-bit registry has a way for.
QUANTIZE_AWARE = (
    "Activation", "ActivityRegularization", "Add", "AveragePooling1D", "AveragePooling2D", "Concatenate", "Conv2D",
    "Conv2DTranspose", "Cropping1D", "Cropping2D", "Cropping3D", "Dense", "DepthwiseConv2D", "Dropout", "Flatten",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "GlobalMaxPooling3D", "LeakyReLU", "MaxPooling2D", "Permute", "ReLU", "Reshape", "Softmax",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)
# Kinds that TFMOT takes apart before it asks the registry; the last where it follows one with a kernel.
SEPARATED, FOLDED = ("SeparableConv1D", "SeparableConv2D"), "BatchNormalization"
_BEFORE_FOLDED = ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense", "SeparableConv2D")
# Kinds whose weights are no kernel: there is nothing to prune or cluster in them.
WITHOUT_KERNEL = (
    "BatchNormalization", "GroupNormalization", "LayerNormalization", "Normalization", "PReLU",
    "SyncBatchNormalization", "RMSNormalization",
)
# What each kind becomes, alone and without an activation; a batch normalization behind a kernel vanishes in it.
OPERATORS: dict[str, str] = {
    **dict.fromkeys((
        "InputLayer", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout",
        "AlphaDropout", "ActivityRegularization", "RandomFlip", "RandomRotation", "RandomZoom", "RandomContrast",
        "RandomTranslation", "RandomBrightness", "Activation",
    ), ""),
    "Dense": "FULLY_CONNECTED", "EinsumDense": "FULLY_CONNECTED",
    "Conv1D": "RESHAPE CONV_2D", "Conv2D": "CONV_2D", "Conv3D": "CONV_3D",
    "DepthwiseConv1D": "RESHAPE DEPTHWISE_CONV_2D", "DepthwiseConv2D": "DEPTHWISE_CONV_2D",
    "SeparableConv1D": "RESHAPE DEPTHWISE_CONV_2D CONV_2D", "SeparableConv2D": "DEPTHWISE_CONV_2D CONV_2D",
    "Conv1DTranspose": "RESHAPE TRANSPOSE_CONV", "Conv2DTranspose": "TRANSPOSE_CONV",
    "Conv3DTranspose": "CONV_3D_TRANSPOSE",
    "LocallyConnected1D": "STRIDED_SLICE RESHAPE CONCATENATION BATCH_MATMUL",
    "LocallyConnected2D": "STRIDED_SLICE RESHAPE CONCATENATION BATCH_MATMUL",
    "BatchNormalization": "MUL ADD", "UnitNormalization": "L2_NORMALIZATION",
    "LayerNormalization": "TRANSPOSE RESHAPE MEAN SQUARED_DIFFERENCE ADD RSQRT SUB MUL",
    "GroupNormalization": "RESHAPE SUM SQUARE ADD RSQRT SUB MUL",
    "Normalization": "SUB MUL", "Rescaling": "MUL ADD", "Resizing": "RESIZE_BILINEAR", "CenterCrop": "SLICE",
    "ReLU": "RELU", "LeakyReLU": "LEAKY_RELU", "PReLU": "PRELU", "ELU": "ELU", "Softmax": "SOFTMAX",
    "ThresholdedReLU": "GREATER CAST MUL",
    "MaxPooling1D": "RESHAPE MAX_POOL_2D", "MaxPooling2D": "MAX_POOL_2D",
    "AveragePooling1D": "RESHAPE AVERAGE_POOL_2D", "AveragePooling2D": "AVERAGE_POOL_2D",
    "GlobalAveragePooling1D": "MEAN", "GlobalAveragePooling2D": "MEAN",
    "GlobalMaxPooling1D": "REDUCE_MAX", "GlobalMaxPooling2D": "REDUCE_MAX",
    "Flatten": "RESHAPE", "Reshape": "RESHAPE", "Permute": "TRANSPOSE", "RepeatVector": "RESHAPE TILE",
    "ZeroPadding1D": "PAD", "ZeroPadding2D": "PAD", "Cropping1D": "STRIDED_SLICE", "Cropping2D": "STRIDED_SLICE",
    "UpSampling1D": "SPLIT CONCATENATION", "UpSampling2D": "RESIZE_NEAREST_NEIGHBOR",
    "Add": "ADD", "Subtract": "SUB", "Multiply": "MUL", "Average": "ADD MUL", "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM", "Concatenate": "CONCATENATION", "Dot": "BATCH_MATMUL",
    "Embedding": "CAST GATHER", "Masking": "NOT_EQUAL REDUCE_ANY CAST MUL",
    "LSTM": "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE",
    "GRU": "WHILE LESS GATHER FULLY_CONNECTED RESHAPE SPLIT ADD MUL SUB LOGISTIC TANH STRIDED_SLICE",
    "SimpleRNN": "WHILE LESS GATHER FULLY_CONNECTED RESHAPE ADD TANH STRIDED_SLICE",
    "MultiHeadAttention": "FULLY_CONNECTED RESHAPE TRANSPOSE BATCH_MATMUL SOFTMAX",
    "Attention": "BATCH_MATMUL SOFTMAX",
    "AdditiveAttention": "RESHAPE ADD TANH MUL SUM SOFTMAX BATCH_MATMUL",
    "Discretization": "BUCKETIZE CAST",
}
ACTIVATIONS: dict[str, str] = {
    "linear": "", "relu": "RELU", "relu6": "RELU6", "softmax": "SOFTMAX", "sigmoid": "LOGISTIC", "tanh": "TANH",
    "swish": "LOGISTIC MUL", "silu": "LOGISTIC MUL", "gelu": "GELU", "elu": "ELU", "leaky_relu": "LEAKY_RELU",
    "selu": "EXP GREATER MUL SELECT SUB", "softplus": "EXP ADD LOG", "softsign": "ABS ADD DIV", "exponential": "EXP",
    "hard_sigmoid": "MUL ADD RELU MINIMUM", "mish": "EXP ADD LOG TANH MUL",
}
# Kinds and activations that stay float, or crash the converter, where everything else becomes int8.
FLOAT_ONLY = (
    "ELU", "elu", "GroupNormalization", "ThresholdedReLU", "Masking", "Embedding", "Conv3D", "Conv3DTranspose",
    "Discretization", "LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM2D",
)
# Kinds whose TensorFlow operators are none of TFLite's own.
NO_BUILTIN = (
    "AveragePooling3D", "MaxPooling3D", "CategoryEncoding", "IntegerLookup", "StringLookup", "TextVectorization",
)
# Kinds of Keras 3 that legacy Keras lacks: TFMOT's steps cannot work on them.
KERAS_3_ONLY = (
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "GroupQueryAttention", "MelSpectrogram", "RMSNormalization",
    "ReversibleEmbedding", "STFTSpectrogram",
)
# fmt: on


def operators_of(kind: str, activation: str | None, feeds: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Return the TFLite operators that a layer becomes, None where that shows only once it is converted.

    kind: its class. activation: by name, None for none. feeds: kinds of the layers before it.
    """
    if kind == FOLDED and feeds and set(feeds) <= set(_BEFORE_FOLDED):
        own: str | None = ""
    else:
        own = OPERATORS.get(kind)
    follows = ACTIVATIONS.get(activation or "linear")
    if kind in ("LSTM", "GRU", "SimpleRNN"):  # tanh is inside
        follows = ""
    if own is None or follows is None:
        return None
    fused = follows in ("RELU", "RELU6") and kind in _BEFORE_FOLDED
    return tuple(dict.fromkeys([*own.split(), *([] if fused else follows.split())]))


def why_not_pruned(kind: str) -> str:
    """Return why pruning leaves a layer with weights as it is, nothing where it does not."""
    return "" if kind in (*PRUNED, *WITHOUT_KERNEL) else f"TFMOT prunes no {kind}"


def why_not_clustered(kind: str) -> str:
    """Return why clustering leaves a layer with weights as it is, nothing where it does not."""
    return "" if kind in (*CLUSTERED_LAYERS, *WITHOUT_KERNEL) else f"no {kind} is clustered"


def why_not_quantize_aware(kind: str, feeds: tuple[str, ...]) -> str:
    """Return why TFMOT refuses quantization-aware training because of this layer, nothing where it does not."""
    if kind in (*QUANTIZE_AWARE, *SEPARATED, "InputLayer"):
        return ""
    if kind == FOLDED:
        kernel = feeds and set(feeds) <= set(_BEFORE_FOLDED)
        return "" if kernel else f"TFMOT takes a {FOLDED} only right behind a layer with a kernel"
    return f"TFMOT's 8-bit scheme knows no {kind}"


def why_not_int8(kind: str, activation: str | None) -> str:
    """Return why a full-integer file cannot come of this layer, nothing where it can."""
    for name in (kind, activation):
        if name in FLOAT_ONLY:
            return f"the converter keeps {name} in float"
    return ""
