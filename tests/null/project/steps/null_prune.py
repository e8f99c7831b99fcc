"""Stands for pruning: the smallest weights become zero."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("numpy",)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    final_sparsity: float = Field(0.5, gt=0, lt=1, description="Share of zeros.")
    promise: float | None = Field(None, description="Zeros that later files are held against.")


def run(source, workload, config, out, report):
    weights = np.load(source / "weights.npy")
    weights[np.argsort(np.abs(weights))[: int(config.final_sparsity * len(weights))]] = 0
    np.save(out / "weights.npy", weights)
    # The dense kernel of the committed files has 720 weights.
    promises = {} if config.promise is None else {"kernel_zeros": [(720, config.promise)]}
    return {"zero_fraction": float((weights == 0).mean()), "promises": promises}
