"""The exceptions that the command line answers with a message in place of a traceback."""


class InputError(ValueError):
    """Bad input: a file, a field or an argument that the user can mend.

    The message names the file or field, what was expected, what was there, and what to do next. The
    command line prints it without a traceback and exits with status 2.
    """


class ProcessLost(Exception):
    """Loss of another process of the run, which has ended or does not answer."""
