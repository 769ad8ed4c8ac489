"""Reports on data sets, over the hand-written fixtures."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kvqa.cli import app
from kvqa.data.audit import audit, is_broken
from kvqa.data.datasets import DATASETS, Dataset
from kvqa.data.example import Example, unseen
from kvqa.data.published import coco_keys, flickr_keys
from kvqa.errors import InputError
from kvqa.vision.regions import Region, Regions

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def _example(*images: str) -> Example:
    return Example("1", "", images[0], unseen(images[0]), images=images)


def test_every_data_set_is_listed_under_its_name() -> None:
    assert all(name == description.name for name, description in DATASETS.items())
    for description in DATASETS.values():
        assert description.photos
        names = [split.name for split in description.splits]
        assert len(set(names)) == len(names)
        assert {split for file in description.files for split in file.splits} <= set(names)


@pytest.mark.parametrize("name", [name for name in DATASETS if (FIXTURES / name).is_dir()])
def test_every_fixture_gives_a_report(name: str) -> None:
    report = audit(name, FIXTURES / name)
    assert not is_broken(report) and any(split["questions"] for split in report["splits"])
    json.dumps(report)


def test_the_same_photo_has_one_key_whatever_its_name() -> None:
    names = ("COCO_val2014_000000000042.jpg", "000000000042.jpg", "COCO_test2015_000000000042.jpg")
    assert set(coco_keys(_example(*names))) == {"coco:42"}
    assert coco_keys(_example("ILSVRC2012_test_00000444.JPEG")) == ("ILSVRC2012_test_00000444.JPEG",)
    assert set(flickr_keys(_example("1000268201_693b08cb0e.jpg", "1000268201.jpg"))) == {"flickr:1000268201"}


def test_a_report_counts_splits_and_names_what_is_missing() -> None:
    report = audit("vqa2", FIXTURES / "vqa2")
    train, val, test, test_dev = report["splits"]
    assert (train["state"], train["questions"], train["published"], train["images"]) == ("subset", 3, 443_757, 2)
    assert (val["questions"], test["questions"], test_dev["state"]) == (1, 1, "missing")
    missing = [file for file in report["files"] if file["found"] is None]
    assert [file["name"] for file in missing] == ["v2_OpenEnded_mscoco_test-dev2015_questions.json"]
    assert missing[0]["needed"] and missing[0]["source"].startswith("https://")
    assert report["overlaps"] == []


def test_a_file_whose_split_was_read_from_others_is_not_needed() -> None:
    needed = {file["name"]: file["needed"] for file in audit("daquar", FIXTURES / "daquar")["files"]}
    assert not needed["qa.894.raw.train.txt"] and needed["qa.37.raw.train.txt"]


def test_splits_that_share_photos_are_found(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "vqa2", tmp_path / "vqa2")
    for kind in ("questions", "annotations"):
        path = next((tmp_path / "vqa2").glob(f"*val2014_{kind}.json"))
        text = path.read_text(encoding="utf-8").replace('"image_id": 42', '"image_id": 9')
        path.write_text(text, encoding="utf-8")
    report = audit("vqa2", tmp_path / "vqa2")
    assert report["overlaps"] == [{"split": "train", "other": "val", "images": 1, "such_as": ["coco:9"]}]


def test_parts_of_a_split_are_no_leak() -> None:
    report = audit("nlvr2", FIXTURES / "nlvr2")
    # dev and test1 share the address p; balanced_dev is a part of dev
    assert [(r["split"], r["other"]) for r in report["overlaps"]] == [("dev", "test1")]


def test_photos_shared_with_other_data_sets_are_found() -> None:
    others = [("aokvqa", FIXTURES / "aokvqa"), ("okvqa", FIXTURES / "okvqa"), ("gqa", FIXTURES / "gqa")]
    report = audit("vqa2", FIXTURES / "vqa2", against=others, splits=["val"])
    assert [(r["split"], r["other"], r["such_as"]) for r in report["against"]] == [
        ("val", "aokvqa:val", ["coco:42"]),
        ("val", "okvqa:val", ["coco:42"]),
    ]


def test_photos_at_hand_are_counted_whatever_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "COCO_val2014_000000000042.png").write_bytes(b"")
    (val,) = audit("vqa2", FIXTURES / "vqa2", splits=["val"], photos=tmp_path)["splits"]
    assert val["photos_at_hand"] == 1
    with pytest.raises(InputError, match="is no folder; give the folder with the photos"):
        audit("vqa2", FIXTURES / "vqa2", photos=tmp_path / "nowhere")


def test_a_broken_file_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "snli_ve", tmp_path / "snli_ve")
    with (tmp_path / "snli_ve" / "snli_ve_dev.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("{\n")
    report = audit("snli_ve", tmp_path / "snli_ve")
    states = {split["split"]: split["state"] for split in report["splits"]}
    assert (states["dev"], states["test"], is_broken(report)) == ("broken", "subset", True)
    assert "line 3: not JSON" in report["splits"][1]["problem"]
    result = CliRunner().invoke(app, ["data", "check", "snli_ve", str(tmp_path / "snli_ve")])
    assert result.exit_code == 1 and "broken:" in result.output
    with pytest.raises(InputError, match=r"snli_ve: .*line 3: not JSON"):
        audit("snli_ve", FIXTURES / "snli_ve", against=[("snli_ve", tmp_path / "snli_ve")])


def test_ids_that_occur_twice_are_counted(tmp_path: Path) -> None:
    line = (FIXTURES / "nlvr" / "dev.json").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "dev.json").write_text(f"{line}\n{line}\n", encoding="utf-8")
    assert audit("nlvr", tmp_path)["splits"][1]["duplicate_ids"] == 1


def test_regions_from_elsewhere_replace_those_of_the_reader() -> None:
    seen = {"dev-5-0-img1.png": Regions("dev-5-0-img1.png", 9, 9, (Region("jar", 0.5, (0, 0, 4, 4)),))}
    first, second, _ = Dataset("nlvr2", FIXTURES / "nlvr2", regions=seen).examples("dev")
    assert [len(regions.regions) for regions in first.all_regions] == [0, 1]
    assert [len(regions.regions) for regions in second.all_regions] == [0, 0]


def test_wrong_names_are_named() -> None:
    with pytest.raises(InputError, match="no data set 'vqa'; use one of: vqa2, okvqa"):
        audit("vqa", FIXTURES)
    with pytest.raises(InputError, match="vqa2 has no split 'dev'; use one of: train, val"):
        audit("vqa2", FIXTURES / "vqa2", splits=["dev"])
    with pytest.raises(InputError, match="is no folder; give the folder with the files of vqa2"):
        audit("vqa2", FIXTURES / "nowhere")


def test_the_command_prints_json_or_tables() -> None:
    folder = str(FIXTURES / "vqa2")
    okvqa = str(FIXTURES / "okvqa")
    result = CliRunner().invoke(app, ["data", "check", "vqa2", folder, "--against", "okvqa", okvqa, "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert {record["other"] for record in report["against"]} == {"okvqa:train", "okvqa:val"}
    shown = CliRunner().invoke(app, ["data", "check", "vqa2", folder, "--against", f"okvqa={okvqa}"])
    assert "train and okvqa:train share 1 photos, such as coco:9" in shown.output
    assert "v2_OpenEnded_mscoco_test-dev2015_questions.json: questions of test-dev" in shown.output


def test_the_command_says_how_to_name_another_data_set() -> None:
    result = CliRunner().invoke(app, ["data", "check", "vqa2", str(FIXTURES / "vqa2"), "--against", "okvqa"])
    assert result.exit_code == 2 and "give name and folder" in result.output


def test_the_command_lists_data_sets() -> None:
    result = CliRunner().invoke(app, ["data", "list"])
    assert [line.split()[0] for line in result.output.splitlines()] == list(DATASETS)
