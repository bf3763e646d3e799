"""HTML reports: a self-contained page with tables, pictures and charts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
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
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse; margin: .6em 0 }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
.scenes td { padding: 3px; border: 0; text-align: left; vertical-align: top }
.scenes img { width: 100%; max-width: 256px; display: block; image-rendering: pixelated }
.note { color: #666; font-size: .9em } .bad { color: #b00020; font-weight: bold } .good { color: #1b7f3b }
.charts, .pictures { display: flex; flex-wrap: wrap; gap: 12px }
.pictures figure { margin: 0; max-width: 340px } .pictures img { max-width: 100%; display: block }
figcaption { color: #666; font-size: .9em; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for line in intro %}<p>{{ line }}</p>
{% endfor %}
{% for table in tables %}
<h2>{{ table.title }}</h2>
<table>
<tr>{% for name in table.columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for line in table.notes %}<p class="note">{{ line }}</p>
{% endfor %}
{% endfor %}
{% if checks %}<h2>Checks</h2>
<ul>{% for check in checks %}<li><span class="{{ 'good' if check.holds else 'bad' }}">
{{- 'holds' if check.holds else 'does not hold' }}</span>: {{ check.name }}: {{ check.value }}</li>
{% endfor %}</ul>{% endif %}
{% if scenes %}<h2>The same layouts</h2>
<p class="note">The first {{ scenes|length }} held-out layouts in the data set's order. Boxes are the prompted
things; ! marks an object prompted as hard.</p>
<table class="scenes">
<tr>{% for name in scenes[0].images %}<th>{{ name }}</th>{% endfor %}</tr>
{% for scene in scenes %}<tr>{% for name, source in scene.images.items() %}<td><img src="{{ source }}"
alt="{{ name }}, layout {{ scene.layout }}: {{ scene.caption }}" title="{{ scene.layout }}: {{ scene.caption }}"></td>
{% endfor %}</tr>
{% endfor %}</table>{% endif %}
{% if pictures %}<h2>Pictures</h2>
<div class="pictures">{% for picture in pictures %}<figure><img src="{{ picture.source }}" alt="{{ picture.caption }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}</div>{% endif %}
{% if charts %}<h2>Training curves</h2>
<div class="charts">{% for chart in charts %}{{ chart|safe }}{% endfor %}</div>{% endif %}
</body>
</html>
"""


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
    pictures: Sequence[tuple[str, Image.Image]] = (),
) -> None:
    """Write a page; all text is escaped, and images are embedded as PNG.

    Args:
        path: HTML file to write.
        title: title of the page.
        intro: introductory paragraphs.
        tables: results of :func:`table`.
        checks: dicts with ``name``, ``value`` and ``holds``.
        scenes: result of :func:`.grids.side_by_side`.
        charts: SVG elements of :func:`.curves.line_chart`, inserted without escaping.
        pictures: captions and images.

    Raises:
        UserError: the file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    inline = [
        dict(
            layout=row.layout,
            caption=row.caption,
            images={name: data_uri(image) for name, image in row.images.items()},
        )
        for row in scenes
    ]
    shown = [dict(caption=caption, source=data_uri(image)) for caption, image in pictures]
    html = environment.from_string(_TEMPLATE).render(
        title=title, intro=intro, tables=tables, checks=checks, scenes=inline, charts=charts, pictures=shown
    )
    write_atomic(path, html.encode())


def data_uri(image: Image.Image) -> str:
    """Encode an image as ``data:image/png;base64,...``."""
    buffer = BytesIO()
    image.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
