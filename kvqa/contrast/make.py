"""Making contrast variants of a data set's sentences or questions, the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from kvqa.contrast.counts import count_edits
from kvqa.contrast.edit import Edit, Sentence, tokenise
from kvqa.contrast.entities import Classes, entity_edits
from kvqa.contrast.negation import negation_edits
from kvqa.contrast.words import colour_edits, exchange_edits, size_edits, spatial_edits
from kvqa.errors import InputError
from kvqa.scoring.files import Record, as_id, read_json, read_records, read_text
from retrieval.manifest import write_text_safely

KINDS = ("number", "quantifier", "entity", "attribute", "spatial", "exchange-images", "negation")
"""Names of the edits."""

_ID_FIELDS = ("identifier", "question_id", "pairID")
_TEXT_FIELDS = ("sentence", "question", "sentence2")
_LABEL_FIELDS = ("label", "gold_label", "answer", "multiple_choice_answer")
_TRUE, _FALSE = ("True", "true", "yes"), ("False", "false", "no")

Label = bool | str | None


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        variants: One record each, ready to be written.
        originals: Number of sentences that were read.
    """

    variants: list[Record]
    originals: int

    def summary(self) -> dict[str, Any]:
        """Return the numbers of originals and variants, by edit, and how many labels were derived."""
        derived = Counter(variant["edit"] for variant in self.variants if not variant["needs_human"])
        every = Counter(variant["edit"] for variant in self.variants)
        return {
            "originals": self.originals,
            "originals_with_variants": len({variant["original"] for variant in self.variants}),
            "variants": len(self.variants),
            "labels_derived": sum(derived.values()),
            "per_edit": {
                kind: {"variants": every[kind], "labels_derived": derived[kind]} for kind in KINDS if every[kind]
            },
        }


def read_originals(path: Path) -> list[Record]:
    """Return the records of a data set: JSON lines, a JSON list, or an object with a list `questions`.

    Raises:
        InputError: if the file is none of these.
    """
    if read_text(path).lstrip().startswith("{"):
        try:
            content = read_json(path)
        except InputError:
            return read_records(path)  # several objects, so one a line
        if isinstance(content.get("questions"), list):
            return list(content["questions"])
        return [content]
    return read_records(path)


def make_variants(
    records: Iterable[Record],
    *,
    source: Path,
    classes: Classes | None = None,
    kinds: Sequence[str] = KINDS,
    per_original: int = 3,
    seed: int = 0,
) -> Made:
    """Return contrast variants of each record.

    A variant repeats the fields of its original; its own are `identifier` (that of the original and `-<k>`, k from 1),
    `original`, `edit`, `span` (first and last character in the original sentence), `before`, `after`, `label` (None
    where a person must say), `needs_human`, `reason`, `original_sentence` and `original_label`.

    Args:
        records: Records with an id, a sentence or a question, and perhaps a label; see `_ID_FIELDS` and so on.
        source: Where they come from, for messages.
        classes: Things and others of their class, for the edit `entity`; without them it is left out.
        kinds: Which edits to make.
        per_original: The most variants of one original; as many kinds as possible are taken.
        seed: Chooses among edits and words; the same seed gives the same variants, whatever other records there are.

    Raises:
        InputError: if a record has no id or no sentence, a kind is unknown, or `per_original` is below 1.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InputError(f"there is no edit {unknown[0]!r}; allowed: {', '.join(KINDS)}")
    if per_original < 1:
        raise InputError(f"{per_original} variants of an original are none; give 1 or more")
    variants: list[Record] = []
    count = 0
    for record in records:
        count += 1
        identifier = as_id(record[_name(record, _ID_FIELDS, source)], source)
        chance = Random(f"{seed}:{identifier}")
        field = _name(record, _TEXT_FIELDS, source)
        label = next((record[name] for name in _LABEL_FIELDS if name in record), None)
        sentence = Sentence(str(record[field]), tokenise(str(record[field])), _truth(label), record)
        edits = _chosen(list(_edits(sentence, classes, kinds, chance)), sentence.text, per_original, chance)
        for number, edit in enumerate(edits, start=1):
            variants.append(_variant(record, identifier, number, field, sentence, label, edit))
    return Made(variants, count)


def write_variants(made: Made, path: Path) -> None:
    """Write the variants as JSON lines, beside the target and then renamed.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        write_text_safely(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in made.variants))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}; check the folder and its permissions") from None


def _edits(sentence: Sentence, classes: Classes | None, kinds: Sequence[str], chance: Random) -> Iterator[Edit]:
    """Give every edit of the wanted kinds."""
    makers: Mapping[tuple[str, ...], Callable[[], Iterator[Edit]]] = {
        ("number", "quantifier"): lambda: count_edits(sentence),
        ("entity",): lambda: entity_edits(sentence, classes or {}, chance),
        ("attribute",): lambda: (
            edit for edits in (colour_edits(sentence, chance), size_edits(sentence)) for edit in edits
        ),
        ("spatial",): lambda: spatial_edits(sentence),
        ("exchange-images",): lambda: exchange_edits(sentence),
        ("negation",): lambda: negation_edits(sentence),
    }
    for names, make in makers.items():
        if set(names) & set(kinds):
            yield from (edit for edit in make() if edit.kind in kinds)


def _chosen(edits: list[Edit], text: str, most: int, chance: Random) -> list[Edit]:
    """Return at most `most` edits with different texts: one of each kind in turn, derived labels first."""
    distinct = {edit.apply(text): edit for edit in reversed(edits)}
    distinct.pop(text, None)
    by_kind: dict[str, list[Edit]] = {}
    for edit in distinct.values():
        by_kind.setdefault(edit.kind, []).append(edit)
    queues = []
    for kind in sorted(by_kind):
        chance.shuffle(by_kind[kind])
        queues.append(sorted(by_kind[kind], key=lambda edit: edit.truth is None))
    chance.shuffle(queues)
    queues.sort(key=lambda queue: queue[0].truth is None)
    taken: list[Edit] = []
    while queues and len(taken) < most:
        taken += [queue.pop(0) for queue in queues][: most - len(taken)]
        queues = [queue for queue in queues if queue]
    return sorted(taken, key=lambda edit: (edit.start, edit.end, edit.kind, edit.after))


def _variant(
    record: Record, identifier: str, number: int, field: str, sentence: Sentence, label: Label, edit: Edit
) -> Record:
    dropped = {*_ID_FIELDS, *_LABEL_FIELDS, field}
    return {
        "identifier": f"{identifier}-{number}",
        field: edit.apply(sentence.text),
        "label": _like(edit.truth, label),
        "needs_human": edit.truth is None,
        "reason": edit.reason,
        "edit": edit.kind,
        "span": [edit.start, edit.end],
        "before": sentence.text[edit.start : edit.end],
        "after": edit.after,
        "original": identifier,
        "original_sentence": sentence.text,
        "original_label": label,
        **{name: value for name, value in record.items() if name not in dropped},
        **dict(edit.changes),
    }


def _name(record: Record, names: Sequence[str], source: Path) -> str:
    """Return the first of the names that the record has."""
    for name in names:
        if name in record:
            return name
    raise InputError(f"{source}: a record has none of {', '.join(names)}: {str(record)[:100]}")


def _truth(label: object) -> bool | None:
    """Return the truth value that the original's label says, if it says one."""
    if isinstance(label, bool):
        return label
    return True if label in _TRUE else False if label in _FALSE else None


def _like(truth: bool | None, label: Label) -> Label:
    """Return a truth value written as the original's label is."""
    if truth is None or not isinstance(label, str):
        return truth
    place = _TRUE.index(label) if label in _TRUE else _FALSE.index(label)
    return (_TRUE if truth else _FALSE)[place]
