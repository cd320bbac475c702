"""Data sets from the Hugging Face hub, through the `datasets` library (an extra)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from lowrung.core.errors import DataError, LowrungError, unknown
from lowrung.core.task import Row
from lowrung.data.formats import class_names, first_line, with_names

PREFIX = "hub:"
ALIASES = {  # a split's name, or the name of its file → our name for it
    "train": "train", "training": "train",
    "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev", "development": "dev",
    "test": "test",
}  # fmt: skip


def rows(source: str, split: str) -> Iterator[tuple[str, Row]]:
    """(place, row) pairs of `hub:owner/name` or `hub:owner/name:config`; sound and pictures stay undecoded.

    Says on stderr what is fetched and how large it is. HF_HUB_OFFLINE and the other settings of `datasets` hold.

    Raises:
        LowrungError: `datasets` is not installed.
        DataError: no such data set, configuration or split, or the hub cannot be reached.
    """
    try:
        import datasets
    except ImportError as problem:
        raise LowrungError(f"{source}: needs the hub extra; run pip install 'lowrung[hub]'") from problem
    name, _, config = source.removeprefix(PREFIX).partition(":")
    try:
        builder = datasets.load_dataset_builder(name, config or None)
        _say(source, name, builder.info, datasets.config.HF_ENDPOINT)
        builder.download_and_prepare()
        found = {ALIASES.get(str(each), str(each)): str(each) for each in builder.info.splits or {}}
        wanted = ALIASES.get(split, split)
        if wanted not in found:
            raise DataError(f"{source}: {unknown('split', split, found)}")
        data = builder.as_dataset(split=found[wanted])
        for column, feature in data.features.items():
            if isinstance(feature, datasets.Audio | datasets.Image):
                data = data.cast_column(column, type(feature)(decode=False))
    except (OSError, ValueError, RuntimeError, TypeError, datasets.exceptions.DatasetsError) as problem:
        raise DataError(f"{source}: cannot be had from the hub: {first_line(problem)}") from problem
    names = class_names(data.features.to_dict())
    for number, row in enumerate(data, 1):
        yield f"{source}:{found[wanted]}:row {number}", with_names(row, names)


def _say(source: str, name: str, info: Any, endpoint: str) -> None:
    size = info.download_size
    amount = f"{size / 1e6:,.1f} MB" if size else "size not told"
    print(f"{source}: from {endpoint}/datasets/{name} ({amount}, unless it is in the cache)", file=sys.stderr)
