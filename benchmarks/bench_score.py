"""How long do 214,354 VQA v2 predictions take to score, as many as the validation set has?

    python benchmarks/bench_score.py [FOLDER] [--questions 214354] [--seed 0]

The folder defaults to `$KVQA_DATA/data/vqa2_60k`, a sample of VQA v2 with ten answers a question. Its questions are
repeated with new ids until there are enough; predictions are people's answers, spoilt at random (upper case, articles,
punctuation, digits as words, other answers). What is timed is `kvqa score` as a user meets it: two files are read and
all figures are made.

The baseline is the official algorithm written plainly: the same figures by leaving each answer out in turn and
normalising every answer anew, mark by mark. It reads the same files with `json.load`. Both must print the same digits.
The last line is a JSON object: `seconds` (kvqa, files included), `ratio` (plain / kvqa, files included),
`same_digits`, `questions`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from kvqa.errors import InputError
from kvqa.scoring.files import read_json
from kvqa.scoring.vqa import score_vqa
from kvqa.scoring.vqa_normalise import ARTICLES, CONTRACTIONS, MARKS, NUMBERS

PERIOD = re.compile(r"(?!<=\d)\.(?!\d)")
DIGIT_COMMA_DIGIT = re.compile(r"(\d),(\d)")
SPOIL = (str.upper, "the {}".format, "{}.".format, "{}!".format, "a {}".format, "{}, too".format, "{} ".format)


def plain_punctuation(text: str) -> str:
    """Return the text after the punctuation step, a mark at a time."""
    out = text
    for mark in MARKS:
        if mark + " " in text or " " + mark in text or re.search(DIGIT_COMMA_DIGIT, text) is not None:
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    return PERIOD.sub("", out, count=32)


def plain_words(text: str) -> str:
    """Return the text after the step of digits, articles and contractions."""
    words = []
    for word in text.lower().split():
        digit = NUMBERS.get(word, word)
        if digit not in ARTICLES:
            words.append(CONTRACTIONS.get(digit, digit))
    return " ".join(words)


def plain_accuracy(prediction: str, people: list[dict[str, Any]]) -> float:
    """Return the accuracy of one question, leaving out one person after the other."""
    given = [{**person, "answer": tidied(person["answer"])} for person in people]
    said = tidied(prediction)
    if len({person["answer"] for person in given}) > 1:
        for person in given:
            person["answer"] = plain_words(plain_punctuation(person["answer"]))
        said = plain_words(plain_punctuation(said))
    scores = []
    for person in given:
        others = [other for other in given if other != person]
        matching = [other for other in others if other["answer"] == said]
        scores.append(min(1, float(len(matching)) / 3))
    return float(sum(scores)) / len(scores)


def tidied(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def plain_figures(annotations: list[dict[str, Any]], said: dict[int, str]) -> dict[str, Any]:
    """Return the figures of the official script."""
    every: list[float] = []
    by_question, by_answer = {}, {}
    for record in annotations:
        score = plain_accuracy(said[record["question_id"]], record["answers"])
        every.append(score)
        by_question.setdefault(record["question_type"], []).append(score)
        by_answer.setdefault(record["answer_type"], []).append(score)
    return {
        "overall": as_percent(every),
        "per_question_type": {kind: as_percent(scores) for kind, scores in by_question.items()},
        "per_answer_type": {kind: as_percent(scores) for kind, scores in by_answer.items()},
    }


def as_percent(scores: list[float]) -> float:
    return round(100 * float(sum(scores)) / len(scores), 2)


def write_files(folder: Path, out: Path, count: int, seed: int) -> tuple[Path, Path]:
    """Write annotations and predictions of `count` questions made of those in `folder`."""
    sources = sorted(folder.glob("vqa_annot*"))
    if not sources:
        raise InputError(f"there is no vqa_annot* file in {folder}; give the folder of VQA v2 annotations")
    records = [record for source in sources for record in read_json(source)["annotations"]]
    pool = [person["answer"] for record in records for person in record["answers"]]
    chance = random.Random(seed)
    annotations = [{**records[number % len(records)], "question_id": number} for number in range(count)]
    said = [{"question_id": record["question_id"], "answer": spoilt(record, pool, chance)} for record in annotations]
    chance.shuffle(said)
    truth, predictions = out / "annotations.json", out / "predictions.json"
    truth.write_text(json.dumps({"annotations": annotations}), encoding="utf-8")
    predictions.write_text(json.dumps(said), encoding="utf-8")
    return truth, predictions


def spoilt(record: dict[str, Any], pool: list[str], chance: random.Random) -> str:
    """Return an answer of one of the people, or of another question, now and then written differently."""
    answer = chance.choice(record["answers"])["answer"] if chance.random() < 0.7 else chance.choice(pool)
    return chance.choice(SPOIL)(answer) if chance.random() < 0.2 else answer


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("KVQA_DATA", "."), "data", "vqa2_60k")
    parser.add_argument("folder", type=Path, nargs="?", default=folder)
    parser.add_argument("--questions", type=int, default=214_354)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        truth, predictions = write_files(options.folder, Path(name), options.questions, options.seed)
        start = time.perf_counter()
        report = score_vqa(predictions, truth).as_json()
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        annotations = json.loads(truth.read_text(encoding="utf-8"))["annotations"]
        said = {line["question_id"]: line["answer"] for line in json.loads(predictions.read_text(encoding="utf-8"))}
        figures = plain_figures(annotations, said)
        plain = time.perf_counter() - start
    same = figures == {name: report[name] for name in figures}
    print(f"kvqa {seconds:.1f} s, plain {plain:.1f} s, files included")
    print(f"overall {report['overall']}, plain {figures['overall']}, all figures the same: {same}")
    print(
        json.dumps(
            {
                "seconds": round(seconds, 2),
                "ratio": round(plain / seconds, 2),
                "same_digits": same,
                "questions": options.questions,
            }
        )
    )


if __name__ == "__main__":
    main()
