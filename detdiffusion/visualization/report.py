"""HTML reports: a self-contained page with tables, pictures and charts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from detdiffusion.utils.files import write_atomic

from .grids import Row

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 1.5em auto; padding: 0 1em; color: #222 }
p, figcaption { overflow-wrap: anywhere }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
.headline { font-size: 1.25em; font-weight: 600; border-left: 4px solid #1f77b4; padding-left: .7em }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .6em 0; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
th:first-child, td:first-child { text-align: left }
.scene { display: grid; grid-template-columns: repeat({{ columns }}, 1fr); gap: 4px; margin-bottom: 2px }
.scene img, .gallery img { width: 100%; display: block }
.scene b { font-size: .9em } figure { margin: 0 }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px }
figcaption, .note { color: #666; font-size: .9em; margin: .2em 0 .8em }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em }
.bad { color: #b00020; font-weight: bold } .good { color: #1b7f3b }
.charts { display: flex; flex-wrap: wrap; gap: 12px } .charts svg { max-width: 100%; height: auto }
@media (max-width: 480px) { body { margin: .5em auto; padding: 0 .7em } th, td { padding: .25em .4em } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if headline %}<p class="headline">{{ headline }}</p>{% endif %}
{% for line in intro %}<p>{{ line }}</p>
{% endfor %}
{% macro show(table) %}
<h2>{{ table.title }}</h2>
<div class="wide"><table>
<tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% for line in table.notes %}<p class="note">{{ line }}</p>
{% endfor %}
{% endmacro %}
{% if scenes %}<h2>The same layouts</h2>
<p class="note">The first {{ scenes|length }} held-out layouts in the data set's order. Boxes are the prompted
things; ! marks an object prompted as hard.</p>
<div class="scene">{% for name in scenes[0].images %}<b>{{ name }}</b>{% endfor %}</div>
{% for scene in scenes %}<div class="scene">{% for name, source in scene.images.items() %}<img src="{{ source }}"
alt="{{ name }}, layout {{ scene.layout }}: {{ scene.caption }}"
title="{{ scene.layout }}: {{ scene.caption }}">{% endfor %}</div>
{% if scene.legend %}<p class="note">{{ scene.caption }}{% for name, colour in scene.legend.items() %}<span class="key"
style="background: rgb{{ colour }}"></span>{{ name }}{% endfor %}</p>
{% endif %}{% endfor %}{% endif %}
{% for gallery in galleries %}<h2>{{ gallery.title }}</h2>
{% if gallery.note %}<p class="note">{{ gallery.note }}</p>{% endif %}
<div class="gallery">{% for picture in gallery.pictures %}<figure><img src="{{ picture.source }}"
alt="{{ picture.caption }}"><figcaption>{{ picture.caption }}</figcaption></figure>{% endfor %}</div>
{% endfor %}
{% for table in tables %}{{ show(table) }}{% endfor %}
{% if checks %}<h2>Checks</h2>
<ul>{% for check in checks %}<li><span class="{{ 'good' if check.holds else 'bad' }}">
{{- 'holds' if check.holds else 'does not hold' }}</span>: {{ check.name }}: {{ check.value }}</li>
{% endfor %}</ul>{% endif %}
{% if charts %}<h2>Training curves</h2>
<div class="charts">{% for chart in charts %}{{ chart|safe }}{% endfor %}</div>{% endif %}
{% for table in settings %}{{ show(table) }}{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class Gallery:
    """Pictures with captions.

    Attributes:
        title, note: heading and the line below it.
        pictures: (caption, picture).
    """

    title: str
    note: str
    pictures: Sequence[tuple[str, Image.Image]]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence], notes: Sequence[str] = ()) -> dict:
    """Build a table for :func:`write_report`; cells are shown as text.

    Raises:
        ValueError: the length of a row differs from the number of columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: {len(columns)} columns, but a row with {len(row)}: {row}")
    return dict(title=title, columns=list(columns), rows=[list(row) for row in rows], notes=list(notes))


def write_report(
    path: str | Path,
    title: str,
    intro: Sequence[str] = (),
    tables: Sequence[Mapping] = (),
    checks: Sequence[Mapping] = (),
    scenes: Sequence[Row] = (),
    charts: Sequence[str] = (),
    *,
    headline: str = "",
    galleries: Sequence[Gallery] = (),
    settings: Sequence[Mapping] = (),
) -> None:
    """Write a page; all text is escaped, and images are embedded as PNG. The order is: headline, pictures, tables,
    curves, settings.

    Args:
        path: HTML file to write.
        title: title of the page.
        intro: introductory paragraphs.
        tables: results of :func:`table`.
        checks: dicts with ``name``, ``value`` and ``holds``.
        scenes: result of :func:`.grids.side_by_side`.
        charts: SVG elements of :func:`.curves.line_chart`, inserted without escaping.
        headline: the result in one sentence.
        galleries: further pictures.
        settings: tables at the end of the page.

    Raises:
        UserError: the file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    inline = [
        dict(
            layout=row.layout,
            caption=row.caption,
            legend=row.legend,
            images={name: data_uri(image) for name, image in row.images.items()},
        )
        for row in scenes
    ]
    shown = [
        dict(
            title=gallery.title,
            note=gallery.note,
            pictures=[dict(caption=text, source=data_uri(image)) for text, image in gallery.pictures],
        )
        for gallery in galleries
    ]
    html = environment.from_string(_TEMPLATE).render(
        title=title,
        headline=headline,
        intro=intro,
        tables=tables,
        checks=checks,
        scenes=inline,
        columns=len(scenes[0].images) if scenes else 1,
        galleries=shown,
        charts=charts,
        settings=settings,
    )
    write_atomic(path, html.encode())


def data_uri(image: Image.Image) -> str:
    """Encode an image as ``data:image/png;base64,...``."""
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
