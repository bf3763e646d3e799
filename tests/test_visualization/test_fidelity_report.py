"""What the terminal says of classes that a generator does not draw; tables keep their columns in a log file."""

from detdiffusion.utils.cli import table_console
from detdiffusion.visualization.reports.fidelity import lost_classes


def classes(**found):
    names = ("platelets", "cells", "rare")
    objects = dict(zip(names, (69, 805, 4)))
    return dict(by_class={name: dict(objects=objects[name], found=found[name]) for name in names})


def test_a_class_that_is_not_drawn_is_named():
    sets = dict(
        real=classes(platelets=0.623, cells=0.65, rare=1.0),
        easy=classes(platelets=0.0, cells=0.75, rare=0.0),  # four objects say little
        hard=classes(platelets=0.32, cells=0.33, rare=0.0),
    )
    assert lost_classes(dict(sets=sets)) == [
        "platelets: the detector finds 62.3 % on real images, but only 0.0 % on easy: the generator hardly generates "
        "this class"
    ]
    assert lost_classes(dict(sets={"easy": sets["easy"]})) == []  # without the bound nothing can be said


def test_tables_are_not_cut_in_a_log_file(capsys):
    table_console().print("x" * 150)
    assert "x" * 150 in capsys.readouterr().out
