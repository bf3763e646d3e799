"""Published values of the paper's tables (DetDiffusion, CVPR 2024), by table, row and column.

AP is in percent, as published; None if the paper gives no value.
"""

from __future__ import annotations

from dataclasses import dataclass

AP = (("mAP", "bbox_mAP"), ("AP50", "bbox_mAP_50"), ("AP75", "bbox_mAP_75"))
FID = ("FID", "fid")
RARE = ("parking meter", "scissors", "microwave", "mouse", "keyboard", "hot dog", "baseball glove")
RARE += ("sandwich", "train", "skateboard", "tv")


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Attributes:
        key: name of the row on the command line.
        label: label in printed tables.
        values: one value per column.
        aliases: method names in result files that are assigned to this row automatically, see
            ``paper_tables.normalise``.
    """

    key: str
    label: str
    values: tuple[float | None, ...]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        number, title: as in the paper.
        setting: data set and protocol of the paper's values.
        kinds: accepted kinds of result files.
        columns: (label, metric of a result file); a metric ``class:NAME`` is the AP of a class.
        rows: rows of the table.
        detectors: trained detectors that are assigned to this table automatically; () requires ``--assign``.
    """

    number: int
    title: str
    setting: str
    kinds: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    rows: tuple[PaperRow, ...]
    detectors: tuple[str, ...] = ()


_FIDELITY = ("fidelity", "yolo_score")
_FIDELITY_SETTING = (
    "COCO-Thing-Stuff val2017, 3,097 layouts of 3-8 objects, 256 x 256; FID and YOLO score (YOLOv4)"
)
_TRAIN_SETTING = "COCO train2017 + 47,429 synthetic images, {}, 6 epochs, AP on val2017"

_REAL = ("real", "realonly", "realequaliters")
_ORIGIN, _HARD, _EASY = ("origin", "realplusorigin"), ("hard", "realplushard"), ("easy", "realpluseasy")

TABLES = (
    PaperTable(
        1,
        "Image quality and correspondence to the layout",
        _FIDELITY_SETTING,
        _FIDELITY,
        (FID, *AP),
        (
            PaperRow("lostgan", "LostGAN", (42.55, 9.1, 15.3, 9.8), ("lostgan",)),
            PaperRow("lama", "LAMA", (31.12, 13.4, 19.7, 14.9), ("lama",)),
            PaperRow("twfa", "TwFA", (22.15, None, 28.2, 20.1), ("twfa",)),
            PaperRow("frido", "Frido", (37.14, 17.2, None, None), ("frido",)),
            PaperRow(
                "layoutdiffuse", "LayoutDiffuse", (22.20, 11.4, 23.1, 10.1), ("layoutdiffuse", "ldiffuse")
            ),
            PaperRow(
                "layoutdiffusion",
                "LayoutDiffusion",
                (22.65, 14.9, 27.5, 14.9),
                ("layoutdiffusion", "ldiffusion"),
            ),
            PaperRow("reco", "ReCo", (29.69, 18.8, 33.5, 19.7), ("reco",)),
            PaperRow("gligen", "GLIGEN", (21.04, 22.4, 36.5, 24.1), ("gligen",)),
            PaperRow("controlnet", "ControlNet", (20.37, 24.8, 36.6, 27.7), ("controlnet",)),
            PaperRow("geodiffusion", "GeoDiffusion", (20.16, 29.1, 38.9, 33.6), ("geodiffusion",)),
            PaperRow("origin", "DetDiffusion origin", (19.28, 29.8, 38.6, 34.1), ("origin",)),
            PaperRow("hard", "DetDiffusion hard", (19.72, 25.3, 33.7, 29.1), ("hard",)),
            PaperRow("easy", "DetDiffusion easy", (19.66, 31.2, 40.2, 35.6), ("easy",)),
            PaperRow("real", "real images (upper bound; not in the paper)", (None,) * 4, ("real",)),
        ),
        ("*",),
    ),
    PaperTable(
        2,
        "Trainability",
        _TRAIN_SETTING.format("Faster R-CNN R50-FPN"),
        ("trainability",),
        (*AP, ("APm", "bbox_mAP_m"), ("APl", "bbox_mAP_l")),
        (
            PaperRow("real", "real only", (34.5, 55.5, 37.1, 37.9, 44.3), _REAL),
            PaperRow(
                "layoutdiffusion", "LayoutDiffusion", (34.0, 54.5, 36.5, 37.2, 43.6), ("layoutdiffusion",)
            ),
            PaperRow("gligen", "GLIGEN", (34.3, 54.8, 36.7, 37.4, 44.3), ("gligen",)),
            PaperRow("controlnet", "ControlNet", (34.4, 54.5, 36.9, 37.8, 45.0), ("controlnet",)),
            PaperRow("reco", "ReCo", (33.6, 53.2, 36.2, 36.7, 44.0), ("reco",)),
            PaperRow("geodiffusion", "GeoDiffusion", (34.8, 55.3, 37.4, 38.2, 45.4), ("geodiffusion",)),
            PaperRow("origin", "DetDiffusion origin", (35.3, 55.7, 38.2, 38.4, 46.5), _ORIGIN),
            PaperRow("hard", "DetDiffusion hard", (35.4, 55.8, 38.3, 38.5, 46.6), _HARD),
            PaperRow("easy", "DetDiffusion easy", (35.2, 55.5, 37.9, 38.3, 46.3), _EASY),
        ),
        ("FasterRCNN", ""),
    ),
    PaperTable(
        3,
        "Trainability, rare categories",
        _TRAIN_SETTING.format("Faster R-CNN R50-FPN"),
        ("trainability",),
        (("mAP", "bbox_mAP"), *((name, f"class:{name}") for name in RARE)),
        (
            PaperRow(
                "real",
                "real only",
                (34.5, 41.6, 17.8, 49.2, 55.6, 43.8, 23.6, 31.3, 29.8, 51.9, 41.7, 49.8),
                _REAL,
            ),
            PaperRow(
                "easy",
                "easy",
                (35.2, 42.5, 17.8, 47.3, 54.5, 45.0, 24.6, 32.0, 30.3, 53.8, 41.9, 50.4),
                _EASY,
            ),
            PaperRow(
                "origin",
                "origin",
                (35.3, 40.4, 17.7, 51.5, 55.5, 44.3, 25.4, 30.9, 30.2, 53.8, 43.4, 50.2),
                _ORIGIN,
            ),
            PaperRow(
                "hard",
                "hard",
                (35.4, 43.3, 19.4, 53.2, 56.3, 45.5, 25.4, 32.7, 31.4, 54.1, 44.1, 50.6),
                _HARD,
            ),
        ),
        ("FasterRCNN", ""),
    ),
    PaperTable(
        4,
        "Ablation of the components, attributes all [easy]",
        _FIDELITY_SETTING,
        _FIDELITY,
        (FID, AP[0]),
        (
            PaperRow("baseline", "without P.A. Attr and P.A. loss", (20.16, 29.1)),
            PaperRow("attr", "P.A. Attr", (19.92, 30.4)),
            PaperRow("attr+loss", "P.A. Attr and P.A. loss", (19.66, 31.2)),
        ),
    ),
    PaperTable(
        5,
        "Trainability of more detectors",
        _TRAIN_SETTING.format("R50-FPN"),
        ("trainability",),
        AP,
        (
            PaperRow("fcos/real", "FCOS, real only", (33.7, 52.9, 35.7), tuple(f"fcos:{a}" for a in _REAL)),
            PaperRow("fcos/origin", "FCOS, origin", (34.9, 53.8, 37.0), tuple(f"fcos:{a}" for a in _ORIGIN)),
            PaperRow("fcos/easy", "FCOS, easy", (34.8, 53.8, 36.7), tuple(f"fcos:{a}" for a in _EASY)),
            PaperRow("fcos/hard", "FCOS, hard", (35.0, 54.0, 36.9), tuple(f"fcos:{a}" for a in _HARD)),
            PaperRow("atss/real", "ATSS, real only", (36.3, 53.9, 39.1), tuple(f"atss:{a}" for a in _REAL)),
            PaperRow("atss/origin", "ATSS, origin", (37.2, 54.8, 40.2), tuple(f"atss:{a}" for a in _ORIGIN)),
            PaperRow("atss/easy", "ATSS, easy", (37.1, 54.6, 40.0), tuple(f"atss:{a}" for a in _EASY)),
            PaperRow("atss/hard", "ATSS, hard", (37.4, 55.0, 40.5), tuple(f"atss:{a}" for a in _HARD)),
        ),
        ("FCOS", "ATSS"),
    ),
    PaperTable(
        6,
        "Attributes from different detectors, without P.A. loss, scored by YOLOv4",
        _FIDELITY_SETTING,
        _FIDELITY,
        (FID, *AP),
        (
            PaperRow("faster-rcnn", "Faster R-CNN", (19.99, 29.5, 39.2, 33.8)),
            PaperRow("yolov4", "YOLOv4", (19.92, 30.4, 40.8, 35.1)),
        ),
    ),
    PaperTable(
        7,
        "Ablation of the perception-aware loss, attributes all [easy]",
        _FIDELITY_SETTING,
        _FIDELITY,
        AP,
        (
            PaperRow("full", "DetDiffusion", (31.2, 40.2, 35.6)),
            PaperRow("without-sqrt-alpha-bar", "without the weight by alpha-bar", (29.6, 38.6, 34.3)),
            PaperRow("without-dice", "without dice loss", (29.6, 39.4, 34.5)),
        ),
    ),
)
