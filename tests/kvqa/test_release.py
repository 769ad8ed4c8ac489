"""The released model, over knowledge bases that it has never seen."""

from pathlib import Path

import pytest

from kvqa.answering import Answer, Answerer
from kvqa.data.demo import DEMO, demo_photo_path, demo_regions_path
from kvqa.demo import everyday_facts
from kvqa.models.checkpoint import RELEASED, load_model, read_manifest
from kvqa.models.model import KvqaModel
from kvqa.vision.regions import Region, Regions, read_regions
from retrieval.builder import build_kb

TEN_LINES = """\
cat\tAtLocation\tthe floating library of Quellmar
dog\tAtLocation\ta kennel
cup\tUsedFor\tdrinking tea
table\tMadeOf\twood
bicycle\tHasA\ttwo wheels
motorcycle\tUsedFor\triding
fork\tUsedFor\teating
bottle\tUsedFor\tholding water
person\tCapableOf\tspeaking
car\tAtLocation\tstreet
"""


@pytest.fixture(scope="module")
def model() -> KvqaModel:
    return load_model()


@pytest.fixture(scope="module")
def own_facts(model: KvqaModel, tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.tsv").write_text(TEN_LINES)
    build_kb([folder / "mine.tsv"], folder / "kb")
    return Answerer.open(model, folder / "kb")


@pytest.fixture(scope="module")
def everyday(model: KvqaModel, tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    folder = tmp_path_factory.mktemp("everyday")
    build_kb([everyday_facts()], folder / "kb")
    return Answerer.open(model, folder / "kb")


def ask(answerer: Answerer, photo: str, question: str) -> Answer:
    return answerer.answer(read_regions(demo_regions_path(photo)), question)


def test_a_fact_that_a_user_just_wrote_is_used_at_once(own_facts: Answerer) -> None:
    answer = ask(own_facts, "cat", "Where can the animal in this image be found?")
    assert answer.answer == "the floating library of Quellmar"
    assert (answer.facts[0].head, answer.facts[0].source) == ("cat", "mine")
    assert [step.text for step in answer.path][:2] == ["cat", "cat"] and answer.path[0].kind == "region"


def test_the_picture_decides_between_facts(own_facts: Answerer) -> None:
    cup = Regions("", 100, 100, (Region("cup", 0.9, (10, 10, 60, 60)),))
    fork = Regions("", 100, 100, (Region("fork", 0.9, (10, 10, 60, 60)),))
    question = "What is the object in this image used for?"
    assert own_facts.answer(cup, question).answer == "drinking tea"
    assert own_facts.answer(fork, question).answer == "eating"


def test_a_question_that_the_facts_do_not_support_is_answered_without_confidence(everyday: Answerer) -> None:
    supported = ask(everyday, "cat", "Which animal in this image can catch mice?")
    bluff = ask(everyday, "cat", "Who was the president when this building was opened?")
    assert supported.supported and supported.confidence > 2 * bluff.confidence
    assert not bluff.supported


@pytest.mark.parametrize(
    ("photo", "question", "right"),
    [
        ("cat", "Which animal in this image can catch mice?", {"cat"}),
        ("motorcycle", "Which vehicle in this image has two wheels?", {"motorcycle"}),
        ("coffee", "Which object in this image can hold coffee?", {"cup", "coffee cup", "mug"}),
    ],
)
def test_everyday_questions(everyday: Answerer, photo: str, question: str, right: set[str]) -> None:
    answer = ask(everyday, photo, question)
    assert answer.answer in right, answer.answers
    assert answer.facts[0].source == "everyday"


def test_every_demo_photo_and_region_file_fit(everyday: Answerer) -> None:
    for item in DEMO:
        assert demo_photo_path(item.name).is_file()
        answer = ask(everyday, item.name, item.question)
        assert answer.answer and 0 < answer.confidence <= 1


def test_the_release_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in Path(RELEASED).iterdir()) <= 25 * 1024 * 1024
    manifest = read_manifest(RELEASED)
    assert manifest.training["dataset"] == "fvqa" and manifest.training["experiment"]["split"] == "all"
