import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring

from kvqa.errors import InputError
from kvqa.evaluation.page import report_content, write_page, write_report_page
from kvqa.evaluation.plots import bar_plot, curve_plot, interval_plot
from kvqa.evaluation.records import read_run, write_run

Run = tuple[dict[str, Any], Path]


def test_the_page_needs_nothing_beside_it_and_shows_the_figures(whole: Run) -> None:
    report, out = whole
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "<script" not in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) == {"data:"}
    assert f"{report['scores']['answer_top1']:.2f} %" in page
    for part in ("Mucko", "Printed, on the full data, not comparable one to one.", "oracle: the gold fact is all the"):
        assert part in page
    assert report["kb"]["id"] in page and report["model"]["weights_sha256"][:16] in page


def test_every_plot_is_sound_svg_with_its_words(whole: Run) -> None:
    plots = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", (whole[1] / "report.html").read_text(encoding="utf-8"))
    texts = [base64.b64decode(plot).decode() for plot in plots]
    assert len(texts) >= 7
    for text in texts:
        assert fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    together = "".join(texts)
    for word in ("confidence, %", "as evaluated", "question only", "CapableOf", "hit: in the evidence"):
        assert word in together


def test_a_page_made_again_is_the_same(whole: Run) -> None:
    before = (whole[1] / "report.html").read_bytes()
    assert write_report_page(whole[1]).read_bytes() == before


def test_what_users_wrote_is_escaped_and_warnings_are_shown(done: Run, tmp_path: Path) -> None:
    report, records = read_run(done[1])
    record = json.loads(json.dumps(records[0]))
    record |= {"right": 0.0, "question": "<script>alert(1)</script>", "answers": [], "facts": []}
    remark = "The model was trained on fvqa all, which has 2 of these 2 pictures."
    report |= {"overlap": {"questions": 5, "images": 2, "remark": remark, "scores_without": {}, "trained_on": "x"}}
    write_run(tmp_path, [record], report)
    page = write_report_page(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert remark + " No question is left without them" in page
    report["overlap"] |= {"scores_without": {"answer_top1": 12.5}, "such_as": ["a.jpg"]}
    content = report_content(report, records)
    assert content["warnings"] == [remark]


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", "")


def test_plots_of_odd_input() -> None:
    for text in (
        interval_plot([("a $x$ <b>", 1.0, None), ("b", -1.0, (-2.0, -0.5))], label="percent", centre=0.0),
        bar_plot([("only", 0.0, (0.0, 0.0))], label="percent", line=None),
        curve_plot({"a": [(1.0, 2.0)], "b": [(5.0, 100.0)]}, x_label="k", y_label="y"),
    ):
        assert fromstring(text).tag.endswith("svg")
