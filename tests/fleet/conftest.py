"""One real Redis for all of a session's tests; each has a namespace of its own."""

from __future__ import annotations

from tests.support.redis_server import namespace, redis_port

__all__ = ["namespace", "redis_port"]
