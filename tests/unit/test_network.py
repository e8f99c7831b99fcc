"""Networks of the zoo by name and options."""

from __future__ import annotations

import pytest

from pipeline.errors import RequestError, UnknownName
from pipeline.network import find_network, network_names


def test_the_zoo_is_whole() -> None:
    expected = ["autoencoder", "dense", "ds_cnn", "efficientnet_lite0", "lenet5"]
    assert network_names() == [*expected, "mobilenet_v1", "mobilenet_v2", "resnet8"]
    for name in network_names():
        module, options = find_network(name)
        assert options == {}
        assert module.DESCRIPTION
        assert "arXiv:" in module.SOURCE or "doi:" in module.SOURCE
        assert all(field.description for field in module.Options.model_fields.values())


def test_options_have_their_types() -> None:
    module, options = find_network("mobilenet_v2:width=0.35, dropout=0.1")
    assert module.__name__ == "pipeline.zoo.mobilenet_v2"
    assert options == {"width": 0.35, "dropout": 0.1}
    assert find_network("autoencoder:units=64")[1] == {"units": 64}


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("mobilenet_v3", UnknownName, ["mobilenet_v3", "mobilenet_v2"]),
        ("_blocks", UnknownName, ["_blocks"]),
        ("", UnknownName, ["network"]),
        ("mobilenet_v2:widht=0.5", UnknownName, ["widht", "width"]),
        ("mobilenet_v2:width", RequestError, ["width, dropout"]),
        ("mobilenet_v2:width=0.5,width=0.6", RequestError, ["each once"]),
        ("mobilenet_v2:width=0", RequestError, ["width = 0", "0 to 4"]),
        ("mobilenet_v2:width=nan", RequestError, ["width"]),
        ("mobilenet_v2:width=wide", RequestError, ["width = wide"]),
        ("resnet8:filters=1.5", RequestError, ["filters = 1.5"]),
    ],
)
def test_what_is_no_network(text: str, kind: type[RequestError], words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        find_network(text)
    told = str(caught.value)
    assert all(word in told for word in words), told
