import json
import multiprocessing
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kvqa.data.feature_files import Broken, check_folder, write_features
from kvqa.data.features import FeatureManifest, FeatureStore, ImageFeatures, check_features
from kvqa.errors import InputError
from kvqa.vision.regions import check_regions


def _item(image_id: str, regions: int = 3, width: int = 8, seed: int = 0) -> ImageFeatures:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, (regions, 2)).astype(np.float32)
    boxes = np.concatenate([low, low + 10], axis=1)
    return ImageFeatures(image_id, 100, 80, boxes, rng.standard_normal((regions, width)).astype(np.float32))


ITEMS = [_item("a", 3, seed=1), _item("b", 1, seed=2), _item("c", 4, seed=3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_features(ITEMS, tmp_path / "features", source="by hand")
    return tmp_path / "features"


def _changed(values: NDArray[Any], row: int, value: float) -> NDArray[Any]:
    changed = values.copy()
    changed[row, 1] = value
    return changed


def test_what_is_written_is_read_again(folder: Path) -> None:
    store = FeatureStore(folder)

    assert list(store) == ["a", "b", "c"] and "b" in store and "d" not in store
    for item in ITEMS:
        found = store[item.image_id]
        assert (found.width, found.height) == (100, 80)
        np.testing.assert_array_equal(found.boxes, item.boxes)
        np.testing.assert_array_equal(found.features, item.features.astype(np.float16))
    assert isinstance(store.features, np.memmap)


def test_a_batch_is_padded_and_masked(folder: Path) -> None:
    features, boxes, mask = FeatureStore(folder).batch(["b", "c"])

    assert features.shape == (2, 4, 8) and features.dtype == torch.float32
    assert mask.tolist() == [[True, False, False, False], [True] * 4]
    assert not features[0, 1:].any() and not boxes[0, 1:].any()
    np.testing.assert_array_equal(features[1].numpy(), ITEMS[2].features.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(boxes[1].numpy(), ITEMS[2].boxes / [100, 80, 100, 80], rtol=1e-6)
    assert FeatureStore(folder).batch(["a"], dtype=torch.float16).features.dtype == torch.float16


def test_labels_travel_along_and_name_regions(tmp_path: Path) -> None:
    labels = {"objects": np.array([1, 0, 1]), "object_scores": np.array([0.9, 0.5, 0.25], dtype=np.float32)}
    write_features([replace(ITEMS[0], **labels)], tmp_path / "f")
    store = FeatureStore(tmp_path / "f")

    regions = store.regions("a", ["cup", "cat"])

    check_regions(regions)
    assert [(r.label, r.score) for r in regions.regions] == [("cat", pytest.approx(0.9)), ("cup", 0.5), ("cat", 0.25)]
    assert regions.features is not None and regions.features.shape == (3, 8)
    assert {r.label for r in store.regions("a").regions} == {"object"}
    with pytest.raises(InputError, match=r"image 'a' has object 1, but there are 1 names"):
        store.regions("a", ["cup"])


def test_a_store_that_is_sent_to_a_process_maps_its_files_again(folder: Path) -> None:
    store = FeatureStore(folder)
    sent = pickle.dumps(store)

    assert len(sent) < 1000
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(store.__contains__, ["a", "z"]) == [True, False]


def test_boxes_are_cut_at_the_edge(tmp_path: Path) -> None:
    boxes = np.array([[-0.5, 0, 100.9, 80.5]], dtype=np.float32)

    write_features([replace(_item("a", 1), boxes=boxes)], tmp_path / "f")

    assert FeatureStore(tmp_path / "f")["a"].boxes.tolist() == [[0, 0, 100, 80]]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda i: replace(i, features=_changed(i.features, 2, np.nan)), r"image 'a', region 2, feature 1 is nan"),
        (lambda i: replace(i, features=_changed(i.features, 0, 1e6)), r"region 0, feature 1 is 1000000.*below 65504"),
        (lambda i: replace(i, features=i.features * [[1], [0], [1]]), r"'a', region 1 has only zeros .*never written"),
        (lambda i: replace(i, features=i.features[:2]), r"image 'a' has 2 regions and boxes of shape \(3, 4\)"),
        (lambda i: replace(i, features=i.features[:0]), r"image 'a' has features of shape \(0, 8\); .*at least one"),
        (lambda i: replace(i, features=i.features.astype("U4")), r"image 'a' has features of type <U4; give numbers"),
        (lambda i: replace(i, boxes=_changed(i.boxes, 1, np.inf)), r"image 'a', region 1 has the box \[.*inf"),
        (lambda i: replace(i, boxes=_changed(i.boxes, 1, 79.0)), r"image 'a', region 1 has the empty box"),
        (lambda i: replace(i, boxes=i.boxes + 60), r"'a', region \d has the box .* outside the image of 100 x 80"),
        (lambda i: replace(i, boxes=i.boxes - 60), r"'a', region \d has the box .* outside the image of 100 x 80"),
        (lambda i: replace(i, width=0), r"image 'a' has the size 0 x 80; give width and height"),
        (lambda i: replace(i, objects=np.zeros(2, np.int32)), r"'a' has 3 regions and objects of shape \(2,\)"),
        (
            lambda i: replace(i, object_scores=np.array([1, np.nan, 0], np.float32)),
            r"image 'a', region 1 has object_scores nan; give a number from 0 to 1",
        ),
    ],
)
def test_broken_images_are_named(broken: Callable[[ImageFeatures], ImageFeatures], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_features(broken(ITEMS[0]))


def test_too_many_regions_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"image 'c' has 4 regions, more than 3"):
        check_features(ITEMS[2], max_regions=3)
    with pytest.raises(InputError, match=r"image 'c' in .* has 4 regions, more than 3"):
        FeatureStore(folder, max_regions=3)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([*ITEMS, ITEMS[0]], r"image 'a' stands twice in the source"),
        ([*ITEMS, _item("d", width=9)], r"image 'd' has features of width 9, the others 8"),
        ([ITEMS[0], replace(ITEMS[1], objects=np.zeros(1, np.int32))], r"image 'b' has objects, unlike the images"),
        ([replace(ITEMS[0], image_id="x\ny")], r"image id 'x\\ny' is empty or has several lines"),
        ([ITEMS[0], Broken("q", "file.tsv, line 7: cut short")], r"file.tsv, line 7: cut short"),
        ([], r"no image with features in the source; it is empty"),
    ],
)
def test_a_source_that_is_not_sound_leaves_nothing(tmp_path: Path, items: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_features(items, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_broken_images_can_be_left_out_but_not_silently(tmp_path: Path) -> None:
    spoiled = replace(ITEMS[1], features=ITEMS[1].features * np.nan)

    write_features([ITEMS[0], spoiled, Broken("q", "line 3 is cut short")], tmp_path / "f", skip_broken=True)

    store = FeatureStore(tmp_path / "f")
    assert list(store) == ["a"] and set(store.manifest.left_out) == {"b", "q"}
    with pytest.raises(InputError, match=r"no features of image 'q'; it was left out .*: line 3 is cut short"):
        store.batch(["a", "q"])
    with pytest.raises(InputError, match=r"no features of image 'z'; convert them with this image"):
        store["z"]


def test_an_existing_folder_is_kept_unless_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"features exists; give another folder, or --overwrite"):
        write_features(ITEMS, folder)
    write_features(ITEMS[:1], folder, overwrite=True)
    assert list(FeatureStore(folder)) == ["a"]
    assert [path.name for path in folder.parent.iterdir()] == ["features"]


def test_other_folders_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"photos exists"):
        write_features(ITEMS, tmp_path / "photos", overwrite=True)


def test_a_folder_that_was_cut_short_is_refused_at_once(folder: Path) -> None:
    with (folder / "features.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(InputError, match=r"features.npy has 200 bytes, not 256: .* convert the features again"):
        FeatureStore(folder)
    (folder / "features.npy").unlink()
    with pytest.raises(InputError, match=r"features.npy is missing"):
        FeatureStore(folder)


def test_changed_bytes_are_found_by_a_check_and_nan_by_reading(folder: Path) -> None:
    assert check_folder(folder).regions == 8
    values = np.load(folder / "features.npy", mmap_mode="r+")
    values[3] = np.nan  # the one region of b
    values.flush()
    del values

    with pytest.raises(InputError, match=r"features.npy was altered .*checksum differs"):
        check_folder(folder)
    with pytest.raises(InputError, match=r"image 'b' in .* has features that are not finite"):
        FeatureStore(folder).batch(["a", "b"])


def test_a_check_looks_at_every_row(folder: Path) -> None:
    values = np.load(folder / "features.npy")
    values[7] = 0
    np.save(folder / "features.npy", values)
    record = json.loads((folder / "manifest.json").read_text())
    record["files"] = {name: record["files"][name] for name in ("boxes.npy",)}  # as if its writer had not looked
    (folder / "manifest.json").write_text(json.dumps(record))

    with pytest.raises(InputError, match=r"image 'c', region 3 has only zeros"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", b"{", r"manifest.json is damaged"),
        ("manifest.json", b'{"format": 9}', r"has format 9, this version reads 1"),
        ("manifest.json", b'{"format": 1, "images": 3}', r"manifest.json is damaged"),
        ("ids.txt", b"a\nb\nb\n", r"ids.txt does not name 3 different images"),
    ],
)
def test_damaged_folders_are_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        FeatureStore(folder)


def test_offsets_must_rise(folder: Path) -> None:
    np.save(folder / "offsets.npy", np.array([0, 3, 3, 8]))
    with pytest.raises(InputError, match=r"offsets.npy does not rise from 0 to 8"):
        FeatureStore(folder)


def test_arrays_must_have_the_shape_that_the_manifest_says(folder: Path) -> None:
    manifest = FeatureManifest.read(folder)
    replace(manifest, width=4).write(folder)
    with pytest.raises(InputError, match=r"features.npy holds float16 \(8, 8\), not float16 \(8, 4\)"):
        FeatureStore(folder)


def test_no_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no feature folder .* kvqa features convert SOURCE --out"):
        FeatureStore(tmp_path / "none")
