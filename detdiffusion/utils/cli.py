"""Entry point shared by all tools: clean exits on bad input and Ctrl-C, error messages that name flags."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from .compat import after_import
from .errors import UserError
from .library_messages import silence
from .opencv import installed_opencv, mend_opencv, warn_of_two_opencvs
from .option_groups import with_flags
from .threads import choose_threads
from .torchrun import is_first_process

if TYPE_CHECKING:
    from rich.console import Console

    from .tool_parser import ToolParser

# An exception from a data loader's worker has its whole traceback as the message, with our message at the end.
_WORKER_TRACEBACK = re.compile(
    r"^Caught (?:User|Image)Error in .*\n[\s\S]*\n(?:[\w.]+\.)?(?:User|Image)Error: ([\s\S]*)$"
)


def user_message(error: UserError, flags: Mapping[str, str] | None = None) -> str:
    """Return the original message of an error, without the traceback that a data loader's worker wraps around it.

    Args:
        error: its message refers to Python arguments by their names in backticks.
        flags: argument name -> command-line flag to replace it with.
    """
    message = str(error)
    worker = _WORKER_TRACEBACK.match(message)
    message = (worker.group(1) if worker else message).strip()
    return with_flags(message, flags or {})


def table_console() -> "Console":
    """Return the console to print tables on: as wide as the terminal, or 160 columns if stdout is not a terminal (rich
    would cut tables at 80)."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def prepare_process() -> None:
    """Set the number of threads and silence known library messages; call it before heavy imports.

    The first rank prints the thread settings once torch is imported, and a warning if several OpenCV distributions
    are installed.
    """
    threads = choose_threads()
    silence()
    if is_first_process():
        line = f"threads: {threads}"
        _once_imported("torch", lambda _: print(line, file=sys.stderr, flush=True))
        _once_imported("cv2", warn_of_two_opencvs)


def _once_imported(name: str, then: Callable) -> None:
    if name not in sys.modules:
        after_import(name, then)


def run_main(
    main: Callable[..., int | None], build_parser: Callable[[], "ToolParser"] | None = None
) -> NoReturn:
    """Run a tool's ``main`` and exit with its status.

    A :class:`UserError` is printed as ``error: ...`` on stderr, with arguments named by their flags, and exits with
    status 2; Ctrl-C prints one line and exits with status 130; any other exception is a bug and keeps its traceback.

    Args:
        main: called with the parsed arguments, or without arguments if there is no parser; returns an exit status
            (``None`` means 0).
        build_parser: returns the parser of the command line.
    """
    prepare_process()
    parser = build_parser() if build_parser else None
    try:
        status = main(parser.parse_args()) if parser else main()
    except UserError as error:
        sys.stdout.flush()
        print(f"error: {user_message(error, parser.flags() if parser else None)}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        found = (
            installed_opencv()
        )  # uninstalling one of two distributions also removes the files of the other
        print(f"error: OpenCV's module cv2 is missing; run {mend_opencv(found)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stdout.flush()
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
