"""Which replica gets a request: that of its stream, else the freer one of two."""

import random
from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter


class StreamRouter(ConsistentHashRouter):  # type: ignore[misc]  # Ray's has no types
    """Ray's consistent hashing for what has a session; it would hash all else at random."""

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """Ranks of replicas; the one with the shortest queue of the first rank is taken."""
        if pending_request is None or pending_request.metadata.session_id:
            ranks: list[list[Any]] = await super().choose_replicas(
                candidate_replicas, pending_request
            )
            return ranks
        pending_request.routing_context.should_backoff = True
        return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]
