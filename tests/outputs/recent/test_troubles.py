"""Where callers are suffering now, with what an on-call asks next: which stage, for whom, since when, which call."""

from __future__ import annotations

from exporter.calls.account import Account
from exporter.calls.observations import (
    Agent,
    CallEnded,
    CallStarted,
    FirstWordHeard,
    Place,
    TurnAnswered,
    TurnExplained,
    TurnUnanswered,
    UserSpoke,
    Where,
)
from exporter.outputs.recent import Recent, Trouble
from tests.outputs.recent.test_recent import GREETING, PAYMENT, SALES, Now, remembered

WELL = Account(end_reason="user_hangup", cost=0.10, version="3")


class Line:
    """Calls of one agent, told as facts."""

    def __init__(self) -> None:
        self.now = Now()
        self.recent: Recent = remembered(self.now)
        self._calls = 0

    def say(self, fact: object) -> None:
        self.recent.recorders[type(fact)](fact)  # type: ignore[index] # facts that are remembered

    def call(
        self,
        *,
        seconds: float = 0.8,
        turns: int = 2,
        place: Place = GREETING,
        answered: bool = True,
        first_word: float | None = 1.0,
        channel: str = "webcall",
        outcome: str = "completed",
        account: Account = WELL,
        stages: tuple[tuple[str, float], ...] = (),
        agent: Agent = SALES,
        over: bool = True,
    ) -> str:
        self._calls += 1
        name = f"c{self._calls}"
        where = Where(name, place, "v", 0)
        self.say(CallStarted(name, agent, channel))
        for _ in range(turns):
            self.say(UserSpoke(where))
            if answered:
                self.say(TurnAnswered(where, 5.0, seconds, False, stages, None, None, None, 0, 0, 0))
        if not over:
            return name
        if not answered:
            for _ in range(turns):
                self.say(TurnUnanswered(where))
        if first_word is not None:
            self.say(FirstWordHeard(agent, channel, first_word))
        self.say(CallEnded(name, agent, channel, outcome, 1.0, 61.0, 60.0, None, False, 0, turns, 0, 0, 0, account))
        return name

    def well(self, minutes: int = 40, each: int = 1) -> Line:
        for _ in range(minutes):
            for _ in range(each):
                self.call()
            self.now.minutes(1)
        return self

    def only(self) -> Trouble:
        (trouble,) = self.recent.troubles()
        return trouble


def test_all_is_well_where_all_is_well() -> None:
    assert Line().well().recent.troubles() == []


def test_a_slow_node_tells_the_stage_the_channel_and_the_version() -> None:
    line = Line().well()
    stages = (("llm_api", 4.5), ("tts_api", 0.5))
    new = Account(end_reason="user_hangup", cost=0.10, version="4")
    for _ in range(4):
        line.call(channel="webcall", place=PAYMENT)
        line.call(channel="telephony_inbound", place=PAYMENT, seconds=5.0, stages=stages, account=new)
        line.now.minutes(1)
    trouble = line.only()
    assert (trouble.kind, trouble.node_name) == ("slow", "Payment")
    assert trouble.stage is not None
    assert (trouble.stage[0], round(trouble.stage[1], 2)) == ("llm_api", 0.9)
    assert trouble.channels == (("telephony_inbound", 8, 8), ("webcall", 0, 8))
    assert trouble.version is not None


def test_a_slow_tool_is_the_stage_once_its_call_is_over() -> None:
    line = Line().well()
    for _ in range(6):
        name = line.call(place=PAYMENT, turns=1, seconds=7.0, stages=(("llm_api", 1.0), ("unattributed", 6.0)))
        line.say(TurnExplained(Where(name, PAYMENT, "v", 0), 5.0, (("tool", 5.5), ("unattributed", 0.5))))
    assert line.only().stage == ("tool", 33 / 42)


def test_the_version_is_that_of_the_latest_call_and_since_when() -> None:
    line = Line().well(10)
    line.call(account=Account(version="4"))
    line.now.minutes(7)
    look = line.recent.look()
    assert (look.versions["a1"].version, look.versions["a1"].before) == ("4", "3")
    assert look.minute - look.versions["a1"].since == 7


def test_calls_ended_by_errors_tell_the_reason_though_they_count_as_completed() -> None:
    line = Line().well()
    shown = ""
    for _ in range(12):
        shown = line.call(account=Account(end_reason="connection_error"))
        line.now.minutes(1)
    trouble = line.only()
    assert (trouble.kind, trouble.reasons, trouble.call_id) == ("broken", (("connection_error", 12),), shown)


def test_failed_calls_that_errors_ended_are_told_once() -> None:
    line = Line().well()
    for _ in range(12):
        line.call(outcome="failed", account=Account(end_reason="error"))
        line.now.minutes(1)
    assert line.only().kind == "failing"
    assert line.only().reasons == (("error", 12),)


def test_turns_that_nobody_answered_are_trouble_of_their_agent_and_name_the_node() -> None:
    line = Line().well(40)
    for _ in range(12):
        line.call(answered=False, place=PAYMENT)
        line.now.minutes(1)
    trouble = line.only()
    assert (trouble.kind, trouble.agent_id, trouble.node_name) == ("unanswered", "a1", "Payment")
    assert 600 <= trouble.seconds_ago < 780


def test_while_calls_go_on_silence_shows_where_turns_had_a_latency_before() -> None:
    line = Line().well(40)
    line.now.minutes(16)
    for _ in range(6):
        line.call(answered=False, over=False)
    assert line.only().kind == "unanswered"
    quiet = Line()
    for _ in range(6):
        quiet.call(answered=False, over=False)
    assert quiet.recent.troubles() == [], "an agent whose turns never had one may be of that kind"


def test_an_agent_that_says_nothing_is_told_where_it_spoke_before() -> None:
    line = Line().well(40)
    for _ in range(12):
        line.call(first_word=None, turns=0)
        line.now.minutes(1)
    assert line.only().kind == "mute"
    chat = Line()
    for _ in range(50):
        chat.call(first_word=None, turns=0)
        chat.now.minutes(1)
    assert chat.recent.troubles() == []


def test_an_agent_that_speaks_is_mute_at_no_second_of_a_minute_and_in_no_minute_of_its_start() -> None:
    line = Line()
    for _ in range(20 * 12):
        line.call()
        line.now.minutes(1 / 12)
        assert line.recent.troubles() == []


def test_a_late_first_word_is_told_where_it_came_early_before() -> None:
    line = Line().well(40)
    for _ in range(12):
        line.call(first_word=6.5)
        line.now.minutes(1)
    trouble = line.only()
    assert (trouble.kind, trouble.of) == ("late", 14)
    assert [channel for channel, _, _ in trouble.channels] == ["webcall"]
    assert trouble.seconds > 3
    waits = Line()
    for _ in range(60):
        waits.call(first_word=6.5)
        waits.now.minutes(1)
    assert [found.kind for found in waits.recent.troubles()] in ([], ["late"])


def test_calls_that_cost_more_than_before_are_told_and_one_dear_call_is_not() -> None:
    line = Line().well(40)
    line.call(account=Account(end_reason="user_hangup", cost=20.0, version="3"))
    for _ in range(10):
        line.call()
        line.now.minutes(1)
    assert line.recent.troubles() == []
    for _ in range(15):
        line.call(account=Account(end_reason="user_hangup", cost=0.40, version="3"))
        line.now.minutes(1)
    trouble = line.only()
    assert trouble.kind == "dear"
    assert trouble.share > 2


def test_calls_grow_dearer_in_the_first_minutes_because_short_ones_end_first() -> None:
    line = Line()
    for minute in range(10):
        for _ in range(12):
            line.call(account=Account(end_reason="user_hangup", cost=0.05 * min(minute + 1, 4), version="3"))
            line.now.minutes(1 / 12)
            assert line.recent.troubles() == []
