"""Statements of NLVR and their scenes as numbers for a model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kvqa.data.example import Example
from kvqa.data.nlvr_scene import BOXES, FEATURES, Scene, scene_features, scene_of
from kvqa.data.nlvr_symmetries import vary
from kvqa.data.nlvr_words import IDS, PADDING, Words, token_ids, tokens
from kvqa.data.pairs import Pairs
from kvqa.errors import InputError

MAX_TOKENS = 48


@dataclass(frozen=True)
class Tokens:
    """One judged statement as numbers: ids (T,), features (R, F), places (R, 4), box numbers (R,), label.

    `counted` (R,) says which boxes and items the statement counts: 1 or 0, or -1 where that is not known.
    """

    ids: list[int]
    features: NDArray[np.float32]
    places: NDArray[np.float32]
    boxes: NDArray[np.int64]
    label: int
    counted: NDArray[np.float32] | None = None


SceneTokens = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def collate(batch: Sequence[Tokens]) -> tuple[Pairs, Tensor]:
    """Return the batch as the encoder reads it, and the boxes (B, R, 3) that each token of the scene belongs to."""
    length, regions = max(len(one.ids) for one in batch), max(len(one.boxes) for one in batch)
    ids = np.full((len(batch), length), IDS[PADDING])
    features = np.zeros((len(batch), regions, FEATURES), np.float32)
    places = np.zeros((len(batch), regions, 4), np.float32)
    member = np.zeros((len(batch), regions, BOXES), np.float32)
    for row, one in enumerate(batch):
        count = len(one.boxes)
        ids[row, : len(one.ids)] = one.ids
        features[row, :count], places[row, :count] = one.features, one.places
        member[row, np.arange(count), one.boxes] = 1
    words, groups = torch.from_numpy(ids), torch.from_numpy(member)
    pairs = Pairs(
        words,
        words != IDS[PADDING],
        torch.from_numpy(features),
        boxes=torch.from_numpy(places),
        region_mask=groups.sum(-1) > 0,
    )
    return pairs, groups


def statement_of(example: Example) -> tuple[Words, Scene, int]:
    """Return words, scene and label of an example.

    Raises:
        InputError: if it has no label or is not of NLVR.
    """
    if example.label is None:
        raise InputError(f"{example.question_id} has no label; NLVR statements are true or false")
    return tokens(example.question), scene_of(example), example.label


def numbers_of(statement: tuple[Words, Scene, int], rng: random.Random | None, *, picture: bool) -> Tokens:
    """Return a statement as numbers.

    Args:
        rng: Changes words and scene together, keeping the truth; None leaves them as they are.
        picture: Show the scene.
    """
    words, scene, label = statement
    if rng is not None:
        words, scene = vary(words, scene, rng)
    return Tokens(token_ids(words)[:MAX_TOKENS], *seen_scene(scene, picture=picture), label)


def seen_scene(scene: Scene, *, picture: bool) -> SceneTokens:
    """Return the tokens of a scene; without the picture, those of three boxes of which nothing is known."""
    if picture:
        return scene_features(scene)
    features, places, boxes = scene_features(((), (), ()))
    return features, places, boxes
