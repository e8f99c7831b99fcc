"""Values that the configs of training steps refuse before anything runs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.steps import distill, low_bit, metadata, pack_int4, transfer


@pytest.mark.parametrize(
    ("step", "field", "value"),
    [
        (distill, "temperature", 0),
        (distill, "temperature", -4),
        (distill, "temperature", float("nan")),
        (distill, "alpha", 1.1),
        (distill, "alpha", -0.1),
        (distill, "student", ""),
        (distill, "epochs", 0),
        (distill, "keep_ratio", 0.5),  # without the student narrow
        (distill, "student", "narrow"),  # without a ratio
        (distill, "teacher", "other"),
        (transfer, "head_epochs", 0),
        (transfer, "epochs", 0),
        (transfer, "head_learning_rate", 0),
        (transfer, "learning_rate", 11),
        (transfer, "unfreeze_layers", -1),
        (transfer, "batch_size", 0),
        (transfer, "head", "dense"),
        (low_bit, "bits", 1),
        (low_bit, "bits", 9),
        (low_bit, "epochs", 0),
        (low_bit, "batch_size", 0),
        (low_bit, "learning_rate", 0),
        (low_bit, "temperature", 0),
        (low_bit, "alpha", 1.1),
        (low_bit, "teacher", "other"),
        (pack_int4, "bits", 4),
        (metadata, "version", 1.2),  # a text, which 1.10 would not stay as a number
        (metadata, "output_name", ""),
        (metadata, "labels", "labels.txt"),
    ],
)
def test_values_that_are_refused(step: ModuleType, field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        step.Config.model_validate({field: value})


@pytest.mark.parametrize("step", [distill, low_bit, metadata, pack_int4, transfer])
def test_every_field_is_described(step: ModuleType) -> None:
    assert all(field.description for field in step.Config.model_fields.values())
