"""The one error for what a user did wrong."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: what failed, the value, what to do next. The command line prints it as it is and exits
    with code 2; any other exception is a fault of this program.
    """
