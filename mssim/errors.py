"""The one error that is the user's to mend: shown as a single line, without a traceback."""


class UserError(Exception):
    """Bad input, told in one line that names the file or field, the value, and the remedy."""
