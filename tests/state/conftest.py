"""The stores that the same tests run against."""

from __future__ import annotations

from tests.support.redis_server import namespace, redis_port

__all__ = ["namespace", "redis_port"]
