"""The architecture, checked on the syntax tree: who may import whom, and what no file may do.

The rules stand in the tables below. Each is a function from a source tree to a list of complaints, so that the second
half of this file can show on small made-up trees that every rule is able to fail.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 450

# Package -> the packages of ours that it may import.
PACKAGES = {
    "kb": set[str](),
    "retrieval": {"kb"},
    "kvqa": {"kb", "retrieval"},
}

# Part of kvqa (a module or a subpackage) -> the other parts that it may import. A new part gets its line here.
LEAVES = {"cache", "config", "errors", "metrics", "progress", "provenance"}
FOUNDATION = LEAVES | {"vision", "data", "scoring"}
BELOW_BUILD = FOUNDATION | {"models"}
BELOW_CLI = BELOW_BUILD | {"build", "training", "answering", "evaluation", "explain", "contrast"}
LAYERS = {
    **{leaf: LEAVES for leaf in LEAVES},
    "scoring": LEAVES,
    "vision": FOUNDATION,
    "data": FOUNDATION,
    "models": FOUNDATION,
    "training": BELOW_BUILD,
    "build": BELOW_BUILD | {"training"},
    "answering": BELOW_BUILD,
    "evaluation": BELOW_BUILD | {"build", "answering", "explain"},
    "attack": BELOW_BUILD,
    "drawing": BELOW_BUILD | {"answering"},
    "explain": BELOW_BUILD | {"answering", "evaluation", "drawing"},
    "demo": BELOW_BUILD | {"answering", "explain"},
    "contrast": LEAVES | {"scoring"},
    "cli": BELOW_CLI | {"attack", "demo"},
    "__main__": {"cli"},
    "__init__": BELOW_CLI,  # the front door; what it imports eagerly is held down by `slow_start`
}

# From part, never to reach these parts, not even through others.
NEVER_REACHES = {
    "training": {"answering", "evaluation", "explain", "cli"},
    "answering": {"training"},
}

NOT_IN_KB = {"PIL", "faiss", "onnxruntime", "sentence_transformers", "skimage", "torch", "torchvision", "transformers"}

# Libraries that take long to import; `kvqa --help` must not wait for them.
HEAVY = {
    "accelerate",
    "faiss",
    "h5py",
    "matplotlib",
    "model2vec",
    "onnxruntime",
    "pyarrow",
    "pyoxigraph",
    "ray",
    "scipy",
    "sentence_transformers",
    "skimage",
    "sklearn",
    "spacy",
    "sqlalchemy",
    "tensorboard",
    "thinc",
    "torch",
    "transformers",
}

# Whatever reads a pickle can run code that a stranger wrote.
UNPICKLES = {
    *(f"{module}.{name}" for module in ("pickle", "cloudpickle", "dill") for name in ("load", "loads", "Unpickler")),
    "joblib.load",
    "pandas.read_pickle",
    "shelve.open",
    "torch.load",
}


# --- reading a source tree -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported module by its full dotted name, such as `kvqa.models.text` or `torch.nn`."""

    target: str
    line: int
    eager: bool  # runs when the importing module is imported: not inside a function, not under TYPE_CHECKING


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    text: str
    syntax: ast.Module
    imports: list[Import]

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """Which line of LAYERS a module of kvqa belongs to."""
        return [*self.name.split("."), "__init__"][1]


Tree = dict[str, Module]


def read_tree(root: Path) -> Tree:
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    tree = {}
    for name, path in paths.items():
        text = path.read_text(encoding="utf-8")
        syntax = ast.parse(text, filename=str(path))
        base = name if path.stem == "__init__" else name.rpartition(".")[0]
        imports = [
            Import(target, statement.lineno, eager)
            for statement, eager in _import_statements(syntax, eager=True)
            for target in _targets(statement, base, known=paths.keys())
        ]
        tree[name] = Module(name, path.relative_to(root), text, syntax, imports)
    return tree


def _import_statements(node: ast.AST, *, eager: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, eager
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.body:
            yield from _import_statements(child, eager=False)
        for child in node.orelse:
            yield from _import_statements(child, eager=eager)
    else:
        runs_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.iter_child_nodes(node):
            yield from _import_statements(inner, eager=eager and not runs_later)


def _targets(statement: ast.Import | ast.ImportFrom, base: str, *, known: Collection[str]) -> Iterator[str]:
    """Yield the modules that `statement` names; `from a import b` is a.b where that is a module, and a otherwise."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    source = statement.module or ""
    if statement.level:
        parents = base.split(".")
        parents = parents[: len(parents) - statement.level + 1]
        source = ".".join([*parents, source] if source else parents)
    for alias in statement.names:
        submodule = f"{source}.{alias.name}"
        if submodule in known:
            yield submodule
        elif alias.name != "__version__":  # asking a package for its version is no dependency on what it contains
            yield source


def _ours(tree: Tree, target: str) -> Module | None:
    """Return our module that importing `target` runs, None for a library."""
    if target.partition(".")[0] not in PACKAGES:
        return None
    while target and target not in tree:
        target = target.rpartition(".")[0]
    return tree.get(target)


# --- the rules -------------------------------------------------------------------------------------------------------


def package_violations(tree: Tree) -> list[str]:
    return [
        f"{module.path}:{found.line}: {module.package} may not import {found.target}; "
        f"it may import {', '.join(sorted(PACKAGES[module.package])) or 'no package of ours'}"
        for module in tree.values()
        for found in module.imports
        if (top := found.target.partition(".")[0]) in PACKAGES
        and top != module.package
        and top not in PACKAGES[module.package]
    ]


def kb_library_violations(tree: Tree) -> list[str]:
    return [
        f"{module.path}:{found.line}: kb knows neither models nor images, but imports {found.target}"
        for module in tree.values()
        for found in module.imports
        if module.package == "kb" and found.target.partition(".")[0] in NOT_IN_KB
    ]


def outside_imports(tree: Tree) -> list[str]:
    return [
        f"{module.path}:{found.line}: a package may not import {found.target}, which is not installed with it"
        for module in tree.values()
        for found in module.imports
        if found.target.partition(".")[0] in ("benchmarks", "scripts", "tests")
    ]


def unplaced_parts(tree: Tree) -> list[str]:
    parts = {module.part: module for module in tree.values() if module.package == "kvqa"}
    return [
        f"{module.path}: kvqa.{part} has no place in LAYERS in tests/test_layers.py; add the line that says "
        "what it may import"
        for part, module in parts.items()
        if part not in LAYERS
    ]


def layer_violations(tree: Tree) -> list[str]:
    complaints = []
    for module in tree.values():
        if module.package != "kvqa" or module.part not in LAYERS:
            continue
        for found in module.imports:
            other = _ours(tree, found.target)
            if other is None or other.package != "kvqa" or other.part == module.part:
                continue
            if other.part not in LAYERS[module.part]:
                allowed = ", ".join(sorted(LAYERS[module.part]))
                complaints.append(
                    f"{module.path}:{found.line}: kvqa.{module.part} may not import kvqa.{other.part} "
                    f"({found.target}); it may import {allowed}"
                )
    return complaints


def reach_violations(tree: Tree) -> list[str]:
    complaints = []
    for part, forbidden in NEVER_REACHES.items():
        starts = [module.name for module in tree.values() if module.package == "kvqa" and module.part == part]
        for name, chain in _reached(tree, starts, eager_only=False).items():
            if tree[name].package == "kvqa" and tree[name].part in forbidden:
                complaints.append(f"kvqa.{part} must never reach kvqa.{tree[name].part}: {' -> '.join(chain)}")
    return complaints


def import_cycles(tree: Tree) -> list[str]:
    graph = {
        name: {
            other.name
            for found in module.imports
            if found.eager and (other := _ours(tree, found.target)) is not None and other is not module
        }
        for name, module in tree.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"modules that import one another: {' -> '.join(reversed(error.args[1]))}"]
    return []


def slow_start(tree: Tree, start: str = "kvqa.cli") -> list[str]:
    complaints = []
    for name, chain in _reached(tree, [start] if start in tree else [], eager_only=True).items():
        complaints += [
            f"{tree[name].path}:{found.line}: importing {start} imports {found.target}: "
            f"{' -> '.join([*chain, found.target])}; import it inside the function that needs it"
            for found in tree[name].imports
            if found.eager and found.target.partition(".")[0] in HEAVY
        ]
    return complaints


def _reached(tree: Tree, starts: list[str], *, eager_only: bool) -> dict[str, list[str]]:
    """Return every module of ours that importing `starts` leads to, with the chain of imports that leads there.

    With `eager_only` that is what Python would run: also the packages around a module, and no import inside a function.
    """
    chains = {start: [start] for start in starts}
    queue = list(starts)
    while queue:
        name = queue.pop(0)
        targets = [found.target for found in tree[name].imports if found.eager or not eager_only]
        if eager_only:
            targets = [parent for target in [name, *targets] for parent in _with_parents(target)]
        for target in targets:
            other = _ours(tree, target)
            if other is not None and other.name not in chains:
                chains[other.name] = [*chains[name], other.name]
                queue.append(other.name)
    return chains


def _with_parents(target: str) -> list[str]:
    names = target.split(".")
    return [".".join(names[:count]) for count in range(1, len(names) + 1)]


def long_files(tree: Tree) -> list[str]:
    return [
        f"{module.path}: {count} lines, at most {MAX_LINES}; split it by idea"
        for module in tree.values()
        if (count := len(module.text.splitlines())) > MAX_LINES
    ]


def unpickling(tree: Tree) -> list[str]:
    complaints = []
    for module in tree.values():
        aliases = _aliases(module.syntax)
        for node in ast.walk(module.syntax):
            if isinstance(node, ast.Attribute | ast.Name) and (name := _full_name(node, aliases)) in UNPICKLES:
                complaints.append(f"{module.path}:{node.lineno}: {name} unpickles; weights and data are never pickles")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not _is_false(node.value):
                complaints.append(f"{module.path}:{node.value.lineno}: allow_pickle may only be False")
    return complaints


def _aliases(syntax: ast.Module) -> dict[str, str]:
    """Return what the imported names of a file stand for: {"np": "numpy", "load": "torch.load"}."""
    aliases: dict[str, str] = {}
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return aliases


def _full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    """Return the dotted name behind `pkl.load`, "" for anything that is not a dotted name."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (base := _full_name(node.value, aliases)):
        return f"{base}.{node.attr}"
    return ""


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


# --- the rules, held against our own source --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree(ROOT)


def test_packages_import_downwards_only(tree: Tree) -> None:
    _expect_none(package_violations(tree))


def test_kb_knows_neither_models_nor_images(tree: Tree) -> None:
    _expect_none(kb_library_violations(tree))


def test_packages_import_no_scripts_and_no_tests(tree: Tree) -> None:
    _expect_none(outside_imports(tree))


def test_every_part_of_kvqa_has_a_place(tree: Tree) -> None:
    _expect_none(unplaced_parts(tree))


def test_kvqa_layers_import_downwards_only(tree: Tree) -> None:
    _expect_none(layer_violations(tree))


def test_training_and_answering_never_reach_each_other(tree: Tree) -> None:
    _expect_none(reach_violations(tree))


def test_no_import_cycles(tree: Tree) -> None:
    _expect_none(import_cycles(tree))


def test_no_import_of_the_command_line_leads_to_a_heavy_library(tree: Tree) -> None:
    _expect_none(slow_start(tree))


def test_importing_the_command_line_loads_no_heavy_library() -> None:
    program = f"import sys, kvqa.cli; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"import kvqa.cli loads {done.stdout.strip()}"


def test_files_are_short_enough_to_read(tree: Tree) -> None:
    _expect_none(long_files(tree))


def test_nothing_is_unpickled(tree: Tree) -> None:
    _expect_none(unpickling(tree))


def _expect_none(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


# --- the rules, held against made-up trees ---------------------------------------------------------------------------

Rule = Callable[[Tree], list[str]]

WRONG: list[tuple[Rule, str, str]] = [
    (package_violations, "kb/store.py: import retrieval.index", "kb may not import retrieval.index"),
    (package_violations, "retrieval/index.py: def f(): from kvqa import data", "retrieval may not import kvqa"),
    (kb_library_violations, "kb/store.py: from PIL import Image", "kb knows neither models nor images"),
    (outside_imports, "kvqa/data/okvqa.py: from scripts.fetch import url", "may not import scripts.fetch"),
    (unplaced_parts, "kvqa/helpers.py:", "kvqa.helpers has no place in LAYERS"),
    (
        layer_violations,
        "kvqa/vision/grid.py: from kvqa.models.text import Text | kvqa/models/text.py:",
        "kvqa/vision/grid.py:1: kvqa.vision may not import kvqa.models",
    ),
    (
        layer_violations,
        "kvqa/training/loop.py: from ..answering import Answer | kvqa/answering.py:",
        "kvqa.training may not import kvqa.answering",
    ),
    (
        layer_violations,
        "kvqa/answering.py: def load(): from . import build | kvqa/build.py:",
        "kvqa.answering may not import kvqa.build",
    ),
    (
        layer_violations,
        "kvqa/errors.py: if TYPE_CHECKING: from kvqa.data import Example | kvqa/data/__init__.py:",
        "kvqa.errors may not import kvqa.data",
    ),
    (
        layer_violations,
        "kvqa/models/model.py: from kvqa import answer | kvqa/__init__.py:",
        "kvqa.models may not import kvqa.__init__",
    ),
    (
        reach_violations,
        "kvqa/training/loop.py: import kvqa.build | kvqa/build.py: import kvqa.answering | kvqa/answering.py:",
        "kvqa.training.loop -> kvqa.build -> kvqa.answering",
    ),
    (
        import_cycles,
        "kb/a.py: from kb import b | kb/b.py: from .c import x | kb/c.py: import kb.a | kb/__init__.py:",
        "kb.a -> kb.b -> kb.c -> kb.a",
    ),
    (
        import_cycles,
        "kb/__init__.py: from kb.a import A | kb/a.py: from kb import A",
        "modules that import one another",
    ),
    (slow_start, "kvqa/cli.py: import torch.nn", "importing kvqa.cli imports torch.nn"),
    (
        slow_start,
        "kvqa/cli.py: from kvqa import errors | kvqa/errors.py: if sys.argv: import spacy",
        "kvqa.cli -> kvqa.errors -> spacy",
    ),
    (
        slow_start,
        "kvqa/cli.py: | kvqa/__init__.py: from kvqa.answering import ask | kvqa/answering.py: import torch",
        "kvqa.cli -> kvqa -> kvqa.answering -> torch",
    ),
    (
        slow_start,
        "kvqa/cli.py: import kb.triple | kb/__init__.py: from sqlalchemy import select | kb/triple.py:",
        "kvqa.cli -> kb -> sqlalchemy",
    ),
    (long_files, "kb/store.py: x = 1" + 450 * "\n#", "451 lines, at most 450"),
    (unpickling, "kb/store.py: import pickle as pkl; load = pkl.load", "kb/store.py:1: pickle.load unpickles"),
    (unpickling, "kvqa/models/model.py: from torch import load; load('w')", "torch.load unpickles"),
    (unpickling, "retrieval/index.py: np.load(path, allow_pickle=True)", "allow_pickle may only be False"),
]

RIGHT = """
  kb/__init__.py: from kb.triple import Triple
| kb/triple.py: import json
| kb/store.py: from kb.triple import Triple; from sqlalchemy import select
| retrieval/index.py: import faiss; from kb import Triple; np.load(path, allow_pickle=False)
| kvqa/__init__.py: def __getattr__(name): from kvqa.answering import ask
| kvqa/errors.py:
| kvqa/metrics.py: from .errors import MetricError
| kvqa/data/example.py: from kvqa import errors
| kvqa/vision/grid.py: import torch; from kvqa.data.example import Example
| kvqa/models/model.py: import torch; from kvqa import __version__; from ..data import example
| kvqa/training/finetune.py: from kvqa.models.model import Model; from kvqa.metrics import accuracy
| kvqa/build.py: from kvqa.training.finetune import finetune
| kvqa/answering.py: from kvqa.models import model; from retrieval.index import FactIndex
| kvqa/explain.py: from kvqa.answering import ask
| kvqa/evaluation/fvqa.py: from kvqa import answering, build
| kvqa/cli.py: def demo(): import torch; from kvqa.evaluation import fvqa
| kvqa/__main__.py: from kvqa.cli import main
"""

RULES: list[Rule] = [
    package_violations,
    kb_library_violations,
    outside_imports,
    unplaced_parts,
    layer_violations,
    reach_violations,
    import_cycles,
    slow_start,
    long_files,
    unpickling,
]


@pytest.mark.parametrize(("rule", "files", "complaint"), WRONG)
def test_the_rule_catches(rule: Rule, files: str, complaint: str, tmp_path: Path) -> None:
    found = rule(_made_up(tmp_path, files))
    assert any(complaint in line for line in found), found


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_accepts_a_tree_that_keeps_it(rule: Rule, tmp_path: Path) -> None:
    assert rule(_made_up(tmp_path, RIGHT)) == []


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in WRONG} == set(RULES)


def _made_up(root: Path, files: str) -> Tree:
    """Write `files`, each as `path: code` with bars between them, and read them back."""
    for file in files.split("|"):
        name, _, code = file.strip().partition(":")
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code.lstrip(" "), encoding="utf-8")
    return read_tree(root)
