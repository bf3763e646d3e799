"""Messages of libraries that nobody who runs a tool can act on are left out, exactly those, and only for tools."""

import logging
import subprocess
import sys
import warnings

import pytest

from detdiffusion.utils import library_messages
from detdiffusion.utils.library_messages import FILE_ONLY, MESSAGES, silence, wanted


def test_every_entry_says_why_and_when_it_can_go():
    for message in MESSAGES:
        assert len(message.start) > 20 and message.why.strip()
        assert "; remove " in message.why or message.why.startswith("as above")


def test_python_warnings_by_text_and_category():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence()
        for message in MESSAGES:
            if isinstance(message.source, type):
                warnings.warn(f"{message.start} and more", message.source, stacklevel=1)
                warnings.warn(f"{message.start} and more", RuntimeWarning, stacklevel=1)
                warnings.warn(f"x {message.start}", message.source, stacklevel=1)
    categories = [message.source for message in MESSAGES if isinstance(message.source, type)]
    assert [w.category for w in seen] == [c for one in categories for c in (RuntimeWarning, one)]


@pytest.mark.parametrize(
    "message", [m for m in MESSAGES if isinstance(m.source, str) and "." in m.source], ids=lambda m: m.start
)
def test_loggers_by_text(message, monkeypatch):
    silence()
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger(message.source)
    monkeypatch.setattr(logger, "propagate", False)  # the tests' own handler raises on some of them
    logger.addHandler(handler)
    try:
        logger.warning("%s and more", message.start)
        logger.warning("another: %s", message.start)
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == [f"another: {message.start}"]


def test_a_runs_details_are_in_its_log_file_alone(tmp_path, capsys):
    from mmengine.logging import MMLogger, print_log

    silence(), silence()
    logger = MMLogger(tmp_path.name, log_file=str(tmp_path / "log.txt"))
    for start in FILE_ONLY:
        logger.info(f"{start} and more")
    logger.info("a line")
    for message in MESSAGES:
        if message.source == "mmengine":
            print_log(f"{message.start} and more", logger)
            print_log(f"{message.start} and more")  # on the terminal
    print_log("plain")
    terminal, file = capsys.readouterr().out, (tmp_path / "log.txt").read_text()
    assert terminal.count("INFO") == 1 and terminal.endswith("a line\nplain\n")
    assert file.count(" and more") == len(FILE_ONLY) and "a line" in file


def test_debug_shows_all(tmp_path, capsys):
    from mmengine.logging import MMLogger

    silence()
    MMLogger(tmp_path.name, log_level="DEBUG").info(f"{FILE_ONLY[0]} and more")
    assert " and more" in capsys.readouterr().out


def test_wanted_is_exact():
    message = MESSAGES[0]
    assert not wanted(message.source, message.start + " rest")
    assert wanted("other", message.start) and wanted(message.source, "x" + message.start)


def test_an_import_alone_changes_no_library():
    """Only tools silence; who imports the package in a program keeps all messages."""
    code = (
        "import logging, warnings\n"
        "before = list(warnings.filters)\n"
        "import detdiffusion.utils.config\n"
        "assert warnings.filters == before\n"
        "assert not logging.getLogger('diffusers.configuration_utils').filters\n"
    )
    root = library_messages.__file__.rpartition("detdiffusion")[0]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr
