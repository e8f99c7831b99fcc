"""LiteRT.js in headless Chromium: the file as a web page runs it, measured by the page's own clock.

The runner serves a page on loopback, opens it with Playwright in the system's Chromium, and the
page posts back what it saw. LiteRT.js comes from npm when the runner is installed; at run time
nothing outside loopback is asked for. A page's clock is coarse, so a time is the mean of a batch
of invocations, long enough that a step of the clock is less than 1% of it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import BadModelFile, RunnerFailed
from pipeline.flatbuffer import read_model
from pipeline.runner import Device, Figure, ModelRun, RunResult, Settings
from pipeline.runners import host
from pipeline.runners._browser_components import CHROMIUMS, FOLDER, INSTALL_LITERTJS, find_components
from pipeline.runners._browser_server import Answer, PageServer, model_answers, page_answers
from pipeline.runners._browser_session import last_words, visit

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION = "LiteRT.js in headless Chromium, over a page on loopback"
VERSION = "1"
MEASURES_TIME = True
EVALUATED_BY = "host"

PAGE = FOLDER  # page.html and page.js
# A batch takes so many steps of the page's clock, and at least half as many if the code gets faster meanwhile.
CLOCK_STEPS = 200
SETTLE_MS = 500.0  # invocations before the first timed one: V8 compiles a page's code again while it runs
WARM_UP_MS, ROUND_MS, LEAST_BATCHES = 5.0, 20.0, 5  # of each model's turn
LOADS = 5
DTYPES = ("float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32")  # those of JavaScript's arrays


class Config(BaseModel):
    """The target's [device] table; all of it may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chromium: Path | None = Field(
        None, description=f"Path of the browser. Left out: the first of {', '.join(CHROMIUMS)} on PATH."
    )
    backend: Literal["wasm"] = Field(
        "wasm",
        description="What computes: wasm is the processor. There is no webgpu: headless Chromium only emulates it.",
    )
    assets: Path | None = Field(
        None,
        description="Folder node_modules that holds @litertjs/core. Left out: the project's own, or the runner's.",
    )


def device(settings: Settings) -> Device:
    """Return this machine's browser, of class "browser". Raises EnvironmentUnsuited for a missing component."""
    config = _config(settings)
    components = find_components(config.chromium, config.assets)
    version = components.chromium_version
    machine = host.device(settings)
    return Device(
        device_class="browser",
        name=f"Chromium {version.partition('.')[0]} headless on {machine.name}",
        fingerprint={
            "chromium": version,
            "litertjs": components.litertjs_version,
            **{key: machine.fingerprint[key] for key in ("cores", "machine", "system")},
        },
    )


def run(models: Mapping[str, Path], samples: np.ndarray | None, settings: Settings) -> RunResult:
    """Invoke the models on samples float32 [n, *input_shape] in one page of a fresh browser.

    Each model has one input and, where outputs are asked for, one output. Without samples it gets 8
    seeded random ones, as on the host. times_ns are means over a batch of invocations, which includes
    the deletion of the outputs that LiteRT.js demands of a page.

    Raises EnvironmentUnsuited for a missing component, BadModelFile for a file that is no model, does
    not fit the samples or is refused by LiteRT.js, DataError for samples that the input cannot
    express, RunnerFailed when the browser fails or overruns a limit.
    """
    config = _config(settings)
    components = find_components(config.chromium, config.assets)
    paths = list(models.values())
    inputs = [_input_bytes(path, samples, settings) for path in paths]
    request = {
        "models": len(paths),
        "accelerator": config.backend,
        "threads": settings.threads,
        "rounds": settings.rounds,
        "outputs": settings.outputs,
        "loads": LOADS,
        "clock_steps": CLOCK_STEPS,
        "settle_ms": SETTLE_MS,
        "warm_up_ms": WARM_UP_MS,
        "round_ms": ROUND_MS,
        "least_batches": LEAST_BATCHES,
    }
    answers = {**page_answers(PAGE, components.modules), "/request.json": lambda: Answer(json.dumps(request).encode())}
    for index, (path, content) in enumerate(zip(paths, inputs, strict=True)):
        answers |= model_answers(index, path.read_bytes(), content)
    names = ", ".join(map(str, paths)) or "no model"
    with PageServer(answers) as server:
        log = visit(
            server.address,
            components.chromium,
            server.results,
            names,
            seconds=settings.seconds * max(1, len(paths)),
            resident_megabytes=settings.resident_megabytes,
        )
    report = json.loads(server.results["report"])
    if "error" in report:
        raise _error(report["error"], paths, log, settings)
    runs = {
        name: _model_run(path, told, server.results.get(f"{index}.outputs"), report, log, settings)
        for index, ((name, path), told) in enumerate(zip(models.items(), report["models"], strict=True))
    }
    # The page's process takes about 190 MB, give or take 4 from one start to the next: a model's share is lost in it.
    return RunResult(device(settings), None, runs)


def _config(settings: Settings) -> Config:
    return settings.config if isinstance(settings.config, Config) else Config()


def _input_bytes(path: Path, samples: np.ndarray | None, settings: Settings) -> bytes:
    """Return the samples as the model's input has them, one behind the other; checks both."""
    import numpy as np

    from pipeline.runners import _host_child

    graph = read_model(path).subgraphs[0]
    if len(graph.inputs) != 1 or (settings.outputs and len(graph.outputs) != 1):
        raise BadModelFile(
            f"{path} has several inputs or outputs",
            received=f"{len(graph.inputs)} inputs, {len(graph.outputs)} outputs",
            expected="one input and one output",
            fix="give a model that fits, or build this one again",
        )
    tensor = graph.tensors[graph.inputs[0]]
    if tensor.dtype not in DTYPES:
        raise BadModelFile(
            f"{path} takes no numbers that a page can give",
            received=f"input {tensor.name!r} of {tensor.dtype}",
            expected=f"an input of {', '.join(DTYPES)}",
            fix="give a model that fits, or build this one again",
        )
    details = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": np.array([abs(size) for size in tensor.shape], np.int32),
        "quantization": (tensor.scale[0], tensor.zero_point[0]) if tensor.scale else (0.0, 0),
    }
    try:
        if samples is None:
            drawn = [_host_child.random_values(details, [index, 0]) for index in range(_host_child.RANDOM_SAMPLES)]
            values = np.concatenate(drawn)
        else:
            host.check_samples(samples)
            _host_child.check_samples(str(path), [details], samples)
            values = samples
    except _host_child.Refused as refused:
        raise host.error_of(refused.fields) from None
    return np.ascontiguousarray(_host_child.quantized(values, details)).tobytes()


def _model_run(
    path: Path, told: dict[str, Any], outputs: bytes | None, report: dict[str, Any], log: list[str], settings: Settings
) -> ModelRun:
    import numpy as np

    rounds = np.array(told.get("rounds", []), np.float64)
    times = np.maximum(1, np.rint(rounds * 1e6 / told.get("batch", 1))).astype(np.int64)
    kernels = ["XNNPACK" if any("XNNPACK delegate" in line for line in log) else "built-in kernels"]
    kernels += ["in WebAssembly", "on all operators" if told["accelerated"] else "on some operators"]
    return ModelRun(
        outputs=_outputs(path, told["output"], outputs) if outputs is not None else None,
        times_ns=times if settings.rounds else np.empty((0, 0), np.int64),
        kernels=f"{' '.join(kernels)}; means of batches",
        invocations_a_time=told.get("batch", 1),
        first_answer_ns=round(told["first_answer_ms"] * 1e6),
        figures=_figures(path, told, report) if settings.rounds else {},
    )


def _outputs(path: Path, told: dict[str, Any], content: bytes) -> np.ndarray:
    """Return outputs float32 [n, *output_shape], scale and zero point applied."""
    import numpy as np

    graph = read_model(path).subgraphs[0]
    tensor = graph.tensors[graph.outputs[0]]
    shape = told["shape"][1:] if told["shape"][:1] == [1] else told["shape"]
    values = np.frombuffer(content, told["dtype"]).reshape(-1, *shape).astype(np.float32)
    if tensor.scale and not tensor.is_float:
        values = (values - np.float32(tensor.zero_point[0])) * np.float32(tensor.scale[0])
    return values


def _figures(path: Path, told: dict[str, Any], report: dict[str, Any]) -> dict[str, Figure]:
    """Return what the page measured besides invocations. Raises RunnerFailed where the browser did not decompress."""
    import numpy as np

    size = path.stat().st_size
    for encoding in ("gzip", "br"):
        if told[encoding][1] != size:
            raise RunnerFailed(
                f"{path} arrived damaged when it was sent with {encoding}",
                received=f"{told[encoding][1]} bytes after decompression",
                expected=f"{size} bytes",
                fix="use a Chromium that takes gzip and brotli from 127.0.0.1",
            )
    batch_ms = float(np.median(told["rounds"]))
    share = report["clock_step_ms"] / batch_ms
    sent = "body of the response, as the browser counts it"
    return {
        "transfer_gzip_bytes": Figure(value=told["gzip"][0], note=f"level 9; {sent}"),
        "transfer_brotli_bytes": Figure(value=told["br"][0], note=f"quality 11; {sent}"),
        "runtime_bytes": Figure(value=report["runtime_bytes"], note="LiteRT.js with gzip, which a page loads as well"),
        "runtime_load_ms": Figure(value=report["runtime_load_ms"], note="LiteRT.js from loopback until it is ready"),
        "load_ms": Figure(
            value=statistics.median(told["load_ms"]),
            note=f"median of {LOADS}: the file from loopback until it can be invoked, LiteRT.js being ready",
        ),
        "clock_resolution_us": Figure(
            value=round(report["clock_step_ms"] * 1000, 3),
            note=f"a time is the mean of {told['batch']} invocations, of which a step is {share:.2%}",
        ),
    }


def _error(told: dict[str, Any], paths: list[Path], log: list[str], settings: Settings) -> Exception:
    """Return the project's error for what the page could not do."""
    if "model" in told:
        dtypes = "input_dtype and output_dtype to float32 in the target's TOML"
        return BadModelFile(
            f"{paths[told['model']]} cannot be loaded and invoked by LiteRT.js",
            received=told["message"],
            expected="a .tflite file that LiteRT.js loads and invokes",
            fix=f"set {dtypes}" if "Element type" in told["message"] else "build it again, or inspect it",
        )
    if "threads" in told:
        return RunnerFailed(
            "LiteRT.js has fewer threads than the target asks for",
            received=f"threads = {settings.threads}",
            expected=f"at most {told['threads']} with {len(paths)} loaded files: a page has a thread a processor",
            fix=f"set threads = {told['threads']} in the target's TOML",
        )
    return RunnerFailed(
        "the browser runner's page failed",
        received=f"{told['page']}; the console said: {last_words(log)}",
        expected="LiteRT.js loads",
        fix=f"install it again: {INSTALL_LITERTJS}",
    )
