"""The data sets that a config names."""

from __future__ import annotations

from collections.abc import Mapping


def unwrapped(dataset: Mapping) -> Mapping:
    """Return the config of the data set inside wrappers such as mmengine's ``RepeatDataset``."""
    while isinstance(dataset.get("dataset"), Mapping):
        dataset = dataset["dataset"]
    return dataset
