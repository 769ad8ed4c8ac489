"""KVQA: questions about the people in a photo that Wikidata answers (Shah et al. 2019, AAAI)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kvqa.data.example import Example, unseen
from kvqa.data.files import record_at, text, texts
from kvqa.data.json_stream import members
from kvqa.data.published import Description, File, Split
from kvqa.errors import InputError

SITE = "http://malllabiisc.github.io/resources/kvqa/"
RECORDS = File(("dataset.json", "kvqa.json"), "all questions by picture", SITE)

PARTS = ("train", "val", "test")
"""What 1, 2 and 3 in `split` stand for; a record has one number for each of the five divisions."""
SPLIT_NAMES = ("all", *(f"{part}{number}" for number in range(5) for part in PARTS))


def read_kvqa(root: Path, split: str) -> Iterator[Example]:
    """Yield the questions on the pictures of a split, picture by picture in the order of the file.

    `question_id` is picture and place of the question, such as `39346-0`. `meta` has the picture's people as
    `entities` and `qids` (left to right, joined by `|`), the paraphrased question as `paraphrase` where there is one,
    and `types` joined by `|` — only where the record has as many types as questions, for nothing else says which type
    belongs to which question. `hops` is what the types say of it: `1-hop` or `multi-hop`.

    Raises:
        InputError: if the file is missing or a record broken.
    """
    path = RECORDS.locate(root)
    for number, record in members(path):
        with record_at(path, f"picture {number}"):
            examples = list(_examples(number, record)) if _belongs(record, split) else []
        yield from examples


def _belongs(record: Any, split: str) -> bool:
    parts = record["split"]
    if not isinstance(parts, list) or len(parts) != 5 or any(part not in (1, 2, 3) for part in parts):
        raise InputError(f"split is {parts!r}; expected five numbers from 1 (train) to 3 (test)")
    return split == "all" or PARTS[parts[int(split[-1])] - 1] == split[:-1]


def _examples(picture: str, record: Any) -> Iterator[Example]:
    questions = texts(record, "Questions")
    answers = record["Answers"]
    if not isinstance(answers, list) or len(answers) != len(questions):
        raise InputError(f"there are {len(questions)} questions and not as many answers; expected one for each")
    types = record.get("Type of Question") or []
    paraphrases = texts(record, "ParaQuestions") if "ParaQuestions" in record else ()
    image = text(record, "imgPath").rpartition("/")[2]
    regions = unseen(image)
    shared = {"entities": "|".join(texts(record, "NamedEntities")), "qids": "|".join(map(str, record.get("Qids", ())))}
    captions = (text(record, "wikiCap"),) if record.get("wikiCap") else ()
    for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        meta = dict(shared)
        if len(types) == len(questions):
            meta |= _type_meta(types[place])
        if len(paraphrases) == len(questions):
            meta["paraphrase"] = " ".join(paraphrases[place].split())
        yield Example(
            f"{picture}-{place}",
            " ".join(question.split()),
            image,
            regions,
            answers=(_answer(answer),),
            meta=meta,
            captions=captions,
        )


def _type_meta(types: list[str]) -> dict[str, str]:
    hops = "multi-hop" if "multi-hop" in types else "1-hop" if any(t.startswith("1-hop") for t in types) else ""
    return {"types": "|".join(types), **({"hops": hops} if hops else {})}


def _answer(answer: Any) -> str:
    """Return an answer as text; counts stand as numbers in the file."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise InputError(f"an answer is {answer!r}; expected a text or a number")
    return " ".join(str(answer).split())


KVQA = Description(
    name="kvqa",
    title="KVQA (Shah et al. 2019, AAAI)",
    files=(RECORDS,),
    splits=(
        Split("all", 183_007, 24_602, scheme="all"),
        *(Split(name, scheme=name[-1]) for name in SPLIT_NAMES[1:]),
    ),
    read=read_kvqa,
    photos=f"{SITE} (KVQAimgs.tar.gz)",
    note="published counts are of the whole; sizes of the five divisions were not found. That 1, 2, 3 stand for train, "
    "val, test is the common reading and not stated in the files",
)
