import base64
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from kvqa.cli import app
from kvqa.data.feature_files import Broken
from kvqa.data.feature_formats import read_features
from kvqa.data.features import FeatureStore, ImageFeatures
from kvqa.errors import InputError

h5py = pytest.importorskip("h5py")

BOXES = np.array([[0, 0, 50, 40], [10, 20, 100, 80]], dtype=np.float32)
FEATURES = np.arange(1, 11, dtype=np.float32).reshape(2, 5)


def _b64(values: NDArray[Any]) -> bytes:
    return base64.b64encode(np.ascontiguousarray(values).tobytes())


def _bottom_up(image_id: str = "42", count: int = 2) -> bytes:
    return b"\t".join([image_id.encode(), b"100", b"80", str(count).encode(), _b64(BOXES), _b64(FEATURES)]) + b"\n"


def _lxmert(image_id: str = "COCO_val2014_000000000042") -> bytes:
    objects, confidence = np.array([7, 1599]), np.array([0.5, 0.25], dtype=np.float32)
    fields = [image_id.encode(), b"80", b"100", _b64(objects), _b64(confidence), _b64(objects - 7), _b64(confidence)]
    return b"\t".join([*fields, b"2", _b64(BOXES), _b64(FEATURES)]) + b"\n"


def _one(source: Path, **options: Path) -> ImageFeatures:
    (item,) = list(read_features(source, **options))
    assert isinstance(item, ImageFeatures), item.reason
    return item


def _check(item: ImageFeatures, image_id: str) -> None:
    assert (item.image_id, item.width, item.height) == (image_id, 100, 80)
    np.testing.assert_array_equal(item.boxes, BOXES)
    np.testing.assert_array_equal(item.features, FEATURES)


def _broken(source: Path, **options: Path) -> str:
    *_, item = list(read_features(source, **options))
    assert isinstance(item, Broken)
    return item.reason


def test_bottom_up_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(_bottom_up())
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(_bottom_up()))

    _check(_one(tmp_path / "a.tsv"), "42")
    _check(_one(tmp_path / "b.tsv.gz"), "42")


def test_lxmert_tsv_has_height_first_and_labels(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(_lxmert())

    item = _one(tmp_path / "a.tsv")

    _check(item, "COCO_val2014_000000000042")
    assert item.objects is not None and item.objects.tolist() == [7, 1599]
    assert item.attributes is not None and item.attributes.tolist() == [0, 1592]
    assert item.object_scores is not None and item.object_scores.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_bottom_up()[:-9], r"a.tsv, line 2, image '42': features .*cut short"),
        (_bottom_up()[:-30], r"line 2, image '42': features hold 3 numbers for 2 regions|not whole base64"),
        (_bottom_up()[:20], r"line 2 has 5 columns, not 6 .* or 10"),
        (_bottom_up(count=3), r"line 2, image '42': features hold 10 numbers for 3 regions"),
        (_bottom_up(count=1), r"line 2, image '42': boxes holds 8 numbers, not 4"),
        (_bottom_up(count=0), r"line 2, image '42': features hold 10 numbers for 0 regions"),
        (_bottom_up().replace(b"\t100\t", b"\twide\t"), r"line 2, image '42': image_w is b'wide', not a whole number"),
        (_bottom_up().replace(b"\t2\t", b"\t2\t#"), r"line 2, image '42': boxes is not whole base64"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "a.tsv").write_bytes(_bottom_up("7") + line)
    reason = _broken(tmp_path / "a.tsv")
    with pytest.raises(InputError, match=message):
        raise InputError(reason)


def test_a_gzip_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = b"\n" + base64.b64encode(rng.bytes(4000))
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(_bottom_up() + noise)[:-100])
    assert "cannot be read on" in _broken(tmp_path / "a.tsv.gz")


def _table(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


SPATIAL = np.concatenate([BOXES / [100, 80, 100, 80], np.ones((2, 2))], axis=1).astype(np.float32)


def test_hdf5_with_a_fixed_number_of_boxes(tmp_path: Path) -> None:
    arrays = {"image_features": FEATURES[None], "image_bb": BOXES[None], "spatial_features": SPATIAL[None]}
    source = _table(tmp_path / "a.hdf5", **arrays)
    (tmp_path / "ids.json").write_text(json.dumps({"42": 0}))

    _check(_one(source, ids=tmp_path / "ids.json"), "42")
    with pytest.raises(InputError, match=r"does not say which row is which image; .* --ids"):
        list(read_features(source))


def test_hdf5_with_a_number_of_boxes_of_its_own(tmp_path: Path) -> None:
    arrays = {
        "image_features": np.concatenate([FEATURES, FEATURES[:1]]),
        "image_bb": np.concatenate([BOXES, BOXES[:1]]),
    }
    arrays["spatial_features"] = np.concatenate([SPATIAL, SPATIAL[:1]])
    source = _table(tmp_path / "a.h5", pos_boxes=[[0, 2], [2, 3]], image_ids=[42, 43], **arrays)

    first, second = list(read_features(source))

    assert isinstance(first, ImageFeatures) and isinstance(second, ImageFeatures)
    _check(first, "42")
    assert second.image_id == "43" and second.features.tolist() == FEATURES[:1].tolist()


def test_hdf5_with_missing_rows_is_named(tmp_path: Path) -> None:
    source = _table(
        tmp_path / "a.h5", pos_boxes=[[0, 2], [2, 4]], image_ids=[b"x", b"y"], image_features=FEATURES, image_bb=BOXES
    )
    sizes = tmp_path / "sizes.json"
    sizes.write_text('{"x": [100, 80]}')

    assert "row 1, image 'y': pos_boxes says rows 2 to 4 of 2; rows are missing" in _broken(source, sizes=sizes)
    first, _ = read_features(source)
    assert isinstance(first, Broken) and "no spatial_features; give --sizes" in first.reason


@pytest.mark.parametrize(("features", "boxes"), [("42/features", "42/boxes"), ("features/42", "boxes/42")])
def test_hdf5_with_an_entry_an_image(tmp_path: Path, features: str, boxes: str) -> None:
    source = _table(tmp_path / "a.h5", **{features: FEATURES, boxes: BOXES})
    with h5py.File(source, "a") as file:
        file[features].attrs.update(image_w=100, image_h=80)
    _check(_one(source), "42")


def test_hdf5_of_the_meshed_memory_transformer(tmp_path: Path) -> None:
    source = _table(tmp_path / "a.hdf5", **{"42_features": FEATURES, "42_boxes": BOXES, "42_cls_prob": FEATURES})
    (tmp_path / "sizes.json").write_text('{"42": [100, 80]}')

    _check(_one(source, sizes=tmp_path / "sizes.json"), "42")
    assert "image '42': its size is not known (image_w and image_h); give --sizes" in _broken(source)


def test_hdf5_that_is_broken_or_unknown_is_refused(tmp_path: Path) -> None:
    source = _table(tmp_path / "a.h5", something=FEATURES)
    with pytest.raises(InputError, match=r"a.h5 holds something; known are image_features, ID/features"):
        list(read_features(source))
    _table(tmp_path / "b.h5", image_features=FEATURES[None])
    with pytest.raises(InputError, match=r"has image_features but no image_bb"):
        list(read_features(tmp_path / "b.h5"))
    (tmp_path / "c.h5").write_bytes(source.read_bytes()[:700])
    with pytest.raises(InputError, match=r"c.h5 cannot be opened as HDF5"):
        list(read_features(tmp_path / "c.h5"))
    _table(tmp_path / "d.h5", **{"1_features": FEATURES})
    assert "image '1': it has no 1_boxes" in _broken(tmp_path / "d.h5")


@pytest.mark.parametrize("names", [("x", "bbox"), ("features", "boxes")])
@pytest.mark.parametrize("transposed", [False, True])
def test_npz(tmp_path: Path, names: Sequence[str], transposed: bool) -> None:
    arrays: dict[str, Any] = {names[0]: FEATURES.T if transposed else FEATURES, names[1]: BOXES}
    np.savez_compressed(tmp_path / "42.jpg.npz", image_w=100, image_h=80, **arrays)
    _check(_one(tmp_path), "42")


def test_npz_with_a_pickle_inside_is_read_without_it(tmp_path: Path) -> None:
    info: Any = np.array({"objects": [1]}, dtype=object)
    np.savez(tmp_path / "42.npz", x=FEATURES, bbox=BOXES, image_w=100, image_h=80, info=info)
    _check(_one(tmp_path / "42.npz"), "42")
    np.savez(tmp_path / "42.npz", x=info, bbox=BOXES, image_w=100, image_h=80)
    assert "42.npz cannot be read (Object arrays cannot be loaded" in _broken(tmp_path / "42.npz")


def test_broken_npz_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", x=FEATURES, bbox=BOXES)
    assert "neither image_w and image_h nor" in _broken(tmp_path)
    np.savez(tmp_path / "1.npz", x=FEATURES)
    assert "1.npz: it has no bbox or boxes, only x" in _broken(tmp_path)
    content = (tmp_path / "1.npz").read_bytes()
    (tmp_path / "1.npz").write_bytes(content[: len(content) // 2])
    assert "1.npz cannot be read" in _broken(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no .npz files"):
        list(read_features(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sizes", "{", r"cannot be read as JSON .* pickles are not read"),
        ("sizes", '{"1": 3}', r"is not of the form"),
        ("ids", '{"1": 1}', r"is neither a JSON list of image ids nor"),
        ("ids", "3", r"is neither a JSON list of image ids nor"),
    ],
)
def test_side_files_are_checked(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / "a.tsv").write_bytes(_bottom_up())
    (tmp_path / "side.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_features(tmp_path / "a.tsv", **{name: tmp_path / "side.json"})


def test_unknown_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.tsv does not exist"):
        read_features(tmp_path / "none.tsv")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.pkl has no known form; use one of: tsv, h5, hdf5, npz"):
        read_features(tmp_path / "a.pkl")


def test_the_commands_convert_and_check(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(_lxmert("1") + _lxmert("2"))
    out = tmp_path / "features"

    converted = CliRunner().invoke(app, ["features", "convert", str(tmp_path / "a.tsv"), "--out", str(out)])
    checked = CliRunner().invoke(app, ["features", "check", str(out)])

    assert converted.exit_code == 0 and "2 images, 4 regions of width 5" in converted.output
    assert checked.exit_code == 0 and "is sound" in checked.output
    _check(FeatureStore(out)["2"], "2")
    assert FeatureStore(out).manifest.labels == ["objects", "object_scores", "attributes", "attribute_scores"]


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(_bottom_up("1") + _bottom_up("2")[:-20])
    convert = ["features", "convert", str(tmp_path / "a.tsv"), "--out", str(tmp_path / "f")]

    refused = CliRunner().invoke(app, convert)
    partly = CliRunner().invoke(app, [*convert, "--skip-broken"])

    assert refused.exit_code == 2 and "line 2, image '2'" in refused.stderr and refused.stderr.count("error:") == 1
    assert partly.exit_code == 0 and "1 left out" in partly.output
