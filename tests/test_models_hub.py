"""A hub id is fetched once, announced before it is, and found on this machine from then on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_encoder import write_tiny_encoder
from tiny_hub import ask, serving

ASK = """
import sys
from lowrung.core.errors import ModelError
from lowrung.models import catalog
for name in sys.argv[1:]:
    try:
        found = catalog.backbone(name)
        print(found.source.name, found.source.checksum, found.depth)
    except ModelError as problem:
        print("refused:", problem)
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def hub(encoder: Path) -> Iterator[str]:
    with serving(encoder) as address:
        yield address


@pytest.mark.slow  # two processes that import everything
def test_a_model_is_fetched_once_and_said_so_before(hub: str, encoder: Path, tmp_path: Path) -> None:
    from lowrung.models.catalog import weights_checksum

    told, said = ask(ASK, tmp_path, hub, "owner/tiny", "owner/none")
    assert told[0] == f"owner/tiny {weights_checksum(encoder)} 2"
    size = (encoder / "model.safetensors").stat().st_size
    assert f"fetching owner/tiny from the hub ({size / 1e6:,.0f} MB of weights)" in said
    assert told[1].startswith("refused: model 'owner/none' could not be fetched: ")
    assert len(told) == 2
    # from now on the hub is not asked; where it would be and does not answer, that is one line
    again, quiet = ask(ASK, tmp_path, "http://127.0.0.1:9", "owner/tiny", "owner/none")
    assert again[0] == told[0]
    assert again[1].startswith("refused: model 'owner/none' could not be fetched: ")
    assert len(again) == 2
    assert "fetching" not in quiet
