"""The photos and questions of the demo.

The photos lie inside the package scikit-image, whose `skimage.data` says where each comes from; none is shipped here.
The region files beside this module were made from them with `YoloxDetector` (YOLOX-Nano, score threshold 0.25).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from kvqa.errors import InputError

PHOTOS: dict[str, str] = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
}
"""Name of a demo photo to its file in `skimage/data`."""


@dataclass(frozen=True)
class DemoItem:
    """One question of the demo: `name` is a key of `PHOTOS`."""

    name: str
    question: str

    @property
    def photo(self) -> str:
        """File name of the photo in `skimage/data`."""
        return PHOTOS[self.name]


DEMO: tuple[DemoItem, ...] = (
    DemoItem("cat", "Which animal in this image can catch mice?"),
    DemoItem("cat", "What does the animal in this image like to chase?"),
    DemoItem("coffee", "What is the object in this image used for?"),
    DemoItem("coffee", "Which object in this image can hold coffee?"),
    DemoItem("motorcycle", "Which vehicle in this image has two wheels?"),
    DemoItem("motorcycle", "What is the vehicle in this image used for?"),
    DemoItem("astronaut", "What in this image is capable of learning a language?"),
    DemoItem("camera", "Who in this image can take a photograph?"),
)


def demo_photo_path(name: str) -> Path:
    """Return where the demo photo `name` lies, without importing scikit-image.

    Raises:
        InputError: if there is no such demo photo, or scikit-image or its file is missing.
    """
    if name not in PHOTOS:
        raise InputError(f"there is no demo photo {name!r}; use one of: {', '.join(PHOTOS)}")
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise InputError("the demo photos are in scikit-image, which is missing; run: pip install 'kvqa[demo]'")
    path = Path(package.origin).parent / "data" / PHOTOS[name]
    if not path.is_file():
        raise InputError(f"scikit-image has no {path}; run: pip install --force-reinstall scikit-image")
    return path


def demo_regions_path(name: str) -> Path:
    """Return where the region file of the demo photo `name` lies.

    Raises:
        InputError: if there is no such demo photo.
    """
    if name not in PHOTOS:
        raise InputError(f"there is no demo photo {name!r}; use one of: {', '.join(PHOTOS)}")
    return Path(str(files(__package__) / f"{name}.regions.json"))
