"""Curves and the report page: parsed again by the standard library, nothing outside is referred to."""

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from PIL import Image

from detdiffusion.visualization.curves import line_chart
from detdiffusion.visualization.grids import Row
from detdiffusion.visualization.report import table, write_report

SVG = "{http://www.w3.org/2000/svg}"


def line_of(svg, name):
    """Points of a series in the picture's coordinates, y downwards."""
    (group,) = [g for g in svg.iter(f"{SVG}g") if g.get("id") == name]
    return [
        tuple(map(float, pair)) for pair in re.findall(r"[ML] (\S+) (\S+)", group.find(f"{SVG}path").get("d"))
    ]


def test_chart_points_are_in_proportion():
    svg = ElementTree.fromstring(line_chart({"a": [(0, 0.0), (50, 2.0), (100, 4.0)]}, "t & <t> $x$"))
    (x0, y0), (x1, y1), (x2, y2) = line_of(svg, "a")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and x2 > x0
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11) and y0 > y2
    texts = [t.text for t in svg.iter(f"{SVG}text")]
    assert "t & <t> $x$" in texts and "4.0" in texts and "100" in texts and "a 4" in texts


@pytest.mark.parametrize("highest", [0.0, 0.003, 0.7, 1.0, 3.2, 999.0])
def test_chart_axis_covers_every_value(highest):
    svg = ElementTree.fromstring(line_chart({"a": [(1, highest), (2, highest / 2)], "b": []}, "t"))
    height = float(svg.get("viewBox").split()[-1])
    assert len(line_of(svg, "a")) == 2 and all(10 <= y <= height - 10 for _, y in line_of(svg, "a"))
    assert not [g for g in svg.iter(f"{SVG}g") if g.get("id") == "b"]


def test_chart_without_data_and_with_one_point():
    assert "no log" in line_chart({}, "t") and "no log" in line_chart({"a": []}, "t")
    svg = ElementTree.fromstring(line_chart({"a": [(5, 1.0)]}, "t"))
    assert line_of(svg, "a") and list(svg.iter(f"{SVG}use"))
    assert "a 1" in [t.text for t in svg.iter(f"{SVG}text")]


def test_charts_are_reproducible_and_refer_to_nothing_outside():
    text = line_chart({"a": [(1, 2.0), (5, 1.0)], "b": [(3, 3.0)]}, "t")
    assert text == line_chart({"a": [(1, 2.0), (5, 1.0)], "b": [(3, 3.0)]}, "t")
    assert "http" not in text.replace("http://www.w3.org/", "")
    assert not re.search(r'(src|href)="(?!#)', text)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_page_is_self_contained_and_escaped(tmp_path):
    images = {name: Image.new("RGB", (8, 8), colour) for name, colour in (("real", "red"), ("hard", "blue"))}
    write_report(
        tmp_path / "report.html",
        "A <b>title</b>",
        ["<script>alert(1)</script>"],
        [table("scores", ("set", "AP"), [["real", 61.0], ["hard & more", "–"]], ["a note"])],
        [dict(name="AP above 0.5", value=0.61, holds=True), dict(name="other", value=1, holds=False)],
        [Row(7, 'ball, "kite"', images)],
        [line_chart({"loss": [(1, 2.0), (2, 1.0)]}, "curve")],
    )
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.open and "svg" in page.open and "<script>alert(1)</script>" in page.texts
    assert {"hard & more", "61.0", "a note", "holds", "does not hold"} <= set(page.texts)
    assert len(page.sources) == 2 and all(s.startswith("data:image/png;base64,") for s in page.sources)
    shown = Image.open(io.BytesIO(base64.b64decode(page.sources[1].split(",")[1])))
    assert shown.size == (8, 8) and shown.convert("RGB").getpixel((0, 0)) == (0, 0, 255)
    assert "http" not in text.replace("http://www.w3.org/", "")  # names of namespaces


def test_table_rows_must_fit():
    with pytest.raises(ValueError, match="2 columns, but a row with 1"):
        table("t", ("a", "b"), [["x"]])
