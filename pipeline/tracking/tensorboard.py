"""TensorBoard's event files, written without TensorFlow: curves, histograms, figures, hyperparameters, the verdict.

A build has one run, DIR/<workload>/<target>/<hash>, with one event file, which is written anew each time: equal
builds give equal bytes. Tags:

    <stage>/<series>               a training; the step is the epoch, from 1 on
    weights/<layer>                step 0: before quantization, where the store has that model; step 1: in the file
    activations/<layer>            step 0: real values; step 1: the same, brought onto the quantization grid
    figures/<name>                 what was measured on the file
    verdict                        the budgets, as Markdown
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentUnsuited, RequestError
from pipeline.files import write_whole
from pipeline.project import Project
from pipeline.tracking.facts import BuildFacts
from pipeline.tracking.histograms import Bins, bins_of

EVENT_FILE = "events.out.tfevents.0000000000.build"  # the name by which TensorBoard knows such files
HASH_DIGITS = 12


def write_run(facts: BuildFacts, folder: Path, project: Project) -> tuple[Path, bool]:
    """Write a build's run under `folder`; return the run's folder, and whether it was there before.

    Raises EnvironmentUnsuited without the extra, RequestError where `folder` is no folder.
    """
    content = _content(facts, project)
    document = facts.document
    run = folder / document.workload / document.target / f"{document.sha256[:HASH_DIGITS]}-seed{document.seed}"
    path = run / EVENT_FILE
    known = path.is_file()
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RequestError(
            f"--tensorboard: {folder} cannot hold runs",
            received=f"a file: {error.filename}",
            expected="a folder, which is made where there is none",
            fix="--tensorboard=artifacts/tensorboard",
        ) from error
    write_whole(path, content)
    return run, known


def _content(facts: BuildFacts, project: Project) -> bytes:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ModuleNotFoundError as error:
        raise EnvironmentUnsuited(
            f"TensorBoard's files are written with {error.name}, which is not installed",
            received="no such distribution",
            expected="the libraries of the extra 'tensorboard'",
            fix="pip install 'edge-deployment-pipeline[tensorboard]'",
        ) from error
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    time = facts.measured_at
    writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
    for step, value in _values(facts, project):
        event = Event(wall_time=time, step=step, summary=Summary(value=[value]))
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def _values(facts: BuildFacts, project: Project) -> Iterator[tuple[int, Any]]:
    """Yield (step, Summary.Value)."""
    yield from _hyperparameters(facts)
    for curves in facts.anatomy.curves:
        for name, series in sorted(curves.series.items()):
            for epoch, value in enumerate(series, start=1):
                yield epoch, _scalar(f"{curves.stage}/{name}", value)
    for name, value in sorted(facts.figures.items()):
        yield 0, _scalar(f"figures/{name}", value)
    for tag, step, bins in bins_of(facts, project):
        yield step, _histogram(tag, bins)
    yield 0, _text("verdict", _markdown(facts))


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.plugins.scalar.metadata import create_summary_metadata

    return _value(tag, create_summary_metadata(tag, ""), [value], ())


def _histogram(tag: str, bins: Bins) -> Any:
    from tensorboard.plugins.histogram.metadata import create_summary_metadata

    rows = [number for row in bins for number in row]
    return _value(tag, create_summary_metadata(tag, "step 0: before quantization, step 1: after"), rows, (len(bins), 3))


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    tensor = make_tensor_proto(text.encode(errors="replace"))
    return Summary.Value(tag=tag, metadata=create_summary_metadata(tag, ""), tensor=tensor)


def _value(tag: str, metadata: Any, numbers: Sequence[float], shape: tuple[int, ...]) -> Any:
    import numpy as np
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    kind = np.float64 if shape else np.float32  # as TensorBoard's own plugins write them
    return Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto(np.array(numbers, kind).reshape(shape)))


def _hyperparameters(facts: BuildFacts) -> Iterator[tuple[int, Any]]:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    started = plugin_data_pb2.SessionStartInfo(group_name=facts.name, start_time_secs=facts.measured_at)
    for name, value in facts.parameters.items():
        if isinstance(value, bool):
            started.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            started.hparams[name].number_value = value
        else:
            started.hparams[name].string_value = value
    status = api_pb2.STATUS_FAILURE if facts.document.verdict == "fail" else api_pb2.STATUS_SUCCESS
    ended = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=facts.measured_at)
    for tag, data in (
        (metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=started)),
        (metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=ended)),
    ):
        described = metadata.create_summary_metadata(data)
        data.version = metadata.PLUGIN_DATA_VERSION
        described.plugin_data.content = data.SerializeToString(deterministic=True)  # maps have no order of their own
        yield 0, Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)


def _markdown(facts: BuildFacts) -> str:
    document = facts.document
    rows = ["| budget | limit | measured | verdict |", "| --- | --- | --- | --- |"]
    for verdict in document.verdicts:
        measured = "" if verdict.measured is None else f"{verdict.measured:g}"
        rows.append(f"| {verdict.metric} | {verdict.limit:g} | {measured} | {verdict.verdict} |")
    return "\n".join([f"**{document.verdict}**: {facts.name}, SHA-256 `{document.sha256}`", "", *rows])
