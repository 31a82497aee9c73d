"""The one exception that means: the user's input is at fault, not the program."""


class InputError(ValueError):
    """Bad input: a file, a field or an argument that the user can mend.

    The message names the file or field, what was expected and what was found, and what to do next. The
    command line prints it without a traceback and exits with status 2.
    """
