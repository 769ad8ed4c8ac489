import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions, box_geometry, check_regions, read_regions, write_regions

CAT = Region("cat", 0.75, (10.0, 20.0, 60.0, 70.0))
REGIONS = Regions(
    "a.jpg", 100, 200, (CAT, Region("indoors", 0.5, None, "tag"), Region("a cat sits", 0.25, None, "caption"))
)


def test_geometry_is_relative_to_the_picture() -> None:
    np.testing.assert_allclose(
        box_geometry(REGIONS),
        [[0.1, 0.1, 0.6, 0.35, 0.125], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]],
        rtol=1e-6,
    )
    assert box_geometry(Regions("", 1, 1, ())).shape == (0, 5)


def test_a_written_file_reads_back_the_same(tmp_path: Path) -> None:
    regions = dataclasses.replace(
        REGIONS,
        detector="by hand",
        features=np.random.default_rng(0).standard_normal((3, 4), dtype=np.float32),
        image_feature=np.array([0.1, 3e-8], dtype=np.float32),
    )
    path = tmp_path / "new" / "a.json"
    write_regions(regions, path)
    read = read_regions(path, (100, 200))
    assert read == regions
    np.testing.assert_array_equal(read.features, regions.features)
    np.testing.assert_array_equal(read.image_feature, regions.image_feature)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["regions"][0] == {"label": "cat", "score": 0.75, "box": [10, 20, 60, 70]}
    assert record["regions"][1]["kind"] == "tag"


def test_a_picture_without_regions_reads_back(tmp_path: Path) -> None:
    write_regions(Regions("", 3, 4, ()), tmp_path / "a.json")
    assert read_regions(tmp_path / "a.json") == Regions("", 3, 4, ())


def test_regions_of_another_picture_are_refused(tmp_path: Path) -> None:
    write_regions(REGIONS, tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a\.json is for a picture of 100 x 200 pixels, this one has 50 x 200"):
        read_regions(tmp_path / "a.json", (50, 200))


def test_writing_to_a_file_as_folder_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_regions(REGIONS, tmp_path / "file" / "a.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_regions(REGIONS, tmp_path / "folder")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]  # no temporary file stays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": " "}, "region 1 has an empty label"),
        ({"score": 1.01}, r"region 1 \('cat'\) has score 1.01"),
        ({"score": math.nan}, "has score nan"),
        ({"kind": "thing"}, "has kind 'thing'; use one of: object, tag, caption"),
        ({"box": None}, "has no box"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "has the empty box"),
        ({"box": (5.0, 9.0, 6.0, 8.0)}, "has the empty box"),
        ({"box": (0.0, 0.0, math.inf, 9.0)}, "finite numbers"),
        ({"box": (-1.5, 0.0, 9.0, 9.0)}, "outside the picture of 100 x 200"),
        ({"box": (0.0, 0.0, 101.5, 9.0)}, "outside the picture"),
        ({"box": (0.0, 0.0, 9.0, 202.0)}, "outside the picture"),
    ],
)
def test_check_names_the_region(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_regions(Regions("", 100, 200, (CAT, dataclasses.replace(CAT, **change))))


def test_a_pixel_over_the_edge_is_tolerated() -> None:
    check_regions(Regions("", 100, 200, (dataclasses.replace(CAT, box=(-1.0, -0.5, 101.0, 200.5)),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "picture size 0 x 200"),
        ({"features": np.zeros((2, 4), np.float32)}, r"features have shape \(2, 4\) for 3 regions"),
        ({"features": np.zeros(3, np.float32)}, r"features have shape \(3,\)"),
        ({"features": np.full((3, 1), np.nan, np.float32)}, "features hold values that are not finite"),
        ({"image_feature": np.zeros((1, 4), np.float32)}, r"image feature has shape \(1, 4\)"),
        ({"image_feature": np.array([np.inf], np.float32)}, "image_feature hold values that are not finite"),
    ],
)
def test_check_finds_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_regions(dataclasses.replace(REGIONS, **change))


def _record(**change: Any) -> str:
    region = {"label": "cat", "score": 0.5, "box": [0, 0, 5, 5], **change.pop("region", {})}
    return json.dumps({"image": "a", "width": 10, "height": 10, "regions": [region], **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "key 'width' is missing"),
        (_record(regions={}), "regions is dict"),
        (_record(regions=[3]), "region 0 lacks label or score"),
        (_record(width=10.5), "width is 10.5; give a whole number"),
        (_record(width="10"), "width is '10'"),
        (_record(height=True), "height is True"),
        (_record(region={"label": 3}), "region 0 has label 3"),
        (_record(region={"score": "high"}), "the score of region 0 is 'high'"),
        (_record(region={"score": math.nan}), "has score nan"),
        (_record(region={"box": [0, 0, 5]}), r"region 0 has box \[0, 0, 5\]"),
        (_record(region={"box": [0, 0, 5, None]}), "the box of region 0 is None"),
        (_record(region={"box": [0, 0, 5, 10**400]}), "the box of region 0 is too large"),
        (_record(region={"kind": ["tag"]}), r"has kind \['tag'\]"),
        (_record(features=[[1, 2], [3]]), "features is not a regular list"),
    ],
)
def test_a_wrong_file_is_an_input_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_regions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        read_regions(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"image": "\xe9"}')
    with pytest.raises(InputError, match="is not JSON"):
        read_regions(tmp_path / "latin.json")
