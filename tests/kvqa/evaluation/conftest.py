"""A small FVQA in the published layout: seven questions on four pictures, a knowledge base for it, and runs on it.

Of its own facts (ids 0 to 5) training uses 0 and 1; 2 stands in another source too; nobody asks for 5.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvqa.evaluation.datasets import evaluate
from kvqa.evaluation.fvqa import evaluate_fvqa
from retrieval.builder import build_kb

FACTS = [
    ("Cup", "UsedFor", "drink_tea"),
    ("cat", "CapableOf", "catch_mice"),
    ("dog", "IsA", "animal"),
    ("Rose", "transnbhd", "Category:Garden_plants"),
    ("horse", "CapableOf", "pull_a_cart"),
    ("umbrella", "UsedFor", "rain"),
]
MISSING = ("bird", "CapableOf", "fly")
MORE = "head\trelation\ttail\nDog\tIsA\tanimal\nbanana\tHasColor\tyellow\nsnow\tHasProperty\tcold\n"
QUESTIONS = [
    # picture, question, answer, gold fact
    ("a.jpg", "What is this used for?", "drink tea", FACTS[0]),
    ("b.jpg", "Which animal can catch mice?", "cat", FACTS[1]),
    ("c.jpg", "What can the cat do?", "catch mice", FACTS[1]),
    ("c.jpg", "Which of these is an animal?", "dog", FACTS[2]),
    ("c.jpg", "Which is a garden plant?", "rose", FACTS[3]),
    ("c.jpg", "What can pull a cart?", "horse", FACTS[4]),
    ("d.jpg", "What can fly?", "bird", MISSING),
]
PICTURES = {"a.jpg": "cup", "b.jpg": "cat", "c.jpg": "horse", "d.jpg": "bird"}
LISTS = {n: (["a.jpg", "b.jpg"], ["c.jpg", "d.jpg"]) for n in range(3)}
LISTS |= {3: (["a.jpg"], ["nobody-asks.jpg"]), 4: (["a.jpg", "b.jpg", "c.jpg"], ["d.jpg"])}


def write_fvqa(root: Path) -> None:
    combined, release = {}, {}
    for number, (image, question, answer, fact) in enumerate(QUESTIONS):
        record: dict[str, Any] = {"question_id": str(number), "question": question, "img_file": image}
        combined[str(number)] = {**record, "answer": answer, "fact": list(fact), "fact_surface": "", "kb_source": "cn"}
        source = "image" if number % 2 else "kb"
        release[str(number)] = {**record, "answer": f"{answer}s", "ans_source": source, "visual_concept": "obj"}
    (root / "all_qs_dict_release_combine.json").write_text(json.dumps(combined), encoding="utf-8")
    (root / "all_qs_dict_release.json").write_text(json.dumps(release), encoding="utf-8")
    with (root / "visual_concepts.jsonl").open("w", encoding="utf-8") as file:
        for image, label in PICTURES.items():
            empty = {name: [] for name in ("coco", "imagenet", "places", "hoi", "densecap")}
            detected = [[label, 0.9, 10.0, 20.0, 90.0, 80.0]]
            file.write(json.dumps({"image": image, "det": detected, **empty, "feat300": [0.5] * 300}) + "\n")
    (root / "Name_Lists").mkdir()
    for number, parts in LISTS.items():
        for part, images in zip(("train", "test"), parts, strict=True):
            (root / "Name_Lists" / f"{part}_list_{number}.txt").write_text("\n".join(images) + "\n", encoding="utf-8")
    rows = ["\t".join((*fact, "conceptnet", "")) for fact in FACTS]
    (root / "facts.tsv").write_text("\n".join(["head\trelation\ttail\tkb_source\tsurface", *rows]) + "\n", "utf-8")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fvqa")
    write_fvqa(folder)
    return folder


@pytest.fixture(scope="session")
def kb(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "more.tsv").write_text(MORE, encoding="utf-8")
    build_kb([root / "facts.tsv", folder / "more.tsv"], folder / "kb")
    return folder / "kb"


@pytest.fixture(scope="session")
def done(
    root: Path, kb: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """Report and folder of an evaluation on test0."""
    out = tmp_path_factory.mktemp("reports") / "deep" / "test0"
    return evaluate_fvqa(root=root, split="test0", kb=kb, model=small_model, out=out), out


@pytest.fixture(scope="session")
def whole(
    root: Path, kb: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """Report and folder of an evaluation on test0 with everything, as the command makes it: ablations and page."""
    out = tmp_path_factory.mktemp("reports") / "whole"
    options = {"ablations": True, "hide_test_gold": False}
    report = evaluate("fvqa", root=root, split="test0", kb=kb, model=small_model, out=out, options=options)
    return report, out
