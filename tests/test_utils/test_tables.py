"""Columns line up whatever the cells are."""

from detdiffusion.utils.tables import format_table, markdown_table


def test_columns_line_up():
    rows = [["class", "easy", "hard"], ["dog", 3, 12345], [], ["[red]cat[/red]", "-", 1.5]]
    assert format_table(rows).split("\n") == [
        "class           easy   hard",
        "dog                3  12345",
        "",
        "[red]cat[/red]     -    1.5",
    ]


def test_long_cells_are_not_wrapped_and_wide_letters_count():
    lines = format_table([["x" * 300, "1"], ["猫" * 2, "22"]]).split("\n")
    assert lines == ["x" * 300 + "   1", "猫猫" + " " * 296 + "  22"]
    assert format_table([]) == ""


def test_markdown():
    assert markdown_table(["set", "AP"], [["a|b", 1.5], ["c", "–"]]).split("\n") == [
        "| set | AP |",
        "|---|---|",
        "| a\\|b | 1.5 |",
        "| c | – |",
    ]
