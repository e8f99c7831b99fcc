"""Stands for conversion: a tiny committed file of the scheme, whatever the weights are."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

CONSUMES = "keras"
PRODUCES = "tflite"
LIBRARIES = ("numpy",)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["float32", "int8"] = Field("int8", description="Which committed file.")
    agrees: bool = Field(True, description="Whether the reference agrees with what the null runner answers.")
    promised_dtype: str = Field("", description="Input and output dtype that the file is held against.")


def run(source, workload, config, out, report):
    (out / "model.tflite").write_bytes((Path(__file__).parent / f"tiny_{config.scheme}.tflite").read_bytes())
    np.save(out / "reference.npy", np.eye(10, dtype=np.float32)[np.full(50, 0 if config.agrees else 3)])
    dtype = config.promised_dtype or config.scheme
    return {"promises": {"input_dtype": dtype, "output_dtype": dtype, "full_integer": config.scheme == "int8"}}
