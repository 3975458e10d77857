"""When a number is good, and when it is not: the vendor's words, the objectives', and ours."""

from __future__ import annotations

from collections.abc import Sequence

GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"
Steps = Sequence[tuple[float | None, str]]

TURN_STEPS: Steps = ((None, GREEN), (0.9, YELLOW), (2.0, RED))
"""The vendor's words: good below 0.9 s, acceptable below 2 s, then it needs work."""
SLOWEST_STEPS: Steps = ((None, GREEN), (2.0, YELLOW), (4.0, RED))
SUCCESS_STEPS: Steps = ((None, RED), (0.8, YELLOW), (0.9, GREEN))
CALL_LENGTH_STEPS: Steps = ((None, GREEN), (300.0, YELLOW), (600.0, RED))
BURN_STEPS: Steps = ((None, GREEN), (1.0, YELLOW), (6.0, RED))
BUDGET_STEPS: Steps = ((None, RED), (0.0, YELLOW), (0.25, GREEN))
BAD_SHARE_STEPS: Steps = ((None, GREEN), (0.05, YELLOW), (0.1, RED))
LOOP_STEPS: Steps = ((None, GREEN), (0.25, YELLOW), (0.5, RED))
INTERRUPTED_STEPS: Steps = ((None, GREEN), (0.15, YELLOW), (0.3, RED))
FIRING_STEPS: Steps = ((None, GREEN), (1.0, RED))
WARNING_STEPS: Steps = ((None, GREEN), (1.0, YELLOW))
ANY_IS_BAD_STEPS: Steps = ((None, GREEN), (1.0, RED))
PLAIN: Steps = ((None, BLUE),)
NOTHING = "Nothing above 0"
"""Instead of "No data", which somebody who was just woken takes for something broken."""
