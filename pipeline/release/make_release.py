"""`invoke release`: rules, facts, the signed folder, and publishing it, in this order. Nothing is built here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.errors import ReleaseRefused
from pipeline.files import sha256_of
from pipeline.project import BUILD_DOCUMENT, Project
from pipeline.release.assemble import assemble
from pipeline.release.collect import Collected, collect, comparison_of, finished_build, sample_checks
from pipeline.release.destination import Destination, Patience, without_secrets
from pipeline.release.facts import CardText, ReleaseFacts
from pipeline.release.git import git_state
from pipeline.release.manifest import CHECKSUMS, ReleaseManifest, release_folder
from pipeline.release.previous import changes_since, previous_release
from pipeline.release.rules import (
    refuse_regressions,
    refuse_stale,
    refuse_taken_tag,
    refuse_unclean,
    refuse_uncommitted,
    refuse_verdicts,
    refuse_version,
    refuse_without_changelog,
)
from pipeline.target import load_target
from pipeline.toml_files import Strict, read_toml
from pipeline.watch import Watch
from pipeline.workload import Workload, load_workload

if TYPE_CHECKING:
    from pipeline.documents import BuildDocument
    from pipeline.plan import Plan
    from pipeline.release.documents import ReleaseDocument

CARD_FILE = "release.toml"


class CardTexts(Strict):
    """The project's release.toml."""

    card: dict[str, CardText] = Field({}, description="What a model card says that nothing can measure, by workload.")


@dataclass(frozen=True)
class ReleaseOptions:
    """What the flags of `invoke release` say."""

    version: str
    targets: Sequence[str] = ()  # empty: every target that is built for the workload
    workload: str = "mnist"
    to: str = ""  # URL or folder; empty: the release's folder alone is made
    key: str = ""  # file of the private key; empty: the environment's
    accept_inconclusive: bool = False
    allow_regression: str = ""
    patience: Patience = Patience()


def make_release(options: ReleaseOptions, project: Project, watch: Watch) -> ReleaseDocument:
    """Release the finished builds; return the ReleaseDocument.

    Raises ReleaseRefused where a rule forbids it, DestinationFailed where publishing fails. Whatever was done before
    stays, and the same command goes on from there.
    """
    from pipeline.release.documents import ReleaseDocument
    from pipeline.release.signature import load_signing_key

    refuse_version(options.version)
    key = load_signing_key(options.key)
    for note in key.notes:
        watch.note(note)
    git = git_state(project.root)
    refuse_unclean(git)
    refuse_taken_tag(project.root, options.version, git)
    refuse_without_changelog(project.root, options.version)
    place = release_folder(project.artifacts, options.version)
    destination = _opened(options, place)
    learned = load_workload(options.workload, project.root)
    refuse_uncommitted(project.root, learned.source)
    builds = _builds(options, learned, project)
    plans = _plans(builds, learned, project)
    refuse_verdicts(list(builds.values()), accept_inconclusive=options.accept_inconclusive)
    collected = _collected(options.version, builds, learned, project)
    previous = previous_release(options.version, destination, project)
    if previous:
        collected = [changes_since(previous, one) for one in collected]
        changes = {one.row.target: one.row.changes for one in collected}
        needed = refuse_regressions(changes, f"{previous.version} ({previous.where})", options.allow_regression)
    facts = ReleaseFacts(
        version=options.version,
        created=_source_date(git.committed_at),
        commit=git.commit,
        dirty=bool(git.changed),
        repository=git.repository,
        workload=learned.name,
        description=learned.description,
        labels=learned.labels,
        input_shape=learned.input_shape,
        training_samples=len(learned.load("train")[1]),
        data=_inputs(plans, "files"),
        sources=_inputs(plans, "source"),
        targets=tuple(one.row for one in collected),
        builds=builds,
        recipes={
            target: [{"step": stage.record["step"], **stage.record["config"]} for stage in plan.recipe_only().stages]
            for target, plan in plans.items()
        },
        card=_card(learned.name, project.root),
        comparisons={name: found for name, build in builds.items() if (found := comparison_of(build, project))},
        previous=previous.version if previous else None,
        allowed_regression=options.allow_regression.strip() if previous and needed else "",
    )
    inconclusive = any(build.verdict == "inconclusive" for build in builds.values())
    with project.store.making(f"release-{options.version}"):
        manifest, written = assemble(facts, collected, place, key, accepted_inconclusive=inconclusive)
    watch.note(
        f"{place.relative_to(project.root)}: {'written and signed' if written else 'was there, with these bytes'}"
    )
    published = _published(destination, place, manifest, options, watch)
    return ReleaseDocument(
        folder=str(place.relative_to(project.root)),
        to=without_secrets(options.to) or None,
        state=published,
        sha256sums=sha256_of(place / CHECKSUMS),
        manifest=manifest,
    )


def _opened(options: ReleaseOptions, place: Path) -> Destination | None:
    if not options.to:
        return None
    if "://" not in options.to and place.resolve() in (to := Path(options.to).resolve(), *to.parents):
        raise ReleaseRefused(
            "a release cannot be published into itself",
            received=f"--to={options.to}",
            expected=f"a URL, or a folder outside {place}",
            fix="leave --to out: the release's folder is made without it",
        )
    from pipeline.release.open_destination import open_destination

    return open_destination(options.to, options.patience)


def _published(
    destination: Destination | None, place: Path, manifest: ReleaseManifest, options: ReleaseOptions, watch: Watch
) -> str:
    if destination is None:
        return "not published"
    return "published" if destination.publish(place, manifest.version, watch) else "was published before"


def _builds(options: ReleaseOptions, learned: Workload, project: Project) -> dict[str, BuildDocument]:
    """Return the finished builds by target: those that were asked for, else all of the workload."""
    there = sorted(path.parent.name for path in (project.artifacts / learned.name).glob(f"*/{BUILD_DOCUMENT}"))
    names = list(dict.fromkeys(options.targets)) or there
    if not names:
        raise ReleaseRefused(
            f"nothing is built of {learned.name}",
            received=f"no {BUILD_DOCUMENT} under {project.artifacts / learned.name}",
            expected="finished builds, which a release is made of",
            fix=f"invoke build --target=all --workload={options.workload}",
        )
    for name in names:
        load_target(name, project.root)  # an unknown name says so
    return {name: finished_build(name, learned.name, project) for name in names}


def _plans(builds: Mapping[str, BuildDocument], learned: Workload, project: Project) -> dict[str, Plan]:
    """Return the plans as they are now. Raises ReleaseRefused for a build that was made by another one."""
    from pipeline.plan import make_plan

    plans = {}
    for name, build in builds.items():
        plans[name] = make_plan(load_target(name, project.root), learned, build.seed, project.root)
        refuse_stale(build, plans[name])
    return plans


def _collected(
    version: str, builds: Mapping[str, BuildDocument], learned: Workload, project: Project
) -> list[Collected]:
    targets = [load_target(name, project.root) for name in builds]
    checks = sample_checks(targets, learned, project)
    return [collect(target, learned, builds[target.name], version, project, checks[target.name]) for target in targets]


def _inputs(plans: Mapping[str, Plan], part: str) -> dict[str, str]:
    """Return {name: SHA-256} of all that enters the plans' keys from outside: their "files" or their "source"."""
    found = {}
    for plan in plans.values():
        for stage in plan.stages:
            found.update(stage.record[part])
    return dict(sorted(found.items()))


def _card(workload: str, root: Path) -> CardText:
    path = root / CARD_FILE
    if not path.is_file():
        return CardText()
    return read_toml(path, CardTexts, ReleaseRefused).card.get(workload, CardText())


def _source_date(committed_at: datetime) -> datetime:
    """Return SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/), else the commit's time."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not given:
        return committed_at
    if not (given.isascii() and given.isdigit() and int(given) < 2**32):
        raise ReleaseRefused(
            "SOURCE_DATE_EPOCH is no time",
            received=given,
            expected="seconds since 1970, as digits",
            fix="unset SOURCE_DATE_EPOCH: a release takes the commit's time",
        )
    return datetime.fromtimestamp(int(given), UTC)
