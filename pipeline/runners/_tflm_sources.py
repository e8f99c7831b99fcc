"""What a firmware takes a model in with: its bytes as a C array, and a resolver with the operators that it uses.

The names of TFLite Micro's resolver methods follow tensorflow/lite/micro/micro_mutable_op_resolver.h.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from pipeline.errors import BadModelFile
from pipeline.runners._c_array import c_array

# Builtin operators of which MicroMutableOpResolver has a method: CONV_2D's is AddConv2D.
_BUILTINS = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
_NAMED_OTHERWISE = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
CUSTOM = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
    **{
        f"Signal{name}": f"Add{name}"
        for name in (
            *("Delay", "Energy", "FftAutoScale", "FilterBank", "FilterBankLog", "FilterBankSpectralSubtraction"),
            *("FilterBankSquareRoot", "Framer", "Irfft", "OverlapAdd", "PCAN", "Rfft", "Stacker", "Window"),
        )
    },
}


def method_of(operator: str) -> str | None:
    """Return the resolver's method that adds an operator, such as "AddConv2D" for CONV_2D; None where it has none."""
    if operator in _BUILTINS.split():
        return _NAMED_OTHERWISE.get(operator) or f"Add{operator.title().replace('_', '')}"
    return CUSTOM.get(operator)


def sources(content: bytes, operators: Sequence[str], name: str) -> dict[str, bytes]:
    """Return `model.cc`, `model.h` and `model_ops.h` for a `.tflite` and the names of its operators, each once.

    Raises BadModelFile, which calls the file `name`, for an operator whose method is not known.
    """
    unknown = [operator for operator in operators if method_of(operator) is None]
    if unknown:
        raise BadModelFile(
            f"{name} uses operators of which no resolver method is known: {', '.join(unknown)}",
            received=f"operators {', '.join(operators)}",
            expected="operators of tensorflow/lite/micro/micro_mutable_op_resolver.h",
            fix="build the network of other layers, or give the target another runner",
        )
    return {**c_array(content), "model_ops.h": _resolver(operators).encode()}


def _resolver(operators: Sequence[str]) -> str:
    """Return the header. Its classes are named within both namespaces that releases of TFLite Micro have."""
    added = "".join(f"  if (resolver.{method_of(operator)}() != kTfLiteOk) return false;\n" for operator in operators)
    return (
        textwrap.dedent(
            f"""\
            #ifndef MODEL_OPS_H_
            #define MODEL_OPS_H_

            #include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

            namespace tflite {{
            namespace micro {{}}
            }}  // namespace tflite

            namespace model_ops {{

            // Some releases of TFLite Micro have their classes in tflite, others in tflite::micro.
            using namespace ::tflite;
            using namespace ::tflite::micro;

            // The operators that model.tflite uses, and no other.
            using Resolver = MicroMutableOpResolver<{max(1, len(operators))}>;

            // Returns false where the resolver refuses one, as it does when it is asked a second time.
            inline bool Add(Resolver& resolver) {{
            """
        )
        + added
        + "  return true;\n}\n\n}  // namespace model_ops\n\n#endif  // MODEL_OPS_H_\n"
    )
