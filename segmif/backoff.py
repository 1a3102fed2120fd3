"""Pauses before the next try that grow while tries fail."""

import random


class Backoff:
    """
    The first pause is `first_s`, each further one twice as long, `longest_s` at most [s].

    Chance shortens each by up to the share `jitter`: many that lost one server must not all come
    back at once.
    """

    def __init__(self, first_s: float, longest_s: float, jitter: float = 0.25) -> None:
        self._first_s, self._longest_s, self._jitter = first_s, longest_s, jitter
        self._pause_s = 0.0

    def next_s(self) -> float:
        """The pause after one more failure [s]."""
        self._pause_s = min(max(self._first_s, 2 * self._pause_s), self._longest_s)
        return self._pause_s * (1 - self._jitter * random.random())

    def reset(self) -> None:
        """A try went well: the next pause is the first one."""
        self._pause_s = 0.0
