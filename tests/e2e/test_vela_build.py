"""A whole build for an Ethos-U: real training, real conversion, the real compiler."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from small_project import REPOSITORY, add_target, invoke

from pipeline.flatbuffer import read_model

BUDGETS = "npu_operator_share_min = 1.0\nnpu_cycles_max = 100_000\nsram_bytes = 20_000\nflash_bytes = 60_000\n"
DEVICE = '[device]\naccelerator = "ethos-u55-64"\nsystem_config = "Ethos_U55_Deep_Embedded"\n'
ASSUMED = "by Vela for Ethos_U55_Deep_Embedded and Shared_Sram"
MEMORY = "memory_bytes = 20_000_000\n"  # the host's, which this device has not
BUILD = ("build", "--target=npu", "--workload=small")


def limits(project: Path, name: str, budgets: str, device: str = DEVICE) -> None:
    add_target(project, name, (MEMORY, budgets), ("[budgets]", f"{device}\n[budgets]"), ("real", "the NPU"))
    path = project / "targets" / f"{name}.toml"
    path.write_text(f'runner = "vela"\n{path.read_text()}')


def of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {verdict["metric"]: verdict for verdict in document["verdicts"]}


def checked(text: str, schema: str) -> dict[str, Any]:
    document = json.loads(text)
    jsonschema.validate(document, json.loads((REPOSITORY / "docs" / "schemas" / f"{schema}.json").read_text()))
    return document


@pytest.fixture(scope="module")
def npu(built: Path) -> Path:
    """The project with a finished build for the NPU, which shares the training of the first one."""
    limits(built, "npu", BUDGETS)
    done = invoke(built, *BUILD)
    (built / "npu.txt").write_text(done.stdout)
    assert "train: from the store" in done.stderr
    return built


def test_all_four_budgets_pass_and_estimates_are_called_so(npu: Path) -> None:
    document = json.loads((npu / "artifacts/small/npu/build.json").read_text())
    found = of(document)
    for metric in ("npu_operator_share_min", "npu_cycles_max", "sram_bytes", "flash_bytes"):
        assert found[metric]["verdict"] == "pass"
        assert (ASSUMED in found[metric]["note"]) == (metric != "npu_operator_share_min")
    assert found["npu_operator_share_min"]["measured"] == 1
    assert found["accuracy_min"]["verdict"] == "pass"  # of the plain file, on the host
    assert document["latency"] is None
    device = document["device"]
    assert (device["runner"], device["device"]["device_class"]) == ("vela", "ethos-u55-64")
    assert device["device"]["fingerprint"]["system_config"] == "Ethos_U55_Deep_Embedded"
    assert device["device_check"] is None  # nothing ran there, so nothing was compared
    shown = (npu / "npu.txt").read_text()
    for name in ("npu_cycles", "estimated_latency_ms", "sram_bytes", "flash_bytes"):
        (line,) = [line for line in shown.splitlines() if line.startswith(name) and "(estimate)" in line]
        assert ASSUMED in line
    (share,) = [line for line in shown.splitlines() if line.startswith("npu_operator_share 1")]
    assert "estimate" not in share
    assert "model_vela.tflite" in shown


def test_the_compiled_file_lies_beside_the_plain_one(npu: Path) -> None:
    folder = npu / "artifacts/small/npu"
    document = json.loads((folder / "build.json").read_text())
    content = (folder / "model_vela.tflite").read_bytes()
    assert document["device"]["files"] == {"model_vela.tflite": hashlib.sha256(content).hexdigest()}
    assert document["sha256"] == hashlib.sha256((folder / "model.tflite").read_bytes()).hexdigest()
    operators = [operator.name for operator in read_model(folder / "model_vela.tflite").subgraphs[0].operators]
    assert operators == ["ethos-u"]


def test_a_second_build_compiles_nothing_and_publishes_the_file_again(npu: Path) -> None:
    compiled = npu / "artifacts/small/npu/model_vela.tflite"
    before = compiled.read_bytes()
    compiled.unlink()
    done = invoke(npu, *BUILD, "--json")
    document = checked(done.stdout, "build")
    assert document["device"]["reused"]
    assert "benchmark: from the store" in done.stderr
    assert compiled.read_bytes() == before


def test_tightened_limits_fail(npu: Path) -> None:
    figures = json.loads((npu / "artifacts/small/npu/build.json").read_text())["device"]["figures"]
    tight = {
        "npu_cycles_max": figures["npu_cycles"]["value"] - 1,
        "sram_bytes": figures["sram_bytes"]["value"] - 1,
        "flash_bytes": figures["flash_bytes"]["value"] - 1,
    }
    limits(npu, "tight", "".join(f"{name} = {value:.0f}\n" for name, value in tight.items()))
    document = checked(invoke(npu, "build", "--target=tight", "--workload=small", "--json", expect=5).stdout, "build")
    assert document["verdict"] == "fail"
    assert {name for name, verdict in of(document).items() if verdict["verdict"] == "fail"} == set(tight)


def test_operators_that_stay_on_the_cpu_fail_their_budget_by_name(npu: Path) -> None:
    limits(npu, "halfway", BUDGETS)
    path = npu / "targets" / "halfway.toml"
    path.write_text(path.read_text().replace('_dtype = "int8"', '_dtype = "float32"'))
    done = invoke(npu, "build", "--target=halfway", "--workload=small", "--json", expect=5)
    document = checked(done.stdout, "build")
    share = of(document)["npu_operator_share_min"]
    assert share["verdict"] == "fail"
    assert 0 < share["measured"] < 1
    note = document["device"]["figures"]["npu_operator_share"]["note"]
    assert "on the CPU: 1 QUANTIZE, 1 DEQUANTIZE" in note
    assert "without what the CPU computes" in of(document)["npu_cycles_max"]["note"]


def test_bench_compiles_anew_and_takes_any_file(npu: Path) -> None:
    result = checked(invoke(npu, "bench", "--target=npu", "--json").stdout, "bench")["results"][0]
    assert result["latency"] is None
    assert not result["device"]["reused"]
    assert of(result)["npu_cycles_max"]["verdict"] == "pass"
    shown = invoke(npu, "bench", "--target=npu", "--model=artifacts/small/small/model.tflite").stdout
    assert "ethos-u55-64" in shown
    assert "(estimate)" in shown


def test_a_mistake_in_the_settings_is_found_before_anything_runs(npu: Path) -> None:
    limits(npu, "unknown", BUDGETS, DEVICE.replace("u55-64", "u55-65"))
    done = invoke(npu, "build", "--target=unknown", "--workload=small", "--json", expect=2)
    error = checked(done.stdout, "error")["error"]
    assert "unknown.toml: device.accelerator cannot be used" in error["message"]
    assert error["received"] == "'ethos-u55-65'"
    assert "did you mean 'ethos-u55-64'?" in error["expected"]
    assert "started" not in done.stderr


def test_a_comparison_has_a_share_for_what_the_npu_takes_and_for_what_it_does_not(npu: Path) -> None:
    done = invoke(npu, "compare", "--target=npu", "--workload=small", "--techniques=float16,target", "--json")
    document = checked(done.stdout, "compare")
    rows = {row["name"]: row for row in document["candidates"]}
    shares = {name: row["figures"]["npu_operator_share"]["value"] for name, row in rows.items()}
    assert shares.items() >= {"float32": 0, "float16": 0, "target": 1}.items()
    assert {row["latency"]["runner"] for row in rows.values()} == {"host"}
    assert of(rows["float16"])["npu_operator_share_min"]["verdict"] == "fail"
    assert of(rows["float16"])["npu_cycles_max"]["verdict"] == "inconclusive"  # and not passed with 0 cycles
    assert shares[document["choice"]] == 1
    assert document["verdict"] == "pass"
