"""What does it cost that only the question side is trained, and the vectors of facts stay as they are?

Two halves of FVQA's train0 by picture; for each, an encoder is trained on the other half as `configs/fvqa.yaml` says,
and together with it the fact side: facts are read by the same tuned language layers as the question, and the gold fact
has to win against the facts that the search finds hardest, anew at each step. The questions of the first half are then
asked twice: facts ranked by the frozen vectors of the knowledge base, and the first of these ranked again by the tuned
ones. With `--reasoner` the graph reasoner is trained on both, too (cross-validated by picture): does it still gain by
what the retriever gained?

    python benchmarks/fvqa_both_sides.py --root FVQA --kb KB --out FOLDER [--seed 0] [--hard 12] [--reasoner]

Nothing of a test split is read. The last line is a JSON object: recall in percent, `frozen` and `tuned`, and of the
reasoner answer and fact top-1.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kvqa.config import read_config
from kvqa.data.example import Example
from kvqa.data.fvqa import FvqaDataset
from kvqa.data.gold import allowed_facts, fact_file, facts_of_source, gold_fact_ids
from kvqa.data.graph_batch import GraphItem
from kvqa.data.graph_features import FACT_FEATURES
from kvqa.models.encoder import QuestionImageEncoder
from kvqa.models.graph import GraphReasoner, ReasonerConfig, mlp
from kvqa.models.model import KvqaModel, mixed_precision
from kvqa.models.predict import graph_items, predict
from kvqa.models.rows import Rows
from kvqa.models.text import TextFolder, mean_pool
from kvqa.training.encoder_stage import EncoderStage, SearchSpace, encoder_loss, like_lengths, optimizer_of
from kvqa.training.experiment import Experiment
from kvqa.training.finetune import is_right, split_by_image
from kvqa.training.objectives import class_loss
from kvqa.training.optim import linear_schedule
from kvqa.training.reasoner_stage import train_reasoner
from kvqa.training.state import seed_epoch
from kvqa.training.targets import Targets, build_targets, build_vocabulary
from retrieval.knowledge_base import KnowledgeBase
from retrieval.retriever import Retriever

TAU = 0.05
DEPTH = 80
"""Facts that are ranked again."""


class FactSide(nn.Module):
    """Trained vectors of facts, and the query that meets them, made from the encoder's query for facts.

    Args:
        tokens: Word pieces of each fact of the knowledge base.
    """

    def __init__(self, encoder: QuestionImageEncoder, tokens: Sequence[list[int]]) -> None:
        super().__init__()
        self.language, self.tokens = encoder.trunk.language, tokens
        self.query = nn.Linear(encoder.base.width, encoder.base.width, bias=False)
        self.fact = nn.Linear(encoder.base.width, encoder.base.width, bias=False)
        for linear in (self.query, self.fact):
            nn.init.eye_(linear.weight)

    def queries(self, fact_queries: Tensor) -> Tensor:
        """Return unit vectors (B, S)."""
        return F.normalize(self.query(fact_queries), dim=-1)

    def facts(self, ids: Sequence[int]) -> Tensor:
        """Return unit vectors (len(ids), S)."""
        pieces = torch.zeros(len(ids), max(len(self.tokens[i]) for i in ids), dtype=torch.long)
        mask = torch.zeros(pieces.shape, dtype=torch.bool)
        for row, fact in enumerate(ids):
            pieces[row, : len(self.tokens[fact])] = torch.tensor(self.tokens[fact])
            mask[row, : len(self.tokens[fact])] = True
        rows = Rows(mask, packed=True)
        states = self.language.encode(self.language.embed_words(pieces), torch.zeros_like(pieces), rows)
        return F.normalize(self.fact(mean_pool(rows.pad(states).float(), mask)), dim=-1)

    @torch.inference_mode()
    def table(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Return the vectors of many facts by id."""
        order = sorted(ids, key=lambda i: len(self.tokens[i]))
        parts = [order[start : start + 64] for start in range(0, len(order), 64)]
        return {i: v for part in parts for i, v in zip(part, self.facts(part).numpy(), strict=True)}


@dataclass(frozen=True)
class Study:
    """What every step needs: `examples` with their `targets`, a model, and which facts training may see."""

    experiment: Experiment
    examples: Sequence[Example]
    kb: KnowledgeBase
    model: KvqaModel
    allowed: NDArray[np.bool_]
    targets: Targets
    tokens: Sequence[list[int]]

    @classmethod
    def open(cls, config: Path, root: Path, kb_folder: Path, seed: int) -> Study:
        """Read the questions and open the knowledge base."""
        experiment = read_config(config, Experiment, split="train0", seed=seed)
        examples = FvqaDataset(root).examples("train0")
        text = TextFolder.find(experiment.model.text)
        kb = KnowledgeBase.open(kb_folder, encoder_sha256=text.sha256)
        torch.manual_seed(seed)
        model = KvqaModel(experiment.model, text, build_vocabulary(examples, at_least=experiment.vocabulary_at_least))
        allowed = allowed_facts(examples, kb, facts_of_source(kb, fact_file(root)))
        encoded = model.tokenizer.encode_batch(kb.store.fact_texts())
        tokens = [e.ids if len(e.ids) <= 32 else [*e.ids[:31], e.ids[-1]] for e in encoded]
        targets = build_targets(examples, kb, model.vocabulary)
        return cls(experiment, examples, kb, model, allowed, targets, tokens)

    def train(self, rows: Sequence[int], *, hard: int, name: str) -> FactSide:
        """Train the model's encoder and a fact side on the examples `rows`, from the start."""
        torch.manual_seed(self.experiment.seed)
        self.model.encoder = QuestionImageEncoder(self.model.encoder.base, self.model.encoder.config)
        self.model.labels.encoder = encoder = self.model.encoder
        side = FactSide(encoder, self.tokens)
        stage: EncoderStage = self.experiment.encoder_stage
        space = SearchSpace.of(self.kb, self.allowed, self.targets, seed=self.experiment.seed)
        optimizer = optimizer_of(encoder, stage)
        optimizer.add_param_group({"params": [side.query.weight, side.fact.weight], "lr": stage.lr_new})
        steps = -(-len(rows) // stage.batch)
        schedule = linear_schedule(optimizer, stage.fold_epochs * steps)
        examples, targets = [self.examples[i] for i in rows], self.targets.take(rows)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for epoch in range(stage.fold_epochs):
            rng, total = seed_epoch(self.experiment.seed, name, epoch), 0.0
            encoder.train()
            for batch in like_lengths(examples, stage.batch, rng):
                with mixed_precision(self.model.device):
                    out = encoder(self.model.collator()([examples[i] for i in batch]))
                    loss = encoder_loss(out, space, targets.take(batch), stage)
                    tuned = self._fact_loss(side, out.fact, space, targets.take(batch).fact, hard)
                (loss + tuned).backward()
                torch.nn.utils.clip_grad_norm_(parameters, stage.clip)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                total += tuned.item() * len(batch)
            print(f"{name}: epoch {epoch + 1}, loss of the fact side {total / len(rows):.3f}", flush=True)
        encoder.eval()
        return side

    def _fact_loss(
        self, side: FactSide, queries: Tensor, space: SearchSpace, gold: NDArray[np.int64], hard: int
    ) -> Tensor:
        """Return the cross-entropy of the gold facts (B,) among those that the search finds for any of the batch."""
        with torch.no_grad():
            found = (queries.to(space.facts.dtype) @ space.facts.T).topk(hard).indices.numpy()
        ids = np.unique(np.concatenate([found.ravel(), gold[gold >= 0]]))
        ids = ids[self.allowed[ids]]
        targets = np.where(gold >= 0, np.searchsorted(ids, gold), -1)
        logits = side.queries(queries) @ side.facts([int(i) for i in ids]).T / TAU
        return class_loss(logits.float(), torch.from_numpy(targets))


class WiderReasoner(GraphReasoner):
    """The graph reasoner with four more numbers of each fact."""

    def __init__(self, config: ReasonerConfig) -> None:
        super().__init__(config)
        self.fact_features = mlp(FACT_FEATURES + 4, config.width, config.width, config.dropout)


def with_tuned(item: GraphItem, scores: NDArray[np.float32]) -> GraphItem:
    """Return `item` with the tuned cosine of each fact, its distance to the best, rank and softmax share."""
    sharp = np.exp((scores - scores.max()) / TAU)
    ranks = np.argsort(np.argsort(-scores, kind="stable"))
    columns = [scores, (scores - scores.max()) * 5, np.log1p(ranks) / 5, sharp / sharp.sum()]
    more = np.stack(columns, axis=1).astype(np.float32)
    return replace(item, fact_features=np.concatenate([item.fact_features, more], axis=1))


def recall(ranked: NDArray[np.int64], gold: NDArray[np.int64]) -> dict[str, float]:
    """Return recall in percent at 1, 3 and 10."""
    hits = ranked == gold[:, None]
    return {f"recall_{k}": round(100 * float(hits[:, :k].any(1).mean()), 2) for k in (1, 3, 10)}


def reasoned(
    study: Study, items: Sequence[GraphItem], gold: NDArray[np.int64], reasoner: type[GraphReasoner], out: Path
) -> dict[str, float]:
    """Return answer and fact top-1 in percent, cross-validated over five parts of the pictures."""
    images = sorted({example.image for example in study.examples})
    random.Random(f"reasoner/{study.experiment.seed}").shuffle(images)
    fold_of = {image: number % 5 for number, image in enumerate(images)}
    answers, facts = [], []
    for fold in range(5):
        parts: tuple[list[int], list[int]] = ([], [])
        for i, example in enumerate(study.examples):
            parts[fold_of[example.image] == fold].append(i)
        train, test = parts
        torch.manual_seed(study.experiment.seed)
        study.model.reasoner = reasoner(study.model.config.reasoner)
        train_reasoner(
            study.model.reasoner,
            [items[i] for i in train],
            [study.examples[i] for i in train],
            [int(gold[i]) for i in train],
            study.kb,
            study.model.labels,
            study.experiment.reasoner_stage,
            seed=study.experiment.seed,
            name="reasoner",
            state=out / f"{reasoner.__name__}-{fold}.state",
            log=lambda line: None,
        )
        for i, prediction in zip(test, predict(study.model, [items[i] for i in test], study.kb), strict=True):
            answers.append(is_right(prediction, study.examples[i]))
            facts.append(prediction.ranked_facts()[0] == gold[i])
    found = {"answer_top1": float(np.mean(answers)), "fact_top1": float(np.mean(facts)), "questions": len(answers)}
    return {name: v if name == "questions" else round(100 * v, 2) for name, v in found.items()}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--kb", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for states of the reasoner")
    parser.add_argument("--config", type=Path, default=Path("configs/fvqa.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hard", type=int, default=12, help="facts found for each question that the gold fact meets")
    parser.add_argument("--reasoner", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = Study.open(options.config, options.root, options.kb, options.seed)
    gold = gold_fact_ids(study.examples, study.kb)
    settings = study.experiment.retriever
    retriever = Retriever(
        study.kb, dense=settings.dense, linked=settings.linked, likely=settings.likely, allowed=study.allowed
    )
    study.model.labels(sorted({"image"} | {r.label for e in study.examples for r in e.regions.regions}))
    texts = dict(enumerate(study.kb.store.entity_texts()))
    halves = split_by_image(study.examples, 0.5, seed=options.seed, salt="both sides")
    ranked = {name: np.full((len(gold), DEPTH), -1) for name in ("frozen", "tuned")}
    plain: dict[int, GraphItem] = {}
    tuned: dict[int, GraphItem] = {}
    for number, (asked, others) in enumerate((halves, halves[::-1])):
        side = study.train(others, hard=options.hard, name=f"half-{number}")
        examples = [study.examples[i] for i in asked]
        views = study.model.views(examples)
        queries = np.stack([view.fact for view in views])
        with torch.inference_mode():
            again = side.queries(torch.from_numpy(queries)).numpy()
        first = retriever.rank(queries, DEPTH)
        items = graph_items(study.model, examples, views, retriever, texts) if options.reasoner else []
        vectors = side.table(np.unique(np.concatenate([first.ravel(), *(i.evidence.fact_ids for i in items)])).tolist())
        for row, i in enumerate(asked):
            scores = np.stack([vectors[int(f)] for f in first[row]]) @ again[row]
            ranked["frozen"][i], ranked["tuned"][i] = first[row], first[row][np.argsort(-scores, kind="stable")]
            if items:
                plain[i] = items[row]
                found = np.stack([vectors[int(f)] for f in items[row].evidence.fact_ids]) @ again[row]
                tuned[i] = with_tuned(items[row], found)
    report: dict[str, object] = {name: recall(found, gold) for name, found in ranked.items()}
    if options.reasoner:
        rows = range(len(gold))
        report["reasoner"] = reasoned(study, [plain[i] for i in rows], gold, GraphReasoner, options.out)
        report["reasoner_tuned"] = reasoned(study, [tuned[i] for i in rows], gold, WiderReasoner, options.out)
    print(json.dumps({**report, "questions": len(gold), "kb": study.kb.manifest.id, "seed": options.seed}))


if __name__ == "__main__":
    main()
