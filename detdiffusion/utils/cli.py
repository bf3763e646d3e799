"""What every tool shares: a clean exit on bad input and on Ctrl-C, errors in words of the command line."""

import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from .compat import after_import
from .errors import UserError
from .library_messages import silence
from .opencv import installed_opencv, mend_opencv, warn_of_two_opencvs
from .option_groups import with_flags
from .ranks import is_first_process
from .threads import choose_threads

if TYPE_CHECKING:
    from rich.console import Console

    from .tool_parser import ToolParser

# A data loader's worker sends its whole traceback as the message, the user's own at the end.
_WORKER_TRACEBACK = re.compile(
    r"^Caught (?:User|Image)Error in .*\n[\s\S]*\n(?:[\w.]+\.)?(?:User|Image)Error: ([\s\S]*)$"
)


def user_message(error: UserError, flags: Mapping[str, str] | None = None) -> str:
    """The message as it was raised, without the traceback that a data loader's worker puts around it.

    Args:
        error: names arguments in backticks, as the library knows them.
        flags: name of an argument -> its flag, which takes the name's place.
    """
    message = str(error)
    worker = _WORKER_TRACEBACK.match(message)
    message = (worker.group(1) if worker else message).strip()
    return with_flags(message, flags or {})


def table_console() -> "Console":
    """Where tables are printed: as wide as the terminal, and wide enough for ours in a log file, where rich would cut
    columns at 80 characters."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def prepare_process() -> None:
    """Before anything heavy is imported: chooses the threads and leaves out libraries' messages.

    The first rank says which threads once torch is there, and which cv2 where several lie over each other.
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

    A :class:`UserError` becomes ``error: ...`` on stderr and status 2, its arguments named by their flags; Ctrl-C
    becomes one line and status 130; any other exception is a bug and keeps its traceback.

    Args:
        main: takes the parsed arguments, or none without a parser; returns an exit status (``None`` means 0).
        build_parser: makes the parser of the command line.
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
        found = installed_opencv()  # removing one of two distributions takes the files of the other along
        print(f"error: OpenCV's module cv2 is missing; run {mend_opencv(found)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stdout.flush()
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
