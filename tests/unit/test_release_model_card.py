"""The model card: front matter as the hub documents it, Markdown that says what the facts say and no more."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from pipeline.documents import CompareDocument
from pipeline.regression import Change
from pipeline.release.facts import CardText, ReleaseFacts
from pipeline.release.model_card import model_card
from pipeline.verdict import Verdict
from tests.comparison_rows import row
from tests.release_facts import COMMIT, DEVICE, NOT_ON_DEVICE, SIZE, latency, release_facts, released_target, sha256

ODD = (
    '<script>alert(1)</script> [x](http://example.org) **b** _e_ `c` | d "q" : y\n---\n# head\n===\n\n- item\n\n'
    "1. one\n\n    code\n\n> quote &lt; $x$ ~~s~~ ![i](j)\n```\nfence\n\x00\x85\u2028\ud800 é 😀 \\"
)


def parts(card: str) -> tuple[dict[str, Any], str]:
    """Return the front matter, parsed, and the Markdown below it."""
    found = re.fullmatch(r"---\n(.*?\n)---\n\n(.*\n)", card, re.DOTALL)
    assert found
    return yaml.safe_load(found[1]), found[2]


def tokens(markdown: str) -> list[Any]:
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return [inner for block in blocks for inner in [block, *(block.children or [])]]


def section(facts: ReleaseFacts, title: str) -> str:
    """Return what stands below a heading of the second level; "" where there is none such."""
    found = re.search(rf"\n## {re.escape(title)}\n(.*?)(?=\n## |\Z)", model_card(facts), re.DOTALL)
    return found[1].strip() if found else ""


def table_rows(markdown: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in markdown.splitlines() if "|" in line
    ]


def test_the_front_matter_has_the_documented_form():
    """https://github.com/huggingface/hub-docs/blob/main/modelcard.md: what it says is required is there."""
    front, _ = parts(model_card(release_facts()))
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "litert"
    assert front["tags"] == ["tflite", "litert", "classification"]
    assert front["datasets"] == ["mnist"]
    assert front["metrics"] == ["accuracy", "f1"]
    assert [one["name"] for one in front["model-index"]] == ["mnist-mobile-1.2.0", "mnist-browser-1.2.0"]
    for model in front["model-index"]:
        for result in model["results"]:
            assert result["task"]["type"]
            assert result["dataset"]["type"]
            assert result["dataset"]["name"]
            assert all(metric["type"] and metric["value"] is not None for metric in result["metrics"])


def test_the_index_has_every_result_by_dataset_and_split():
    front, _ = parts(model_card(release_facts()))
    found = {
        (result["dataset"]["name"], result["dataset"]["split"], metric["type"]): metric["value"]
        for result in front["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    assert found == {
        ("mnist", "test", "accuracy"): 0.9951,
        ("mnist", "test", "f1"): 0.99506,
        ("mnist", "test", "size_bytes"): 443_904,
        ("mnist", "validation", "accuracy"): 0.9952,
    }


def test_the_hub_s_names_of_metrics_are_used():
    target = released_target("mobile", scores={"auc": 0.9, "mean_absolute_error": 1.5})
    front, _ = parts(model_card(release_facts(target)))
    assert front["metrics"] == ["mae", "roc_auc"]
    assert [metric["type"] for metric in front["model-index"][0]["results"][0]["metrics"]][:2] == ["roc_auc", "mae"]


def test_what_hugging_face_s_library_reads():
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(model_card(release_facts()))
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy", "f1", "size_bytes"}


def test_what_the_author_did_not_state_is_said_to_be_not_stated():
    facts = release_facts(card=CardText())
    front, markdown = parts(model_card(facts))
    assert "license" not in front
    assert "datasets" not in front
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == "mnist"  # the workload's name
    assert section(facts, "Intended use") == "Not stated by the author."
    assert section(facts, "Limits").startswith("Not stated by the author.")
    assert section(facts, "Data").startswith("Not stated by the author.\n\n- Dataset: not stated\n")
    assert "- Authors: not stated\n- License: not stated" in markdown


def test_what_the_author_stated_is_there():
    text = "For postcards.\n\nNot for cheques."
    facts = release_facts(card=CardText(intended_use=text, data="Scans.", limits="Ink.", license="MIT", dataset="d"))
    assert section(facts, "Intended use") == text
    assert section(facts, "Data").startswith("Scans.\n\n- Dataset: d\n")
    assert section(facts, "Limits").startswith("Ink.\n")
    assert parts(model_card(facts))[0]["license"] == "mit"


def test_a_license_without_identifier_is_another_one():
    front, _ = parts(model_card(release_facts(card=CardText(license="Our Own 1.0"))))
    assert (front["license"], front["license_name"]) == ("other", "Our Own 1.0")


def test_the_data_have_hashes_and_counts():
    data = section(release_facts(), "Data")
    assert "Training samples: 54,000" in data
    assert "Samples of the test split, which nothing was chosen by: 10,000" in data
    assert ["`train-images.gz`", f"`{sha256('images')}`"] in table_rows(data)
    assert ["`train-labels.gz`", f"`{sha256('a')} {sha256('b')}`"] in table_rows(data)


def test_each_target_has_its_row():
    slow = released_target("micro", latency=None, measured_on="Ethos-U55", verdicts=[SIZE], not_measured_on_device=[])
    head, _, mobile, micro = table_rows(section(release_facts(released_target("mobile"), slow), "What is in it"))
    assert head[0] == "target"
    assert mobile[:4] == ["mobile", "`mnist-mobile-1.2.0.tflite`", "443,904", "int8 → uint8"]
    assert mobile[4] == "accuracy 0.9951 [0.99353, 0.99629]<br>f1 0.99506 [0.9936, 0.9965]"
    assert mobile[5] == "accuracy 0.9946"
    assert mobile[6] == r"36.694 µs [36.078, 36.912]<br>on AMD EPYC (linux-x86\_64), 1 thread"
    assert mobile[7] == "pass<br>not measured on device: `latency_p50_ms`"
    assert micro[6] == "not measured: Ethos-U55 gives no times"
    assert micro[7] == "pass"


def test_emulated_time_is_said_to_be():
    emulated = latency().model_copy(update={"device": DEVICE.model_copy(update={"emulated": True}), "threads": 2})
    text = section(release_facts(released_target("mobile", latency=emulated)), "What is in it")
    assert "emulated), 2 threads" in text


def test_a_latency_budget_elsewhere_is_not_measured_on_device():
    facts = release_facts(released_target("mobile"))
    rows = {row[0]: row for row in table_rows(section(facts, "Budgets"))}
    assert rows["`size_bytes`"][1:] == ["460,000", "443,904", "pass"]
    assert rows["`latency_p50_ms`"][3].startswith("not measured on device: binds on android-arm64")
    said = "mobile: `latency_p50_ms` not measured on device; the numbers are from AMD EPYC."
    assert said in section(facts, "Limits")


def test_a_budget_without_any_number_names_no_other_device():
    nothing = NOT_ON_DEVICE.model_copy(update={"measured": None, "interval": None, "note": ""})
    facts = release_facts(released_target("mobile", verdicts=[nothing]))
    assert "| `latency_p50_ms` | 0.054 | not measured | not measured on device |" in section(facts, "Budgets")
    assert "`latency_p50_ms` not measured on device." in section(facts, "Limits")


def test_accepted_and_allowed_things_are_said_with_the_reason():
    undecided = Verdict(metric="memory_bytes", limit=2e6, measured=1.9e6, interval=(1e6, 3e6), verdict="inconclusive")
    worse = Change(metric="size_bytes", before=400_000, now=443_904, outcome="worse")
    same = Change(metric="accuracy", before=0.995, now=0.9951, outcome="no difference shown")
    target = released_target("mobile", verdicts=[undecided], verdict="inconclusive", changes=[worse, same])
    limits = section(
        release_facts(target, previous="1.1.0", allowed_regression="A layer more, for dark pictures."), "Limits"
    )
    assert "mobile: whether `memory_bytes` holds is undecided, which was accepted with this release." in limits
    assert "mobile: worse than 1.1.0: `size_bytes` 400,000 → 443,904." in limits
    assert "The regression was allowed with this reason: A layer more, for dark pictures." in limits
    assert "`accuracy`" not in limits


def test_a_sound_release_has_no_such_sentences():
    facts = release_facts(released_target("mobile", verdicts=[SIZE], not_measured_on_device=[]))
    assert section(facts, "Limits") == "Letters."
    assert "not measured" not in model_card(facts)
    assert "Previous release: none" in model_card(facts)


def compared(sha: str, corrupted: dict[str, list[float]] | None) -> dict[str, CompareDocument]:
    rows = [
        row("float32", corrupted={"fog": [0.9, 0.8, 0.7, 0.6, 0.5]} if corrupted else None),
        row("other", sha256="1" * 64, corrupted={"fog": [0.1] * 5}),
        row("pruned", sha256=sha, corrupted=corrupted),
    ]
    document = CompareDocument(
        target="mobile",
        workload="mnist",
        seed=0,
        quick=False,
        reference="float32",
        candidates=rows,
        excluded=[],
        choice="pruned",
        choice_verdicts=[],
        verdict="pass",
    )
    return {"mobile": document}


def test_corrupted_pictures_of_the_very_file_are_told():
    target = released_target("mobile")
    comparisons = compared(target.sha256, {"fog": [0.9, 0.8, 0.7, 0.6, 0.4], "blur": [1.0, 1.0, 1.0, 1.0, 0.9]})
    told = section(release_facts(target, comparisons=comparisons), "Corrupted pictures")
    assert ["fog", "0.9000", "0.8000", "0.7000", "0.6000", "0.4000", "0.6800"] in table_rows(told)
    assert "Mean over all: 0.8300; of float32, which accuracy was compared with: 0.7000." in told


@pytest.mark.parametrize("other", ["another file", "no scenarios"])
def test_corrupted_pictures_of_anything_else_are_not(other):
    target = released_target("mobile")
    comparisons = compared("2" * 64, {"fog": [0.9] * 5}) if other == "another file" else compared(target.sha256, None)
    assert "orrupt" not in model_card(release_facts(target, comparisons=comparisons))


def test_where_it_comes_from():
    told = section(release_facts(previous="1.1.0"), "Where it comes from")
    assert f"- Git commit: `{COMMIT}`\n" in told
    assert "- Repository: `https://example.org/team/digits.git`" in told
    assert "- Seeds: browser 7, mobile 7" in told
    assert "- Previous release: 1.1.0" in told
    assert "changes that are in no commit" in section(release_facts(dirty=True), "Where it comes from")


def test_texts_of_users_are_no_markup():
    """Whatever an author, a device or a data set is called: the card has the structure of a plain one."""
    odd_latency = latency().model_copy(update={"device": DEVICE.model_copy(update={"name": ODD})})

    def card_of(text: str, latency: Any) -> str:
        note = NOT_ON_DEVICE.model_copy(update={"note": text})
        target = released_target("mobile", measured_on=text, latency=latency, verdicts=[note])
        return model_card(
            release_facts(
                target,
                description=text,
                workload=text,
                labels=(text, text),
                repository=text,
                data={text: sha256("x")},
                allowed_regression=text,
                card=CardText(intended_use=text, data=text, limits=text, license=text, dataset=text, authors=[text]),
            )
        )

    front, markdown = parts(card_of(ODD, odd_latency))
    _, plain = parts(card_of("plain", latency()))
    assert "😀" in front["datasets"][0]
    assert front["license"] == "other"
    found, expected = tokens(markdown), tokens(plain)
    kinds = ("heading_open", "bullet_list_open", "ordered_list_open", "blockquote_open", "fence", "code_block", "hr")
    kinds += ("table_open", "tr_open", "td_open", "list_item_open", "html_block", "link_open", "image", "em_open")
    kinds += ("strong_open", "code_inline")
    for kind in kinds:
        assert [token.type for token in found].count(kind) == [token.type for token in expected].count(kind), kind
    assert {token.content for token in found if token.type == "html_inline"} == {"<br>"}
    said = "".join(token.content for token in found if token.type == "text" or token.type == "text_special")
    assert "<script>alert(1)</script>" in said
    assert "[x](http://example.org)" in said
    assert "**b** _e_ `c` | d" in said


def test_equal_facts_give_an_equal_card():
    facts = release_facts()
    reordered = dict(reversed(list(facts.data.items())))
    assert model_card(facts) == model_card(release_facts(data=reordered))


def test_verifying_is_told_as_it_is_done():
    assert "runs every file over the test split" in model_card(release_facts())


def test_the_commands_that_it_tells_check_the_release(tmp_path):
    """Run as they stand there, they pass on a signed release and fail on an altered one."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from pipeline.release.signature import SigningKey, sign
    from tests.release_folders import write_release

    private = ec.generate_private_key(ec.SECP256R1())
    folder = write_release(tmp_path)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "release-key.pub").write_bytes(public)
    sign(folder, SigningKey(private))
    (block,) = re.findall(r"```sh\n(.*?)```", model_card(release_facts()), re.DOTALL)
    commands = [
        command.replace("model_signing", f"{sys.executable} -m model_signing") for command in block.splitlines()
    ]
    assert len(commands) == 2

    def codes() -> list[int]:
        return [
            subprocess.run(shlex.split(command), cwd=folder, capture_output=True, timeout=60).returncode
            for command in commands
        ]

    assert codes() == [0, 0]
    (folder / "MODEL_CARD.md").write_text("altered")
    assert all(codes())
