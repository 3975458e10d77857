"""What a person sees in a browser: the page at ``/``, one call, and that there is nothing. Rendered here, no script.

Nothing of what was said in a call appears: names of agents, nodes and tools, times, and ids.
"""

from __future__ import annotations

from exporter.web.pages.call import call_page
from exporter.web.pages.frame import CONTENT_SECURITY_POLICY, message_page
from exporter.web.pages.front import front_page
from exporter.web.pages.view import CallPage, CallsView, CallView, Capacity, FrontView, Health, Spent

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "CallPage",
    "CallView",
    "CallsView",
    "Capacity",
    "FrontView",
    "Health",
    "Spent",
    "call_page",
    "front_page",
    "message_page",
]
