"""`MODEL_CARD.md`: the release for people, and for Hugging Face's hub.

YAML front matter as https://huggingface.co/docs/hub/model-cards and
https://github.com/huggingface/hub-docs/blob/main/modelcard.md have it, with a `model-index` of every target's
results; then Markdown. What the author did not state is said to be not stated. The values of the front matter are
written as JSON, which YAML holds, so that no text of a user can be read as anything but text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pipeline.release.bom import input_and_output
from pipeline.release.facts import ReleaseFacts
from pipeline.release.json_document import hashes_in
from pipeline.release.manifest import BOM, CHECKSUMS, CONSUMER, MANIFEST, PROVENANCE, SIGNATURE, ReleasedTarget
from pipeline.verdict import Verdict

NOT_STATED = "Not stated by the author."
# Names of https://huggingface.co/metrics where they differ from this project's.
_HUB_METRICS = {"auc": "roc_auc", "mean_absolute_error": "mae"}


def model_card(facts: ReleaseFacts) -> str:
    """Return the card's text."""
    sections = [
        _heading(facts),
        "## Intended use\n\n" + _prose(facts.card.intended_use),
        _data(facts),
        _contents(facts),
        _budgets(facts),
        _corruptions(facts),
        _limits(facts),
        _use(facts),
        _origin(facts),
    ]
    return f"{_front_matter(facts)}\n" + "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: ReleaseFacts) -> str:
    card = facts.card
    fields: dict[str, Any] = {}
    if license := _line(card.license):  # the hub has identifiers in lower case, and names of others beside "other"
        plain = re.fullmatch(r"[A-Za-z0-9.+-]+", license)
        fields |= {"license": license.lower()} if plain else {"license": "other", "license_name": license}
    fields |= {"library_name": "litert", "tags": ["tflite", "litert", *sorted({one.task for one in facts.targets})]}
    if dataset := _line(card.dataset):
        fields["datasets"] = [dataset]
    fields["metrics"] = sorted({_HUB_METRICS.get(name, name) for one in facts.targets for name in one.scores})
    # Not in ASCII: JSON's pairs of escapes for one character are two characters in YAML.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    index = json.dumps([_indexed(facts, target) for target in facts.targets], ensure_ascii=False, indent=2)
    lines.append("model-index: " + index.replace("\n", "\n  "))  # what goes on over lines is indented in YAML
    return "\n".join(["---", *lines, "---", ""])


def _indexed(facts: ReleaseFacts, target: ReleasedTarget) -> dict[str, Any]:
    dataset = _line(facts.card.dataset) or _line(facts.workload)

    def result(split: str, scores: dict[str, float], *more: dict[str, Any]) -> dict[str, Any]:
        return {
            "task": {"type": target.task},
            "dataset": {"type": dataset, "name": dataset, "split": split},
            # The target in each name, since the hub's library reads all results into one list.
            "metrics": [
                *(
                    {"type": _HUB_METRICS.get(name, name), "name": f"{name}, {target.target}", "value": scores[name]}
                    for name in sorted(scores)
                ),
                *more,
            ],
        }

    size = {"type": "size_bytes", "name": f"size in bytes, {target.target}", "value": target.size_bytes}
    results = [result("test", target.scores, size)]
    if target.validation_scores:
        results.append(result("validation", target.validation_scores))
    return {"name": target.model.removesuffix(".tflite"), "results": results}


def _heading(facts: ReleaseFacts) -> str:
    count = len(facts.targets)
    files = f"{count} TFLite file{'s' if count != 1 else ''}, one for each target"
    lines = [
        f"# {_text(facts.workload)} {facts.version}",
        f"{files}. A target's scores were measured on its file here.",
    ]
    if facts.description:
        lines.insert(1, _prose(facts.description))
    authors = ", ".join(map(_text, facts.card.authors)) or "not stated"
    lines.append(_items([f"Authors: {authors}", f"License: {_text(facts.card.license) or 'not stated'}"]))
    return "\n\n".join(lines)


def _data(facts: ReleaseFacts) -> str:
    dataset = _text(facts.card.dataset) or "not stated"
    tests = sorted({target.test_samples for target in facts.targets})
    facts_of_it = [
        f"Dataset: {dataset}",
        f"Training samples: {facts.training_samples:,}",
        f"Samples of the test split, which nothing was chosen by: {' or '.join(f'{count:,}' for count in tests)}",
        f"Shape of one sample: {' × '.join(map(str, facts.input_shape))}",
    ]
    if facts.labels:
        shown = ", ".join(map(_text, facts.labels[:50]))
        more = f" and {len(facts.labels) - 50:,} more" if len(facts.labels) > 50 else ""
        facts_of_it.append(f"Labels ({len(facts.labels):,}): {shown}{more}")
    rows = [(_code(name), _code(" ".join(hashes_in(text)) or text)) for name, text in sorted(facts.data.items())]
    parts = ["## Data", _prose(facts.card.data), _items(facts_of_it)]
    return "\n\n".join([*parts, _table(("file of the data", "SHA-256"), rows)] if rows else parts)


def _contents(facts: ReleaseFacts) -> str:
    rows = []
    for target in facts.targets:
        rows.append(
            (
                _text(target.target),
                _code(target.model),
                f"{target.size_bytes:,}",
                _form(facts, target),
                _scores(target.scores, target.score_intervals),
                _scores(target.baseline_scores, {}) or "none",
                _latency(target),
                _overall(target),
            )
        )
    head = (
        "target",
        "file",
        "bytes",
        "input → output",
        "test split",
        "float32 file, test split",
        "latency p50",
        "verdict",
    )
    return "\n\n".join(
        [
            "## What is in it",
            _table(head, rows),
            "In brackets are 95% intervals: Wilson's of accuracy with one answer a sample, a bootstrap's of other "
            "scores, the benchmark's of latency. The float32 file is the one of the uncompressed model, which is no "
            "part of this release.",
        ]
    )


def _form(facts: ReleaseFacts, target: ReleasedTarget) -> str:
    return " → ".join(dtype or "not known" for dtype in input_and_output(facts, target))


def _scores(scores: dict[str, float], intervals: dict[str, tuple[float, float]]) -> str:
    parts = []
    for name, value in sorted(scores.items()):
        span = f" [{', '.join(map(_number, intervals[name]))}]" if name in intervals else ""
        parts.append(f"{name} {_number(value)}{span}")
    return "<br>".join(parts)


def _latency(target: ReleasedTarget) -> str:
    latency = target.latency
    if latency is None:
        return f"not measured: {_text(target.measured_on)} gives no times"
    low, high = latency.p50_us_interval
    emulated = ", emulated" if latency.device.emulated else ""
    return (
        f"{_number(latency.p50_us)} µs [{_number(low)}, {_number(high)}]<br>on {_text(latency.device.name)} "
        f"({_text(latency.device.device_class)}{emulated}), {latency.threads} thread{'s' * (latency.threads != 1)}"
    )


def _overall(target: ReleasedTarget) -> str:
    missing = ", ".join(map(_code, target.not_measured_on_device))
    return f"{target.verdict}<br>not measured on device: {missing}" if missing else target.verdict


def _budgets(facts: ReleaseFacts) -> str:
    parts = ["## Budgets"]
    for target in facts.targets:
        if not target.verdicts:
            parts.append(f"{_text(target.target)}: the target sets no budget.")
            continue
        rows = [_budget(target, verdict) for verdict in target.verdicts]
        parts += [f"### {_text(target.target)}", _table(("budget", "limit", "measured", "verdict"), rows)]
    return "\n\n".join(parts)


def _budget(target: ReleasedTarget, verdict: Verdict) -> tuple[str, ...]:
    measured = "not measured" if verdict.measured is None else _number(verdict.measured)
    if verdict.interval:
        measured += f" [{_number(verdict.interval[0])}, {_number(verdict.interval[1])}]"
    outcome: str = verdict.verdict
    if verdict.metric in target.not_measured_on_device:
        outcome = "not measured on device"
    note = f": {_text(verdict.note)}" if verdict.note else ""
    return _code(verdict.metric), _number(verdict.limit), measured, f"{outcome}{note}"


def _corruptions(facts: ReleaseFacts) -> str:
    """Accuracy on corrupted pictures, where a comparison measured the very file."""
    parts = []
    for target in facts.targets:
        comparison = facts.comparisons.get(target.target)
        rows = comparison.candidates if comparison else []
        corrupted = next((row.corrupted for row in rows if row.sha256 == target.sha256 and row.corrupted), None)
        if not comparison or not corrupted:
            continue
        table = [
            (_text(name), *(f"{value:.4f}" for value in values), f"{sum(values) / len(values):.4f}")
            for name, values in sorted(corrupted.items())
            if values
        ]
        severities = max(len(values) for values in corrupted.values())
        table = [(*row[:-1], *[""] * (severities + 2 - len(row)), row[-1]) for row in table]
        parts += [
            f"### {_text(target.target)}",
            _table(("corruption", *(f"severity {level + 1}" for level in range(severities)), "mean"), table),
        ]
        reference = next((row.corrupted for row in rows if row.name == comparison.reference and row.corrupted), None)
        if reference:
            parts.append(
                f"Mean over all: {_mean(corrupted):.4f}; of {_text(comparison.reference)}, which accuracy was compared "
                f"with: {_mean(reference):.4f}."
            )
    if not parts:
        return ""
    return "\n\n".join(["## Corrupted pictures", "Accuracy on pictures of the test split with corruptions.", *parts])


def _mean(corrupted: dict[str, list[float]]) -> float:
    values = [value for row in corrupted.values() for value in row]
    return sum(values) / len(values)


def _limits(facts: ReleaseFacts) -> str:
    known = []
    for target in facts.targets:
        name = _text(target.target)
        if target.not_measured_on_device:
            budgets = ", ".join(map(_code, target.not_measured_on_device))
            elsewhere = any(
                verdict.measured is not None
                for verdict in target.verdicts
                if verdict.metric in target.not_measured_on_device
            )
            numbers = f"; the numbers are from {_text(target.measured_on)}" if elsewhere else ""
            known.append(f"{name}: {budgets} not measured on device{numbers}.")
        undecided = [verdict.metric for verdict in target.verdicts if verdict.verdict == "inconclusive"]
        if undecided:
            budgets = ", ".join(map(_code, undecided))
            known.append(f"{name}: whether {budgets} holds is undecided, which was accepted with this release.")
        worse = [change for change in target.changes if change.outcome == "worse"]
        if worse and facts.previous:
            listed = ", ".join(f"{_code(one.metric)} {_number(one.before)} → {_number(one.now)}" for one in worse)
            known.append(f"{name}: worse than {facts.previous}: {listed}.")
    if facts.allowed_regression:
        known.append(f"The regression was allowed with this reason: {_text(facts.allowed_regression)}")
    parts = ["## Limits", _prose(facts.card.limits)]
    return "\n\n".join([*parts, _items(known)] if known else parts)


def _use(facts: ReleaseFacts) -> str:
    example = facts.targets[0] if facts.targets else None
    parts = [
        "## How to check and use it",
        f"`{SIGNATURE}` is an OpenSSF model signature over all other files, made with a key. `{CHECKSUMS}` has the "
        f"SHA-256 of each but itself and the signature, and `{MANIFEST}` what was measured. In this folder, with the "
        "publisher's public key outside it:",
        "```sh\n"
        f"sha256sum --check {CHECKSUMS}\n"
        f"model_signing verify key . --signature {SIGNATURE} --public_key ../release-key.pub\n"
        "```",
        "`invoke verify-release --from=URL --key=release-key.pub` of the edge deployment pipeline checks all of it, "
        "and runs every file over the test split again.",
    ]
    if example:
        files = {file.role: file.name for file in example.files}
        named = [f"{_code(name)} ({role})" for role, name in files.items() if role in ("labels", "preprocessing")]
        beside = f" What goes in and what comes out is in {' and '.join(named)}." if named else ""
        parts.append(
            f"A TFLite interpreter runs the files, such as ai-edge-litert.{beside} `{CONSUMER}` does it for pictures, "
            "with ai-edge-litert, numpy and pillow alone."
        )
    return "\n\n".join(parts)


def _origin(facts: ReleaseFacts) -> str:
    changed = ", with changes that are in no commit" if facts.dirty else ""
    origin = [f"Git commit: {_code(facts.commit)}{changed}"]
    if facts.repository:
        origin.append(f"Repository: {_code(facts.repository)}")
    seeds = ", ".join(f"{_text(name)} {build.seed}" for name, build in sorted(facts.builds.items()))
    if seeds:
        origin.append(f"Seeds: {seeds}")
    origin.append(f"Previous release: {facts.previous or 'none'}")
    origin.append(f"Recipes, versions of libraries, hashes of all inputs: `{PROVENANCE}` (SLSA v1)")
    origin.append(f"Bill of materials: `{BOM}` (CycloneDX 1.6)")
    return "## Where it comes from\n\n" + _items(origin)


def _prose(text: str) -> str:
    """Return a user's paragraphs as text; NOT_STATED where there is none."""
    paragraphs = [_text(part) for part in re.split(r"\n\s*\n", text)]
    return "\n\n".join(part for part in paragraphs if part) or NOT_STATED


def _text(text: str) -> str:
    """Return a user's text for one line of Markdown, in which nothing is markup."""
    line = re.sub(r"([\\`*_{}\[\]<>#|~&$!])", r"\\\1", _line(text))
    return re.sub(r"^([-+=]|\d+(?=[.)]))", r"\\\1" if re.match(r"[-+=]", line) else r"\1\\", line)


def _code(text: str) -> str:
    """Return a text as code, which holds no markup; in a table a bar would end the cell."""
    return f"`{_line(text).replace('`', chr(39)).replace('|', '/')}`"


def _line(text: str) -> str:
    """Return a text in one line, without characters that have no form, such as controls and lone surrogates."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _number(value: float) -> str:
    """Return five significant digits, and whole numbers in full: sizes are exact."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.5g}"


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
