"""The judge: whatever four witnesses say in whatever order, a call ends when it is over, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.evidence import (
    Case,
    EndInStream,
    Evidence,
    ListSaid,
    LogAway,
    LogSaid,
    LogUnknown,
    NewEvents,
    Parting,
    Standing,
    StreamOpened,
    StreamParted,
    WebhookSaid,
    Word,
    hear,
    standing_of,
)
from exporter.calls.judge import (
    AskTheLog,
    GoesOn,
    NotOursForNow,
    Over,
    Patience,
    Verdict,
    may_open,
    outcome,
    weigh,
)

PATIENCE = Patience()
NO_LOG = Patience(log_answers=False)


def word(at: float, status: str | None = "in_progress", named: str | None = None, **more: str) -> Word:
    return Word(standing_of(status, named), at, named, status, **more)  # type: ignore[arg-type] # only reason is given


def over(at: float, named: str = "completed", **more: str) -> Word:
    return word(at, named, named, **more)


def told(*evidence: Evidence, found_at: float = 0.0) -> Case:
    case = Case(found_at)
    for each in evidence:
        case = hear(case, each)
    return case


def verdict(*evidence: Evidence, now: float, patience: Patience = PATIENCE) -> Verdict:
    return weigh(told(*evidence), patience, now)


OPEN = StreamOpened(1.0)
EVENTS = NewEvents(2.0)


# -- the table


@pytest.mark.parametrize(
    "stream",
    [
        [],
        [OPEN],
        [OPEN, EVENTS],
        [OPEN, NewEvents(9.0)],
        [StreamParted(Parting.FAILED, 9.0)],
        [StreamParted(Parting.REFUSED, 9.0)],
    ],
)
def test_a_final_status_in_the_log_is_the_end_whatever_the_stream_does(stream: list[Evidence]) -> None:
    assert verdict(*stream, LogSaid(over(9.0, "failed", reason="busy")), now=9.0) == Over("failed", "busy", None)


def test_call_end_in_the_stream_is_the_end() -> None:
    assert verdict(OPEN, EVENTS, EndInStream(3.0), now=3.0) == Over(None, None, None)


def test_a_goodbye_is_nothing_but_a_question_to_the_log() -> None:
    gone = (OPEN, EVENTS, StreamParted(Parting.CLOSED, 5.0))
    assert verdict(*gone, now=5.0) == AskTheLog(5.0)
    assert not may_open(told(*gone), PATIENCE)
    goes_on = LogSaid(word(5.0))
    assert verdict(*gone, goes_on, now=6.0) == GoesOn()
    assert may_open(told(*gone, goes_on), PATIENCE), "while the log says that the call goes on"
    assert isinstance(verdict(*gone, goes_on, StreamParted(Parting.CLOSED, 7.0), now=7.0), AskTheLog), "asked each time"
    assert may_open(told(*gone, LogAway(5.0), LogAway(5.0 + PATIENCE.grace)), PATIENCE), "or cannot be had for long"


@pytest.mark.parametrize("seen", [[], [OPEN, EVENTS]])
def test_a_refusal_is_nothing_but_a_question_to_the_log(seen: list[Evidence]) -> None:
    refused = StreamParted(Parting.REFUSED, 5.0)
    assert verdict(*seen, refused, now=5.0) == AskTheLog(5.0)
    assert verdict(*seen, refused, LogSaid(word(5.0)), now=6.0) == GoesOn(), "as an outage"
    assert isinstance(verdict(*seen, refused, LogSaid(over(5.0)), now=6.0), Over)


def test_what_nobody_knows_is_looked_for_and_then_forgotten() -> None:
    refused = StreamParted(Parting.REFUSED, 0.5)
    assert verdict(refused, LogUnknown(0.5), now=0.5) == AskTheLog(1.5)
    later = (StreamParted(Parting.REFUSED, 6.9), LogUnknown(7.5))
    assert verdict(refused, LogUnknown(0.5), *later, now=7.5) == NotOursForNow()
    assert verdict(EVENTS, refused, LogUnknown(0.5), *later, now=7.5) != NotOursForNow(), "it was seen: it is ours"


def test_frames_that_are_no_events_make_no_call() -> None:
    error_frame = (StreamOpened(0.1), StreamParted(Parting.CUT, 0.2))
    assert verdict(*error_frame, now=0.2) == AskTheLog(0.2)
    assert verdict(*error_frame, LogUnknown(0.2), LogUnknown(7.2), now=7.2) == NotOursForNow()


@pytest.mark.parametrize("said", [WebhookSaid(over(10.0)), ListSaid(over(10.0))])
def test_a_premature_word_is_not_believed_while_the_log_says_otherwise(said: Evidence) -> None:
    live = (OPEN, NewEvents(10.0), said)
    assert verdict(*live, now=10.0) == AskTheLog(10.0 + PATIENCE.settle)
    assert isinstance(verdict(*live, LogSaid(word(12.0)), now=12.0), AskTheLog), "not after one answer"
    after = NewEvents(25.0)
    assert verdict(*live, LogSaid(word(25.0)), after, now=25.1) == GoesOn()
    assert isinstance(verdict(*live, LogSaid(over(14.0)), now=14.0), Over)
    assert isinstance(verdict(*live, LogAway(25.0), after, now=25.1), Over), "nobody contradicts"


def test_a_word_nobody_knows_ends_a_call_that_has_ended() -> None:
    voicemail = LogSaid(word(9.0, "voicemail"))
    assert standing_of("voicemail", None) is Standing.STRANGE
    assert standing_of("In-Progress", None) is Standing.GOES_ON
    assert verdict(OPEN, NewEvents(8.0), voicemail, now=9.0) == GoesOn()
    assert verdict(OPEN, NewEvents(8.0), voicemail, now=8.0 + PATIENCE.quiet) == Over(None, None, None)
    for end in (StreamParted(Parting.CLOSED, 9.0), StreamParted(Parting.REFUSED, 9.0), WebhookSaid(word(9.0, "odd"))):
        assert verdict(OPEN, NewEvents(8.0), end, voicemail, now=9.0) == Over(None, None, None)


def test_silence_makes_the_log_speak_unless_a_list_vouches() -> None:
    assert verdict(OPEN, EVENTS, now=16.9) == GoesOn()
    assert verdict(OPEN, EVENTS, now=17.0) == AskTheLog(17.0)
    assert verdict(OPEN, EVENTS, ListSaid(word(10.0)), now=17.0) == GoesOn()
    assert verdict(OPEN, EVENTS, ListSaid(word(10.0)), now=25.0) == AskTheLog(25.0)
    asked = verdict(OPEN, EVENTS, LogSaid(word(500.0)), now=501.0)
    assert asked == AskTheLog(500.0 + PATIENCE.again), "and often enough to hear of an end within half a minute"


def test_a_call_in_which_nothing_happens_is_lost_though_everybody_says_that_it_goes_on() -> None:
    lists = [ListSaid(word(float(at))) for at in range(0, 900, 10)]
    assert verdict(OPEN, EVENTS, *lists, LogSaid(word(890.0)), now=902.0) == Over("lost", None, None)


def test_an_outage_says_nothing_of_a_call() -> None:
    failing = [StreamParted(Parting.FAILED, float(at)) for at in range(10, 2000, 30)]
    away = [LogAway(float(at)) for at in range(10, 2000, 30)]
    assert isinstance(verdict(OPEN, EVENTS, *failing, *away, now=2000.0), AskTheLog)
    assert isinstance(verdict(OPEN, EVENTS, *failing, *away, NewEvents(2001.0), now=2001.0), GoesOn)
    assert verdict(OPEN, EVENTS, *failing, *away, now=3700.0) == Over("lost", None, None), "but not for ever"


def test_where_no_log_may_be_asked_the_others_words_hold() -> None:
    refused = StreamParted(Parting.REFUSED, 8.0)
    assert verdict(refused, now=8.0, patience=NO_LOG) == NotOursForNow()
    assert verdict(OPEN, EVENTS, refused, now=8.0, patience=NO_LOG) == Over(None, None, None)
    assert verdict(OPEN, WebhookSaid(over(5.0, "busy")), now=5.0, patience=NO_LOG) == Over("busy", None, None)
    assert verdict(OPEN, EVENTS, StreamParted(Parting.CLOSED, 8.0), now=8.0, patience=NO_LOG) == GoesOn()


# -- how it ended


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ([LogSaid(over(9.0, "failed")), WebhookSaid(over(8.0, "busy"))], "busy"),
        ([LogSaid(over(9.0, "failed")), ListSaid(over(8.0, "no_answer"))], "no_answer"),
        ([LogSaid(over(9.0, "failed")), ListSaid(over(8.0, "completed"))], "failed"),
        ([LogSaid(over(9.0, "completed")), WebhookSaid(over(8.0, "failed"))], "completed"),
        ([LogSaid(over(9.0, "blocked"))], "blocked"),
        ([WebhookSaid(over(8.0, "failed")), ListSaid(over(8.0, "busy"))], "busy"),
        ([ListSaid(over(8.0, "cancelled"))], "cancelled"),
        ([LogSaid(word(9.0, "voicemail"))], "completed"),
        ([LogSaid(word(9.0, "voicemail")), WebhookSaid(over(8.0, "failed"))], "failed"),
        ([LogSaid(word(9.0))], "lost"),
    ],
)
def test_the_outcome_is_the_most_specific_word(said: list[Evidence], right: str) -> None:
    case = told(*said)
    assert outcome(case, natural="lost", whole=False, history=True, patience=PATIENCE) == right


def test_a_call_whose_history_could_not_be_had_is_lost_unless_somebody_knows_how_it_ended() -> None:
    def ended(*said: Evidence, natural: str = "completed", whole: bool = True, patience: Patience = PATIENCE) -> str:
        return outcome(told(*said), natural=natural, whole=whole, history=False, patience=patience)

    assert ended() == "lost", "a whole stream does not say how the call ended"
    assert ended(patience=NO_LOG) == "completed"
    assert ended(natural="cancelled") == "cancelled"
    assert ended(WebhookSaid(over(8.0))) == "completed"
    assert ended(WebhookSaid(over(8.0)), whole=False) == "lost"
    assert ended(WebhookSaid(over(8.0, "busy")), whole=False) == "busy"


# -- properties

times = st.integers(0, 2000).map(float)
words = st.builds(
    lambda at, said: word(at, *said),
    times,
    st.sampled_from(
        (
            *(("in_progress", None), ("processing", None), ("completed", "completed"), ("failed", "failed")),
            *(("busy", "busy"), ("voicemail", None), ("ended", None), (None, None)),
        )
    ),
)
reports: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(ListSaid, words),
    st.builds(WebhookSaid, words),
    st.builds(LogSaid, words),
    st.builds(LogUnknown, times),
    st.builds(LogAway, times),
    st.builds(StreamParted, st.sampled_from(Parting), times),
    st.builds(StreamOpened, times),
    st.builds(NewEvents, times),
    st.builds(EndInStream, times),
)


@given(st.lists(reports, max_size=12), st.randoms())
def test_the_same_evidence_in_any_order_and_repeated_is_the_same_case(said: list[Evidence], chance: object) -> None:
    shuffled = said + said[: len(said) // 2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random of Hypothesis'
    assert told(*said) == told(*shuffled)
    assert weigh(told(*said), PATIENCE, 2000.0) == weigh(told(*shuffled), PATIENCE, 2000.0)


@given(st.lists(reports, max_size=12), reports)
def test_nothing_but_new_events_moves_a_timer(said: list[Evidence], more: Evidence) -> None:
    before, after = told(*said), told(*said, more)
    assert (after.quiet_since == before.quiet_since) or isinstance(more, NewEvents)


def _in_progress(at: float) -> Evidence:
    return LogSaid(word(at))


LOGS: dict[str, Callable[[float], Evidence]] = {
    "in progress": _in_progress,
    "strange": lambda at: LogSaid(word(at, "voicemail")),
    "unknown": LogUnknown,
    "away": LogAway,
}
STREAMS: dict[str, Callable[[float], Iterable[Evidence]]] = {
    "silent": lambda at: (),
    "failing": lambda at: (StreamParted(Parting.FAILED, at),),
    "refused": lambda at: (StreamParted(Parting.REFUSED, at),),
    "closing again and again": lambda at: (StreamOpened(at), StreamParted(Parting.CLOSED, at + 0.1)),
    "cut again and again": lambda at: (StreamOpened(at), StreamParted(Parting.CUT, at + 0.1)),
    "open again and again": lambda at: (StreamOpened(at),),
}


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("stream", STREAMS)
@given(said=st.lists(reports, max_size=6))
def test_no_evidence_keeps_a_call_for_ever_and_its_log_is_asked_within_bounds(
    log: str, stream: str, said: list[Evidence]
) -> None:
    case, now, asked, tried_at = told(*said), 2000.0, 0, -inf
    while not isinstance(said_now := weigh(case, PATIENCE, now), Over | NotOursForNow):
        assert now <= 2000.0 + PATIENCE.outage + 100, "followed for ever"
        if isinstance(said_now, AskTheLog) and said_now.at <= now:
            case, asked = hear(case, LOGS[log](now)), asked + 1
            now += 0.1
        elif now - tried_at >= 30:
            tried_at = now
            for each in STREAMS[stream](now):
                case = hear(case, each)
        now += 0.5 if isinstance(said_now, AskTheLog) else 5.0
    assert asked <= 25 + 7 * (now - 2000.0) / 30, "a question to each refusal, each asked again at growing pauses"


@given(st.lists(reports, max_size=8), words)
def test_a_final_word_of_the_log_is_the_last(said: list[Evidence], last: Word) -> None:
    final = LogSaid(replace(last, standing=Standing.OVER, outcome="failed", status="failed"))
    assert isinstance(weigh(told(*said, final), PATIENCE, 2000.0), Over)
    assert isinstance(weigh(told(final, *said), PATIENCE, 2000.0), Over)
