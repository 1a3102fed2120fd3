"""The context of a node."""


class Context:
    valid = False
