"""Pictures of a split that the model was trained on, as far as its manifest says what that was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvqa.data.datasets import DATASETS, describe
from kvqa.data.example import Example
from kvqa.data.published import Description
from kvqa.errors import InputError

SHOWN = 20
"""How many of the shared pictures a report names."""


@dataclass(frozen=True)
class Overlap:
    """Questions of a split about pictures of the training part.

    Attributes:
        trained_on: Data set and split of the training, "" if the model does not say.
        checked: Whether the pictures could be compared.
        rows: The questions about shared pictures.
        images: Their pictures, each once.
        remark: One sentence for the reader of the report, "" where there is nothing to remark.
    """

    trained_on: str
    checked: bool
    rows: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return everything but the rows, whose number is `questions`."""
        return {
            "trained_on": self.trained_on,
            "checked": self.checked,
            "questions": len(self.rows),
            "images": len(self.images),
            "such_as": list(self.images[:SHOWN]),
            "remark": self.remark,
        }


@dataclass(frozen=True)
class TrainedOn:
    """What a model was trained on.

    Attributes:
        dataset, split: Their names; "" if the manifest does not say.
    """

    dataset: str
    split: str

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> TrainedOn:
        """Read it from the `training` of a model's manifest."""
        experiment = training.get("experiment", {})
        named = training.get("dataset") or experiment.get("dataset", "")
        return cls(str(named), str(experiment.get("split") or training.get("split", "")))

    def overlap(
        self, asked: Description, root: Path, examples: Sequence[Example], trained_root: Path | None = None
    ) -> Overlap:
        """Return which of `examples` are about pictures of the training part.

        Pictures that a run held out of its training part count as trained on: the manifest does not name them.

        Args:
            asked: The data set of the examples, which lies in `root`.
            trained_root: Folder of the training's data set; not needed if it is the same data set.

        Raises:
            InputError: if `trained_root` is given and cannot be read.
        """
        name = f"{self.dataset} {self.split}".strip()
        if self.dataset not in DATASETS or not self.split:
            return Overlap(name, False, remark="The model does not say which pictures it was trained on.")
        folder = trained_root or (root if self.dataset == asked.name else None)
        if folder is None:
            said = f"The model was trained on {name}; whether pictures are shared with it was not looked at"
            return Overlap(name, False, remark=f"{said} (--trained-root FOLDER names that data set).")
        description = describe(self.dataset)
        try:
            known = {key for example in description.read(folder, self.split) for key in description.keys(example)}
        except InputError as error:
            if trained_root is not None:
                raise
            return Overlap(name, False, remark=f"The model was trained on {name}, which is not at hand: {error}.")
        rows = tuple(i for i, example in enumerate(examples) if not known.isdisjoint(asked.keys(example)))
        images = tuple(sorted({examples[i].image for i in rows}))
        total = len({example.image for example in examples})
        remark = (
            f"The model was trained on {name}, which has {len(images):,} of these {total:,} pictures." if rows else ""
        )
        return Overlap(name, True, rows, images, remark)
