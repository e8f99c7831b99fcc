"""Values that the configs of training steps refuse before anything runs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.steps import distill


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
        (distill, "teacher", "other"),
    ],
)
def test_values_that_are_refused(step: ModuleType, field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        step.Config.model_validate({field: value})


@pytest.mark.parametrize("step", [distill])
def test_every_field_is_described(step: ModuleType) -> None:
    assert all(field.description for field in step.Config.model_fields.values())
