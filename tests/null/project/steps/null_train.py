"""Stands for training: seeded weights, after as many seconds as asked."""

import time

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

CONSUMES = None
PRODUCES = "keras"
LIBRARIES = ("numpy",)


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(2, gt=0, description="Progress reports.")
    seconds: float = Field(0.0, ge=0, description="Time to take.")
    fill_bytes: int = Field(0, ge=0, description="Bytes of ballast in the output.")
    fail: bool = Field(False, description="Raise instead of finishing.")
    seed: int = Field(0, ge=0, description="Seed of the weights.")


def run(source, workload, config, out, report):
    for epoch in range(config.epochs):
        time.sleep(config.seconds / config.epochs)
        report({"epoch": epoch + 1, "epochs": config.epochs, "done": (epoch + 1) / config.epochs})
    if config.fail:
        raise ValueError("this step was told to fail")
    (out / "ballast").write_bytes(bytes(config.fill_bytes))
    np.save(out / "weights.npy", np.random.default_rng(config.seed).normal(size=1000).astype(np.float32))
    return {"parameters": 1000}
