"""What the steps that quantize refuse before anything runs."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import EnvironmentUnsuited
from pipeline.plan import make_plan
from pipeline.steps import quantize, quantize_edge
from pipeline.target import load_target
from pipeline.workload import load_workload


@pytest.mark.parametrize("step", [quantize, quantize_edge])
@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"calibration": "entropy"}, "calibration"),
        ({"scheme": "int8", "calibration": "percentile", "calibration_percentile": 101}, "calibration_percentile"),
        ({"scheme": "int8", "calibration": "percentile", "calibration_percentile": 1}, "calibration_percentile"),
        ({"scheme": "int16x8", "calibration": "mse"}, "'mse' does not go with scheme 'int16x8'"),
        ({"scheme": "int8", "input_dtype": "int16"}, "input_dtype 'int16' does not go with scheme 'int8'"),
        ({"scheme": "int16x8", "output_dtype": "int8"}, "output_dtype 'int8' does not go with scheme 'int16x8'"),
        ({"agreement_min": 99.5}, "agreement_min"),
        ({"scheme": "int2"}, "scheme"),
    ],
)
def test_values_that_are_refused(step: ModuleType, config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        step.Config.model_validate(config)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"layers": {"conv": "int3"}}, "layers.conv"),
        ({"layers": ["conv"]}, "layers"),
        ({"scheme": "weight_only_int4", "input_dtype": "int8"}, "input_dtype 'int8' does not go with"),
        ({"scheme": "dynamic_int8", "calibration": "percentile"}, "'percentile' does not go with"),
    ],
)
def test_values_that_quantize_edge_refuses(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        quantize_edge.Config.model_validate(config)


@pytest.mark.parametrize("step", [quantize, quantize_edge])
def test_every_field_is_described(step: ModuleType) -> None:
    assert all(field.description for field in step.Config.model_fields.values())


def test_one_scale_a_kernel_is_for_int8_alone() -> None:
    with pytest.raises(ValidationError, match="per_channel = false does not go with scheme 'int16x8'"):
        quantize.Config.model_validate({"scheme": "int16x8", "per_channel": False})


def test_without_the_extra_the_plan_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ai-edge-quantizer":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (tmp_path / "targets").mkdir()
    text = 'description = "int4"\n[[recipe]]\nstep = "train"\n[[recipe]]\nstep = "quantize_edge"\n'
    (tmp_path / "targets" / "four.toml").write_text(text)
    with pytest.raises(EnvironmentUnsuited, match="'quantize_edge' needs ai-edge-quantizer") as caught:
        make_plan(load_target("four", tmp_path), load_workload("mnist"), 0, tmp_path)
    assert caught.value.fix == "pip install 'edge-deployment-pipeline[edge-quantizer]'"
