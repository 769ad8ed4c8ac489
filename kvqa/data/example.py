"""Example: one question about one picture or a pair of them, with what is known about its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvqa.errors import InputError
from kvqa.vision.regions import Regions

Fact = tuple[str, str, str]
"""A fact by its identity, as `kb.triple.Triple.key`: head, relation, tail."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in a text that points to regions of the picture.

    Attributes:
        start, end: The place is `text[start:end]`, in characters.
        regions: Positions in `Example.regions.regions`, at least one.
    """

    start: int
    end: int
    regions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mentions:
    """The mentions in the texts of an example, in the order of each text; empty where a text has none.

    Attributes:
        question: Of the question.
        choices: One tuple for each choice.
        rationales: One tuple for each rationale choice.
    """

    question: tuple[Mention, ...] = ()
    choices: tuple[tuple[Mention, ...], ...] = ()
    rationales: tuple[tuple[Mention, ...], ...] = ()


@dataclass(frozen=True)
class Example:
    """A question, what is seen in its picture, and, for training and scoring, its answers and facts.

    An open question has `answers` and perhaps `human_answers`; a question with offered answers has `choices` and
    `label`; a statement to be judged (true or false, entailment) has a `label` among the classes of its data set.
    What a data set does not give, or withholds for its test split, stays empty.

    Attributes:
        question_id: Identity within its data set.
        question: The question in plain words, or the statement to be judged; "" for a picture with captions only.
        image: File name of the picture; the left one of a pair.
        regions: What is seen in it.
        answers: Accepted spellings of the answer; the first is the reference that scores are counted against. Of
            offered answers it is the right one, of a judgement the name of its class.
        facts: The gold facts that support the answer.
        meta: Whatever else the data set says about the question, such as `answer_source` (image or kb).
        images: File names of all pictures, `image` first, where a data set has more than one for a question; ()
            stands for (image,).
        more_regions: What is seen in `images[1:]`, one for each.
        human_answers: Every answer that people gave, repetitions included, in the file's order: ten for VQA v2,
            OK-VQA and A-OKVQA. Soft targets and official scores are counted from these, never from `answers`.
        answer_scores: The score in [0, 1] that each of `answers` gets, where the data set gives scores in place of the
            ten answers; () otherwise.
        choices: The answers offered; four for VCR and A-OKVQA.
        label: Position of the right one in `choices`, or of the class in `Description.classes`; None where unknown.
        rationale_choices: The reasons offered (VCR).
        rationale_label: Position of the right one in `rationale_choices`.
        rationales: Reasons for the right answer that people wrote; three for A-OKVQA.
        mentions: Which words of the texts point to which regions (VCR).
        captions: Sentences by people about the whole picture, for pretraining.
    """

    question_id: str
    question: str
    image: str
    regions: Regions
    answers: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    images: tuple[str, ...] = ()
    more_regions: tuple[Regions, ...] = ()
    human_answers: tuple[str, ...] = ()
    answer_scores: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()
    label: int | None = None
    rationale_choices: tuple[str, ...] = ()
    rationale_label: int | None = None
    rationales: tuple[str, ...] = ()
    mentions: Mentions = Mentions()
    captions: tuple[str, ...] = ()

    @property
    def all_images(self) -> tuple[str, ...]:
        """File names of all its pictures, also where there is one."""
        return self.images or (self.image,)

    @property
    def all_regions(self) -> tuple[Regions, ...]:
        """What is seen in each of `all_images`."""
        return (self.regions, *self.more_regions)


def unseen(image: str) -> Regions:
    """Return the Regions of a picture that nothing has looked at: none, in a picture of 1 x 1."""
    return Regions(image, 1, 1, ())


def check_question(text: str, *, max_chars: int = 2000) -> str:
    """Return `text` with white space collapsed to single spaces and stripped.

    Raises:
        InputError: if nothing is left, the text holds a NUL character or broken bytes, or is longer than
            `max_chars` characters.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("the question holds bytes that are no text; give it in UTF-8") from None
    if "\x00" in text:
        raise InputError(f"the question {text[:40]!r} holds a NUL character; give it as plain text")
    if len(text) > max_chars:
        raise InputError(f"the question has {len(text)} characters, more than {max_chars}; ask a shorter one")
    question = " ".join(text.split())
    if not question:
        raise InputError("the question is empty; ask something about the picture")
    return question
