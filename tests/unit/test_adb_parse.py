"""benchmark_model's reports, in the forms that its versions print; the numbers are made up."""

from __future__ import annotations

import pytest

from pipeline.runners._adb_parse import parse, parse_devices

TF_1_13 = """STARTING!
Min num runs: [50]
Loaded model /data/local/tmp/m.tflite
resolved reporter
Initialized session in 9.9ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=7 first=1274 curr=667 min=667 max=1274 avg=766.9 std=209

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=667 curr=668 min=666 max=668 avg=667.6 std=39

Average inference timings in us: Warmup: 766.9, Init: 9933, no stats: 667.6
"""
TF_2_3 = """STARTING!
Graph: [/data/local/tmp/m.tflite]
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Peak memory footprint (MB): init=0 overall=12.8672
"""
TF_2_9 = """INFO: STARTING!
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 5 out of 7 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions.
INFO: count=1 curr=1041765

INFO: count=50 first=977738 curr=964908 min=911877 max=1112273 avg=1.04176e+06 std=39112

INFO: Inference timings in us: Init: 6418, First inference: 1041765, Warmup (avg): 1.04176e+06, Inference (avg): 971535
INFO: Memory footprint delta from the start of the tool (MB): init=6.14844 overall=109.848
"""
TF_2_16 = """INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
INFO: count=5 first=1064 curr=1059 min=1059 max=1064 avg=1060 std=1 p5=1059 median=1059 p95=1064

INFO: count=50 first=1060 curr=1057 min=1054 max=1065 avg=1057 std=2 p5=1054 median=1056 p95=1063

INFO: Inference timings in us: Init: 87639, First inference: 1064, Warmup (avg): 1060, Inference (avg): 1057
INFO: Memory footprint delta from the start of the tool (MB): init=14.4414 overall=14.8164
INFO: Overall peak memory footprint (MB) via periodic monitoring: 25.0508
"""

# As litert/tools/benchmark_litert_model.h prints it, over the same two lines of benchmark_model.cc.
LITERT = """INFO: count=2 curr=900(all same) p5=900 median=900 p95=900

INFO: count=50 first=880 curr=850 min=840 max=880 avg=852 std=11 p5=840 median=851 p95=880

INFO: [litert/tools/benchmark_litert_model.h:88]
========== BENCHMARK RESULTS ==========
INFO: [litert/tools/benchmark_litert_model.h:89] Model initialization: 8.10 ms
INFO: [litert/tools/benchmark_litert_model.h:90] Warmup (first):       0.90 ms
INFO: [litert/tools/benchmark_litert_model.h:92] Warmup (avg):         0.90 ms (2 runs)
INFO: [litert/tools/benchmark_litert_model.h:94] Inference (avg):      0.85 ms (50 runs)
INFO: [litert/tools/benchmark_litert_model.h:117] Init footprint:       5.00 MB
INFO: [litert/tools/benchmark_litert_model.h:119] Overall footprint:    7.50 MB
"""
SERVER = "* daemon not running. starting it now on port 5037 *\n* daemon started successfully *\n"


def test_the_oldest_form() -> None:
    found = parse(TF_1_13)
    assert found
    assert (found.count, found.typical_us, found.is_median, found.p95_us) == (50, 667.6, False, None)
    assert (found.init_us, found.first_us, found.memory_megabytes, found.delegate) == (9933, None, None, "")


def test_the_form_before_delegates_were_told() -> None:
    found = parse(TF_2_3)
    assert found
    assert (found.count, found.typical_us, found.memory_megabytes) == (50, 33209.4, 12.8672)
    assert (found.init_us, found.first_us) == (855, 49060)


def test_the_form_with_levels_and_exponents() -> None:
    found = parse(TF_2_9)
    assert found
    assert found.typical_us == 1_041_760
    assert found.delegate == "TfLiteXNNPackDelegate, 5 of 7 operators"
    assert found.memory_megabytes == 109.848


def test_the_newest_form_with_percentiles() -> None:
    found = parse(TF_2_16)
    assert found
    assert (found.typical_us, found.is_median, found.p95_us) == (1056, True, 1063)
    assert found.delegate == "GPU delegate, completely"
    assert found.memory_megabytes == 14.8164


def test_the_form_of_litert() -> None:
    found = parse(LITERT)
    assert found
    assert (found.count, found.typical_us, found.is_median, found.p95_us) == (50, 851, True, 880)
    assert (found.init_us, found.first_us, found.memory_megabytes) == (pytest.approx(8100), pytest.approx(900), 7.5)


def test_a_share_in_older_words() -> None:
    words = "Applied XNNPACK delegate, and the model graph will be partially executed w/ the delegate.\n"
    found = parse(words + TF_2_3)
    assert found
    assert found.delegate == "XNNPACK delegate, partially"


@pytest.mark.parametrize(
    "line", ["count=1 curr=30", "count=50 curr=30(all same)", "count=50 curr=30(all same) p5=30 median=30 p95=30"]
)
def test_one_value_alone(line: str) -> None:
    found = parse(f"INFO: {line}\nINFO: Inference timings in us: Init: 1, First inference: 2, Inference (avg): 30\n")
    assert found
    assert found.typical_us == 30


def test_a_profile_is_no_time_of_the_model() -> None:
    """A tool that was built with profiling prints sums of operators before its last line, and its memory after them."""
    profile = "Timings (microseconds): count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929\n"
    text = TF_2_16.replace(
        "INFO: Inference timings", f"INFO: {profile}Memory (bytes): count=0\nINFO: Inference timings"
    )
    assert text != TF_2_16
    assert parse(text) == parse(TF_2_16)


def test_every_delegate_is_named_with_its_share() -> None:
    both = (
        "VERBOSE: Replacing 54 out of 559 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions.\n"
        "VERBOSE: Replacing 456 out of 506 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 9 partitions.\n"
    )
    found = parse(both + TF_2_16)
    assert found
    assert found.delegate == "TfLiteGpuDelegateV2, 54 of 559 operators; TfLiteXNNPackDelegate, 456 of 506 operators"


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the", "NNAPI"),
        ("GPU acceleration is unsupported on this platform.", "GPU"),
        ("INFO: NNAPI delegate created.", ""),
    ],
)
def test_a_delegate_that_takes_no_operator(line: str, refused: str) -> None:
    found = parse(f"INFO: Created TensorFlow Lite delegate for NNAPI.\n{line}\n{TF_2_9}")
    assert found
    assert found.refused == refused
    assert ("took no operator" in found.delegate) == bool(refused)


def test_flags_that_the_tool_does_not_know() -> None:
    found = parse(f"WARN: Unconsumed cmdline flags: --use_gpu=true --max_secs=15\n{TF_2_9}")
    assert found
    assert found.ignored_flags == ("use_gpu", "max_secs")


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("", {}),
        ("List of devices attached\n\n", {}),
        ("List of devices attached\nA\tdevice\n10.0.0.5:5555\toffline\n", {"A": "device", "10.0.0.5:5555": "offline"}),
        (f"{SERVER}List of devices attached\nA\tdevice\n", {"A": "device"}),
        (f"List of devices attached\n{SERVER}A\tdevice\n", {"A": "device"}),
        ("List of devices attached\nA\tno permissions (udev rules?)\n", {"A": "no permissions (udev rules?)"}),
    ],
)
def test_the_clients_list(text: str, devices: dict[str, str]) -> None:
    assert parse_devices(text) == devices


def test_android_log_lines_are_read_as_well() -> None:
    text = "\n".join(f"07-14 13:23:15.443 25289 25289 I tflite  : {line}" for line in TF_2_16.splitlines())
    assert parse(text) == parse(TF_2_16)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Segmentation fault",
        TF_2_16.split("INFO: Inference timings")[0],
        "INFO: Inference timings in us: Init: 1",
        "count=abc\nInference timings in us: Init: 1",
    ],
)
def test_what_did_not_end_is_no_report(text: str) -> None:
    assert parse(text) is None
