"""What an experiment is: every setting of a training run, as one complete YAML file holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kvqa.models.model import ModelConfig
from kvqa.training.encoder_stage import EncoderStage
from kvqa.training.reasoner_stage import ReasonerStage


@dataclass(frozen=True)
class RetrieverConfig:
    """How evidence is gathered, see `retrieval.retriever.Retriever`.

    Attributes:
        hide_gold: Only for the study of knowledge-base confounds: leave facts that only the data set itself
            provides, and that no training question uses, out of training. True is the honest setting.
    """

    dense: int = 50
    linked: int = 10
    likely: int = 15
    hide_gold: bool = True


@dataclass(frozen=True)
class Experiment:
    """A complete self.

    Attributes:
        name: Goes into reports and manifests.
        seed: Of everything random.
        split: Part of the data set to train on; a test part is refused.
        held_out: Share of the training *images* kept aside for choosing settings; their scores are reported.
        folds: Parts for cross-fitting the encoder's view; 1 trains the reasoner on the encoder's own view.
        calibration: Share of the training images that the reasoner does not see, to calibrate its confidence on.
        vocabulary_at_least: How often an answer must occur to enter the closed vocabulary.
        fact_questions: Questions made of facts (`kvqa.data.fact_questions`) for each question of the data set.
        init: Folder of a pretrained encoder to start from; empty starts from the sentence encoder alone.
    """

    name: str
    seed: int = 0
    split: str = "train0"
    held_out: float = 0.0
    folds: int = 2
    calibration: float = 0.15
    vocabulary_at_least: int = 2
    fact_questions: float = 0.0
    init: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    retriever: RetrieverConfig = field(default_factory=RetrieverConfig)
    encoder_stage: EncoderStage = field(default_factory=EncoderStage)
    reasoner_stage: ReasonerStage = field(default_factory=ReasonerStage)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with values that are of the right type."""
        if self.split.startswith("test"):
            yield f"split {self.split!r} is a test split; train on train0 … train4 or all"
        if not 0 <= self.held_out < 0.9:
            yield f"held_out {self.held_out} is not in [0, 0.9)"
        if self.folds < 1:
            yield f"folds {self.folds} is less than 1"
        if not 0 <= self.fact_questions <= 10:
            yield f"fact_questions {self.fact_questions} is not in [0, 10]"
        if not 0 <= self.calibration < 0.9:
            yield f"calibration {self.calibration} is not in [0, 0.9)"
        if self.encoder_stage.adversarial is not None:
            for problem in self.encoder_stage.adversarial.problems():
                yield f"encoder_stage.adversarial: {problem}"
