"""The web server: landing page, metrics, probes, webhook endpoint, calls API; TLS and passwords as Prometheus has them.

It gets plain callables (:class:`WebPorts`) and knows nothing of calls, streams or the configuration.
"""

from __future__ import annotations

from exporter.address import ListenAddress
from exporter.protocol.webhooks import WebhookAnswer
from exporter.web.access import WebConfigFile
from exporter.web.app import build_app
from exporter.web.pages import CallPage, CallsView, CallView, Capacity, FrontView, Health, Spent
from exporter.web.ports import FollowAnswer, WebPorts
from exporter.web.serving import Limits, RunningWeb, serve

__all__ = [
    "CallPage",
    "CallView",
    "CallsView",
    "Capacity",
    "FollowAnswer",
    "FrontView",
    "Health",
    "Limits",
    "ListenAddress",
    "RunningWeb",
    "Spent",
    "WebConfigFile",
    "WebPorts",
    "WebhookAnswer",
    "build_app",
    "serve",
]
