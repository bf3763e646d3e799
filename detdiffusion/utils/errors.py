"""The one exception that the tools show to a user as a plain message."""


class UserError(ValueError):
    """Bad input: a wrong file, value, path or option, not a bug of the library.

    The message is one clear sentence or two: what is wrong, where (file, id), the value, what to do.
    Tools print it as ``error: <message>`` and exit with status 2 (:func:`detdiffusion.utils.cli.run_main`).
    """
