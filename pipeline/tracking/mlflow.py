"""Runs on an MLflow server: parameters, figures, curves, tags and files of a build, by MLflow's own client.

A build is known by its file's SHA-256, its target, workload and seed, which are tags of its run: tracked again, it
updates that run. Figures carry the time of the measurement, so that equal ones are stored once. Credentials come
from MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, or the address; no message has them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pipeline.errors import EnvironmentUnsuited, PipelineError, RequestError, TrackingFailed
from pipeline.project import ARTIFACT, BUILD_DOCUMENT
from pipeline.tracking.facts import BuildFacts
from pipeline.watch import Watch

REPORT = "report.html"
SECONDS, RETRIES = 15, 2  # of one request; how often it is asked again
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_METRICS_A_REQUEST, _PARAMETERS_A_REQUEST = 1000, 100  # what the server takes
_VALUE_CHARACTERS, _MESSAGE_CHARACTERS = 6000, 300


def open_server(address: str, experiment: str, watch: Watch) -> Server:
    """Return the server at `address` with an experiment, which is made where there is none.

    Raises RequestError for an address that cannot be one, or credentials that are not taken, EnvironmentUnsuited
    without the extra, TrackingFailed for a server that does not answer in time or as MLflow does.
    """
    plain = _without_credentials(address)
    _bound_requests()
    client = _client(plain)
    with _told(plain):
        found = client.get_experiment_by_name(experiment)
        identifier = found.experiment_id if found else client.create_experiment(experiment)
    return Server(client, plain, identifier, watch)


class Server:
    """An MLflow server, and one experiment of it."""

    def __init__(self, client: Any, address: str, experiment: str, watch: Watch):
        self._client, self._address, self._experiment, self._watch = client, address, experiment, watch

    def write_run(self, facts: BuildFacts) -> tuple[str, bool]:
        """Write a build's run; return the address of its page, and whether it was there before."""
        with _told(self._address):
            run = self._known(facts)
            known = run is not None
            if run is None:
                started = int(facts.measured_at * 1000)
                run = self._client.create_run(self._experiment, start_time=started, run_name=facts.name)
            self._log(run, facts)
            self._send_files(run.info.run_id, facts)
            self._client.set_terminated(run.info.run_id, end_time=int(facts.measured_at * 1000))
        return f"{self._address}/#/experiments/{self._experiment}/runs/{run.info.run_id}", known

    def _known(self, facts: BuildFacts) -> Any:
        wanted = {name: facts.tags[name] for name in ("sha256", "target", "workload", "seed")}
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        found = self._client.search_runs([self._experiment], query, max_results=1)
        return found[0] if found else None

    def _log(self, run: Any, facts: BuildFacts) -> None:
        from mlflow.entities import Metric, Param, RunTag

        at = int(facts.measured_at * 1000)
        parameters = {_key(name): str(value)[:_VALUE_CHARACTERS] for name, value in facts.parameters.items()}
        kept = {name for name, value in parameters.items() if run.data.params.get(name, value) != value}
        if kept:  # MLflow changes no parameter of a run
            self._watch.note(f"{facts.name}: the run keeps its earlier {', '.join(sorted(kept))}")
        new = [Param(name, value) for name, value in parameters.items() if name not in run.data.params]
        metrics = [Metric(_key(name), value, at, 0) for name, value in facts.figures.items()]
        for curves in facts.anatomy.curves:
            for name, series in curves.series.items():
                key = _key(f"{curves.stage}/{name}")
                metrics += [Metric(key, value, at, epoch) for epoch, value in enumerate(series, start=1)]
        tags = [RunTag(name, value[:_VALUE_CHARACTERS]) for name, value in facts.tags.items()]
        identifier = run.info.run_id
        self._client.log_batch(identifier, tags=tags)  # first: by them a run that was cut short is found again
        for first in range(0, len(new), _PARAMETERS_A_REQUEST):
            self._client.log_batch(identifier, params=new[first : first + _PARAMETERS_A_REQUEST])
        for first in range(0, len(metrics), _METRICS_A_REQUEST):
            self._client.log_batch(identifier, metrics=metrics[first : first + _METRICS_A_REQUEST])

    def _send_files(self, identifier: str, facts: BuildFacts) -> None:
        for name in (ARTIFACT, BUILD_DOCUMENT, REPORT, *facts.document.device.files):
            path = facts.folder / name
            if path.is_file():
                self._client.log_artifact(identifier, str(path))


def _key(name: str) -> str:
    """Return a name as MLflow takes it."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:250]


def _without_credentials(address: str) -> str:
    """Return the address alone; a user and password in it go where MLflow's client looks for them."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        port = f":{parts.port}" if good and parts.port else ""
    except ValueError:  # a port that is no number, say
        good = False
    if not good:
        shown = re.sub(r"//[^/]*@", "//", address.split("?")[0].split("#")[0])
        raise RequestError(
            "--mlflow is no address of an MLflow server",
            received=shown[:_MESSAGE_CHARACTERS],
            expected="http://HOST:PORT or https://HOST, with a path where the server has one",
            fix="mlflow server --port 5000, then --mlflow=http://127.0.0.1:5000",
        )
    if parts.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path.rstrip("/"), "", ""))


def _bound_requests() -> None:
    """Have MLflow's client, which is told by the environment alone, wait for a bounded time and report nothing."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
    os.environ.setdefault("MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT", str(SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(RETRIES))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    os.environ["MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER"] = "false"  # a server may name any time
    os.environ["MLFLOW_ALLOW_HTTP_REDIRECTS"] = "false"  # credentials stay where they belong
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


def _client(address: str) -> Any:
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as error:
        raise EnvironmentUnsuited(
            f"an MLflow server is asked by {error.name}, which is not installed",
            received="no such distribution",
            expected="the libraries of the extra 'mlflow'",
            fix="pip install 'edge-deployment-pipeline[mlflow]'",
        ) from error
    for name in ("urllib3", "mlflow"):  # each attempt that fails is a warning there; the error at the end is ours
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=address)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn what MLflow's client raises into an error of the tree, without secrets."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except PipelineError:
        raise
    except (MlflowException, RequestException) as error:
        raise _error(address, error) from None  # its text and its causes may hold what ours must not


def _error(address: str, error: Exception) -> PipelineError:
    text = f"{type(error).__name__}: {error}"
    response = getattr(error, "response", None)
    status = response.status_code if response is not None else None
    if status is None and hasattr(error, "get_http_status_code"):
        found = re.search(r"error code (\d{3})|code:? ?(\d{3})\b", text)
        status = int(next(filter(None, found.groups()))) if found else error.get_http_status_code()
    if re.search(r"timed? ?out", text, re.IGNORECASE):
        received = f"no answer within {os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT']} s"
    elif re.search(r"Connection(Error| refused| aborted)|NewConnection|RemoteDisconnected|NameResolution", text):
        received = "no connection"
    else:
        received = _shown(text)
    if status in (401, 403):
        return RequestError(
            f"the MLflow server at {address} does not accept the credentials",
            received=f"status {status}",
            expected="credentials that may write runs there",
            fix="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    return TrackingFailed(
        f"the MLflow server at {address} does not do its part",
        received=received,
        expected="the answers of an MLflow server, in time",
        fix="check the address, and that the server runs; tracking again updates the same run",
    )


def _shown(text: str) -> str:
    """Return a text fit for a message: one line, without secrets and the server's words, which may repeat them."""
    text = text.partition("Response body")[0]
    for name in _SECRETS:
        secret = os.environ.get(name, "")
        for form in filter(None, (secret, quote(secret, safe=""))):
            text = text.replace(form, "…")
    text = re.sub(r"//[^/\s]*@", "//", text)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MESSAGE_CHARACTERS]
