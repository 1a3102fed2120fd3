"""What hands messages to the callbacks of a node."""

import time
from typing import Any


class SingleThreadedExecutor:
    def __init__(self, *, context: Any) -> None:
        assert context.valid
        self._nodes: list[Any] = []

    def add_node(self, node: Any) -> None:
        self._nodes.append(node)

    def spin_once(self, timeout_sec: float) -> None:
        until = time.monotonic() + timeout_sec
        while time.monotonic() < until:
            for node in self._nodes:
                for subscription in node.subscriptions:
                    if subscription.waiting:
                        subscription.callback(subscription.waiting.popleft())
                        return
            time.sleep(0.002)

    def shutdown(self) -> None:
        self._nodes.clear()
