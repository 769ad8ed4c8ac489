"""The error that a user sees when a knowledge base cannot be read, built or searched."""

from __future__ import annotations


class KnowledgeError(ValueError):
    """Bad knowledge-base input. The message is one line: what failed, the value, what is allowed, the next step."""
