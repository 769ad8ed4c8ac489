import random
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from kvqa.data.collate import KINDS, Batch, Collator, concept_text, distinct_concepts, drop_regions
from kvqa.data.example import Example
from kvqa.vision.regions import Region, Regions

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ",", "what", "is", "this", "cat", "dog", "mat", "sleeping"]
CLS, SEP, COMMA, WHAT, IS, THIS, CAT, DOG, MAT = 2, 3, 4, 5, 6, 7, 8, 9, 10

REGIONS = Regions(
    "a.jpg",
    100,
    50,
    (
        Region("cat", 0.9, (10, 10, 60, 30)),
        Region("dog", 0.5, (0, 0, 100, 50)),
        Region("cat", 0.4, (1, 1, 2, 2)),
        Region("mat", 0.3, None, "tag"),
        Region("what", 0.1, (0, 0, 9, 9)),
        Region("this is sleeping", 1.0, None, "caption"),
    ),
    features=np.arange(12, dtype=np.float32).reshape(6, 2),
    image_feature=np.array([1, 2, 3], dtype=np.float32),
)
NOTHING = Regions("b.jpg", 100, 50, ())
EXAMPLE = Example("0", "What is this", "a.jpg", REGIONS)
PLAIN = Example("1", "What", "b.jpg", NOTHING)


def _label_vectors(labels: Sequence[str]) -> Tensor:
    return torch.tensor([[len(label), ord(label[0]), 1.0] for label in labels])


def _collator(**options: Any) -> Collator:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    return Collator(tokenizer, _label_vectors, **{"feature_width": 3, **options})


def _same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(Batch))


def test_question_and_names_share_the_text() -> None:
    batch = _collator()([EXAMPLE, PLAIN])
    question, names = [CLS, WHAT, IS, THIS, SEP], [CAT, COMMA, DOG, COMMA, MAT, COMMA, THIS, IS, 11, SEP]
    assert batch.ids.tolist() == [question + names, [CLS, WHAT, SEP] + [0] * 12]
    assert batch.segments.tolist() == [[0] * 5 + [1] * 10, [0] * 15]
    assert batch.mask.tolist() == [[True] * 15, [True] * 3 + [False] * 12]


@pytest.mark.parametrize(
    ("max_tokens", "names"), [(9, [CAT, COMMA, DOG, SEP]), (8, [CAT, COMMA, SEP]), (7, [CAT, SEP]), (6, [])]
)
def test_names_are_cut_before_the_question(max_tokens: int, names: list[int]) -> None:
    batch = _collator(max_tokens=max_tokens)([EXAMPLE])
    assert batch.ids.tolist() == [[CLS, WHAT, IS, THIS, SEP, *names]]
    assert batch.segments.tolist() == [[0] * 5 + [1] * len(names)]


@pytest.mark.parametrize(("max_tokens", "kept"), [(5, [WHAT, IS, THIS]), (4, [WHAT, IS]), (3, [WHAT])])
def test_a_question_is_kept_as_far_as_it_fits_and_closed(max_tokens: int, kept: list[int]) -> None:
    assert _collator(max_tokens=max_tokens)([EXAMPLE]).ids.tolist() == [[CLS, *kept, SEP]]


def test_region_tokens_by_hand() -> None:
    batch = _collator()([EXAMPLE, PLAIN])
    assert batch.kinds.tolist() == [[0, 1, 1, 1, 2, 1, 3], [0] * 7]
    assert [KINDS[i] for i in (0, 1, 2, 3)] == ["image", "object", "tag", "caption"]
    assert batch.region_mask.tolist() == [[True] * 7, [True] + [False] * 6]
    torch.testing.assert_close(batch.scores[0], torch.tensor([1, 0.9, 0.5, 0.4, 0.3, 0.1, 1]))
    assert batch.scores[1].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert batch.labels[0, :2].tolist() == [[0, 0, 0], [3, ord("c"), 1]] and not batch.labels[1].any()
    torch.testing.assert_close(batch.geometry[0, 1], torch.tensor([0.1, 0.2, 0.6, 0.6, 0.2]))
    assert batch.geometry[0, [0, 4]].tolist() == [[0, 0, 1, 1, 1]] * 2
    assert batch.geometry[1, 0].tolist() == [0, 0, 1, 1, 1] and not batch.geometry[1, 1:].any()


def test_without_any_region_the_whole_picture_is_left() -> None:
    batch = _collator()([PLAIN])
    assert batch.region_mask.tolist() == [[True]] and batch.labels.shape == (1, 1, 3)
    assert batch.has_image_feature.tolist() == [False]


def test_no_more_region_tokens_than_allowed() -> None:
    batch = _collator(max_regions=2)([EXAMPLE])
    assert batch.region_mask.shape == (1, 3)
    assert CAT in batch.ids[0] and MAT in batch.ids[0]  # the text has a limit of its own


def test_an_image_feature_of_another_length_is_left_out() -> None:
    batch = _collator()([EXAMPLE, PLAIN])
    assert batch.has_image_feature.tolist() == [True, False]
    assert batch.image_feature.tolist() == [[1, 2, 3], [0, 0, 0]]
    other = _collator(feature_width=4)([EXAMPLE])
    assert other.has_image_feature.tolist() == [False] and not other.image_feature.any()


def test_without_the_question_only_the_picture_counts() -> None:
    collate = _collator(use_question=False)
    assert _same(collate([EXAMPLE]), collate([replace(EXAMPLE, question="dog dog dog")]))
    assert collate([EXAMPLE]).ids[0, :3].tolist() == [CLS, SEP, CAT]
    assert collate([PLAIN]).ids.tolist() == [[CLS, SEP]]


def test_without_the_picture_only_the_question_counts() -> None:
    collate = _collator(use_image=False)
    assert _same(collate([EXAMPLE]), collate([replace(EXAMPLE, regions=NOTHING)]))
    assert collate([EXAMPLE]).ids.tolist() == [[CLS, WHAT, IS, THIS, SEP]]


def test_a_batch_moves_as_a_whole() -> None:
    batch = _collator()([EXAMPLE])
    assert _same(batch, batch.to("cpu"))
    assert {getattr(batch.to("meta"), f.name).device.type for f in fields(Batch)} == {"meta"}


def test_concepts_are_distinct_sure_enough_and_not_captions() -> None:
    assert [(r.label, r.score) for r in distinct_concepts(REGIONS)] == [("cat", 0.9), ("dog", 0.5), ("mat", 0.3)]
    assert [r.label for r in distinct_concepts(REGIONS, threshold=0.5)] == ["cat", "dog"]
    assert [r.label for r in distinct_concepts(REGIONS, limit=1)] == ["cat"]
    assert [r.label for r in distinct_concepts(REGIONS, threshold=0.0)][-1] == "what"


def test_concept_text_names_everything_seen() -> None:
    assert concept_text(REGIONS) == "cat, dog, mat, this is sleeping"
    assert concept_text(REGIONS, captions=0) == "cat, dog, mat"
    assert concept_text(NOTHING) == ""


def test_regions_are_dropped_never_or_altogether() -> None:
    assert drop_regions(REGIONS, 0.0, random.Random(0)) is REGIONS
    nothing = drop_regions(REGIONS, 1.0, random.Random(0))
    assert nothing.regions == () and nothing.image_feature is None
    assert nothing.features is not None and nothing.features.shape == (0, 2)
    assert drop_regions(NOTHING, 1.0, random.Random(0)) == NOTHING


def test_dropping_takes_whole_labels_with_their_features() -> None:
    kept_cats, kept_features = 0, 0
    for seed in range(200):
        left = drop_regions(REGIONS, 0.3, random.Random(seed))
        assert sum(r.label == "cat" for r in left.regions) in (0, 2)
        rows = [REGIONS.regions.index(region) for region in left.regions]
        assert rows == sorted(rows) and left.features is not None and REGIONS.features is not None
        np.testing.assert_array_equal(left.features, REGIONS.features[rows])
        kept_cats += any(r.label == "cat" for r in left.regions)
        kept_features += left.image_feature is not None
    assert 110 < kept_cats < 170 and 110 < kept_features < 170
    assert drop_regions(REGIONS, 0.3, random.Random(1)) == drop_regions(REGIONS, 0.3, random.Random(1))
