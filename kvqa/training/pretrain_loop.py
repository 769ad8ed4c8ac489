"""The loop of pretraining: CPU, one GPU or several (torchrun), with exact resume.

Every batch draws its random numbers, dropout included, from a seed of its own, and which batch comes when follows
from seed and epoch. So weights, optimiser and the number of finished steps are the whole state: a run that was killed
goes on with the same losses, and one of two processes sees the batches of one that accumulates two.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import is_tensorboard_available, is_wandb_available
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.training.optim import adamw, linear_schedule, start_at
from kvqa.training.pretrain_config import RunConfig
from kvqa.training.pretrain_model import checkpoint_layers
from kvqa.training.state import load_state, save_state, settings_text, trainable
from retrieval.manifest import write_text_safely
from retrieval.precision import fast_bfloat16

Log = Callable[[str], None]
Advance = Callable[[str, int, int], None]
T = TypeVar("T")
STATE = "pretrain.state"
CURVE = "losses.jsonl"


class Learner(Protocol):
    """What the loop asks of a model beside being an `nn.Module` that maps a batch to unweighted losses by name."""

    @property
    def encoder(self) -> nn.Module:
        """The part that is checkpointed and compiled."""
        ...

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses."""
        ...

    def started(self) -> Iterable[nn.Parameter]:
        """Yield the parameters that start trained, and learn at the lower rate."""
        ...


class Settings(Protocol):
    """What the loop reads of an experiment; all of it, as text, is kept with the state."""

    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def run(self) -> RunConfig: ...  # noqa: D102


class BatchMaker(Protocol):
    """Makes batches of the pairs of one part."""

    @property
    def texts(self) -> Sequence[str]:
        """The texts of all pairs."""
        ...

    @property
    def pictures(self) -> Sequence[str]:
        """The pictures of all pairs, by identity."""
        ...

    def __call__(self, rows: Sequence[int], seed: int) -> Any:
        """Return the batch of the pairs at `rows`, which can be moved by `to(device)`; `seed` makes all chance."""
        ...


def plan_epoch(lengths: Sequence[int], batch: int, rng: random.Random, *, pool: int = 8) -> list[list[int]]:
    """Return all rows in random batches of like length, all of `batch` rows but the last of a pool."""
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    for first in range(0, len(order), batch * pool):
        rows = sorted(order[first : first + batch * pool], key=lambda i: lengths[i])
        batches += [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return rng.sample(batches, len(batches))


def choose_precision(run: RunConfig, device: str) -> str:
    """Return `no`, `bf16` or `fp16` for a torch device type.

    Raises:
        InputError: if `device` cannot do what the config wants.
    """
    if run.precision == "auto":
        return "bf16" if fast_bfloat16(device) else "no"
    if run.precision == "fp16" and device == "cpu":
        raise InputError("run.precision fp16 needs a GPU; use auto, bf16 or no on CPU")
    return run.precision


class PretrainRun:
    """Model, optimiser and accelerator of one run, and where its files are.

    Args:
        experiment: With everything that the result depends on, but the pairs.
        model: Also a `Learner`.
        kept: Makes batches of the pairs to train on.
        out: Folder of state (`pretrain.state`) and loss curve (`losses.jsonl`).

    Raises:
        InputError: if the hardware lacks the wanted precision.
    """

    def __init__(self, experiment: Settings, model: nn.Module, kept: BatchMaker, out: Path, log: Log) -> None:
        run = experiment.run
        device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = choose_precision(run, device)
        there = {"tensorboard": is_tensorboard_available(), "wandb": is_wandb_available()}
        self.experiment, self.model, self.collator, self.out = experiment, model, kept, out
        self.learner = learner = cast(Learner, model)
        self.trackers = [name for name in run.trackers if there[name]]
        self.accelerator = Accelerator(
            mixed_precision=precision,
            cpu=device == "cpu",
            log_with=self.trackers or None,
            project_dir=out,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.say: Log = log if self.accelerator.is_main_process else _silent
        self.group = self.accelerator.num_processes * run.accumulate
        self.batches = -(-len(kept.texts) // (run.batch * self.group)) * self.group  # of an epoch, whole steps
        total = run.epochs * self.batches // self.group
        self.steps = min(run.steps, total) if run.steps else total
        self.optimizer = _optimizer(model, learner, run)
        self.schedule = linear_schedule(self.optimizer, self.steps, warmup=run.warmup)
        if run.checkpointing:
            checkpoint_layers(learner.encoder)
        if run.compile:
            learner.encoder.compile(dynamic=True)
        self.wrapped, self.prepared = self.accelerator.prepare(model, self.optimizer)
        texts = hashlib.sha256(repr(list(zip(kept.pictures, kept.texts, strict=True))).encode()).hexdigest()
        self.settings = settings_text(experiment, texts, self.group, precision)

    def train(self, aside: BatchMaker | None, advance: Advance | None) -> dict[str, float]:
        """Take the steps that are missing; return the losses on held-out pairs.

        Raises:
            InputError: if the folder holds a run of other settings, or the loss is no number any more.
        """
        collator = self.collator
        run, main = self.experiment.run, self.accelerator.is_main_process
        done = load_state(self.out / STATE, self.model, self.optimizer, settings=self.settings)
        start_at(self.schedule, min(done, self.steps))
        if done:
            self.say(f"going on after step {done} of {self.steps}")
        per_epoch = self.batches // self.group
        self._start_trackers(done)
        self.model.train()
        held_out: dict[str, float] = {}
        with _curve(self.out / CURVE, done) if main else contextlib.nullcontext(_silent) as write:
            batches = _ahead(self._batches(collator, done), lambda item: collator(*item))
            for step in range(done, self.steps):
                losses = self._step(list(islice(batches, run.accumulate)))
                write(json.dumps({"step": step + 1, **losses}))
                self.accelerator.log(losses, step=step + 1)
                last = step + 1 == self.steps
                if main and ((step + 1) % run.save_every == 0 or last):
                    save_state(self.out / STATE, self.model, self.optimizer, epoch=step + 1, settings=self.settings)
                if advance and main:
                    pairs = run.batch * self.group
                    advance("pretraining", (step + 1) * pairs, self.steps * pairs)
                if (step + 1) % per_epoch == 0 or last:
                    held_out = self._held_out(aside)
                    self.accelerator.log({f"held_out/{k}": v for k, v in held_out.items()}, step=step + 1)
                    self._say_epoch(step + 1, losses, held_out)
        self.model.eval()
        return held_out or self._held_out(aside)

    def _batches(self, collator: BatchMaker, done: int) -> Iterator[tuple[list[int], int]]:
        """Yield rows and seed of each batch of this process, from step `done` on."""
        experiment, accelerator = self.experiment, self.accelerator
        lengths = [len(text) for text in collator.texts]
        each, me = accelerator.num_processes, accelerator.process_index
        for epoch in range(experiment.run.epochs):
            rng = random.Random(f"{experiment.seed}/pretraining/{epoch}")
            plan = plan_epoch(lengths, experiment.run.batch, rng)
            # The last step is filled up from the beginning, so that every process has something to do.
            plan = [plan[i % len(plan)] for i in range(self.batches)]
            for number in range(me, len(plan), each):
                if (epoch * self.batches + number) // self.group >= done:
                    yield plan[number], zlib.crc32(f"{experiment.seed}/{epoch}/{number}".encode())

    def _step(self, batches: Sequence[tuple[Any, int]]) -> dict[str, float]:
        """Take one step; return the mean losses over its batches, of all processes."""
        sums: dict[str, Tensor] = {}
        for number, (batch, seed) in enumerate(batches):
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                torch.manual_seed(seed)  # of dropout
                losses = self.wrapped(batch.to(self.accelerator.device))
                total = self.learner.total(losses)
                self.accelerator.backward(total / len(batches))
            for name, value in {"loss": total, **losses}.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach() / len(batches)
        self.accelerator.clip_grad_norm_(trainable(self.model).values(), self.experiment.run.clip)
        self.prepared.step()
        self.schedule.step()
        self.prepared.zero_grad()
        found = self.accelerator.reduce(sums, reduction="mean")
        values = {name: value.item() for name, value in found.items()}
        if not math.isfinite(values["loss"]):
            raise InputError(f"the loss is {values['loss']} ({values}); lower lr and lr_new, or use precision no")
        return values

    @torch.no_grad()
    def _held_out(self, collator: BatchMaker | None) -> dict[str, float]:
        """Return the mean losses on held-out pairs, always masked alike."""
        if collator is None:
            return {}
        self.model.eval()
        plan = plan_epoch([len(t) for t in collator.texts], self.experiment.run.batch, random.Random(0), pool=1)
        sums: dict[str, float] = {}
        for number, rows in enumerate(plan):
            with self.accelerator.autocast():
                losses = self.model(collator(rows, number).to(self.accelerator.device))
            for name, value in {"loss": self.learner.total(losses), **losses}.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(rows) / len(collator.texts)
        self.model.train()
        return sums

    def _start_trackers(self, done: int) -> None:
        if self.trackers:
            # What was drawn after the state was saved is drawn again.
            options = {"tensorboard": {"purge_step": done + 1}} if "tensorboard" in self.trackers else {}
            self.accelerator.init_trackers("curves", init_kwargs=options)

    def _say_epoch(self, step: int, losses: Mapping[str, float], held_out: Mapping[str, float]) -> None:
        shown = held_out or losses
        terms = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        self.say(f"step {step}/{self.steps}, {'held-out' if held_out else 'training'}: {terms}")


def _optimizer(model: nn.Module, learner: Learner, run: RunConfig) -> torch.optim.AdamW:
    """Return one optimiser with two rates: what starts trained, and what starts new."""
    started = {id(p) for p in learner.started()}
    everything = list(trainable(model).values())
    optimizer = adamw([p for p in everything if id(p) in started], lr=run.lr, weight_decay=run.weight_decay)
    new = [p for p in everything if id(p) not in started]
    for group in adamw(new, lr=run.lr_new, weight_decay=run.weight_decay).param_groups:
        optimizer.add_param_group(group)
    return optimizer


def _ahead(items: Iterable[tuple[T, int]], make: Callable[[tuple[T, int]], Any]) -> Iterator[Any]:
    """Yield what `make` makes of each item, and the item's seed, working one item ahead in another thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = []
        for item in items:
            waiting.append((pool.submit(make, item), item[1]))
            if len(waiting) > 1:
                future, seed = waiting.pop(0)
                yield future.result(), seed
        for future, seed in waiting:
            yield future.result(), seed


@contextlib.contextmanager
def _curve(path: Path, done: int) -> Iterator[Log]:
    """Give a function that appends a line to the loss curve, which first loses what comes after step `done`."""
    kept = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= done:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                break  # cut off in the middle of a line
    write_text_safely(path, "".join(kept))
    with path.open("a", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(line + "\n")
            file.flush()

        yield write


def _silent(line: str) -> None:
    """Say nothing: another process does."""
