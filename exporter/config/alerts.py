"""``alerts``: when the alerts beside the objectives speak, and what they bear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from exporter.config.section import Section
from exporter.config.types import Amount, Duration, LabelsByName

__all__ = ["Alerts"]

Share = Annotated[float, BeforeValidator(Amount(0, 1, fractions=True))]
PerCall = Annotated[float, BeforeValidator(Amount(0, 1_000, fractions=True))]
Factor = Annotated[float, BeforeValidator(Amount(1, 1_000, fractions=True))]
Errors = Annotated[float, BeforeValidator(Amount(0, 10, fractions=True))]
Seconds = Annotated[float, BeforeValidator(Amount(0, 120, fractions=True))]
Least = Annotated[int, BeforeValidator(Amount(1, 1_000_000))]
FromNone = Annotated[int, BeforeValidator(Amount(0, 1_000_000))]


class Alerts(Section):
    """What `rules` writes the alerting rules with; the exporter itself takes no notice."""

    labels: Annotated[Mapping[str, str], BeforeValidator(LabelsByName())] = Field(
        default_factory=dict, description="labels of every alert, such as `{env: production}`"
    )
    scrape_interval: Annotated[float, BeforeValidator(Duration(1, 300))] = Field(
        60.0, description="how often Prometheus scrapes, at most; no window is shorter than four times that"
    )
    call_failure_warning: Share = Field(0.10, description="share of failed calls over six hours that warns")
    call_failure_critical: Share = Field(
        0.20, description="share of failed calls over half an hour, one or six hours that pages"
    )
    minimum_calls: Least = Field(3, description="calls a page needs at least")
    certainty: Errors = Field(
        2.0, description="standard errors by which failures have to exceed their limit; few calls prove little"
    )
    calls_lost_ratio: Share = Field(0.50, description="share of calls that ended unseen over an hour that warns")
    expected_calls: FromNone = Field(
        10, description="calls that usually begin in a window that has none before that pages; 0 never pages"
    )
    errors_per_call: PerCall = Field(
        0.50, description="agent errors per call, and per visit to a node, that are too many"
    )
    minimum_errors: Least = Field(5, description="agent errors a page needs at least")
    answered_ratio: Share = Field(
        0.10, description="share of turns with a latency, in calls that go on, below which callers count as unanswered"
    )
    unanswered_ratio: Share = Field(
        0.50, description="share of turns nobody answered, or of calls without a word of the agent, that pages"
    )
    minimum_spoken: Least = Field(
        10, description="things said by callers that need an answer before its absence is told"
    )
    node_bad_ratio: Share = Field(0.60, description="share of bad or unanswered turns at one node that warns")
    minimum_node_turns: Least = Field(5, description="turns at a node a warning about it needs at least")
    minimum_visits: Least = Field(3, description="visits to a node a warning about it needs at least")
    tool_failure_ratio: Share = Field(0.20, description="share of failed calls of a tool that warns")
    minimum_tool_calls: Least = Field(20, description="calls of a tool a warning about it needs at least")
    tts_p95_seconds: Seconds = Field(5.0, description="p95 of speech synthesis at a node that warns, in seconds")
    minimum_utterances: Least = Field(20, description="utterances a warning about speech synthesis needs at least")
    loops_per_visit: Share = Field(0.50, description="loops per visit to a node that warn")
    minimum_loops: Least = Field(5, description="loops a warning needs at least")
    interruption_ratio: Share = Field(0.30, description="share of interrupted turns that warns")
    minimum_turns: Least = Field(
        30, description="turns a warning about interruptions, tokens or coverage needs at least"
    )
    tokens_rise_factor: Factor = Field(1.5, description="rise of the tokens per turn against the day before that warns")
    failing_end_reason_ratio: Share = Field(
        0.20, description="share of answered calls ended by errors or timeouts that warns"
    )
    first_word_seconds: Seconds = Field(
        3.0, description="median from the connection to the agent's first word that warns, in seconds"
    )
    first_word_rise_factor: Factor = Field(
        1.5, description="rise of that median against the day before, where known, below which it does not warn"
    )
    minimum_first_words: Least = Field(10, description="calls a warning about the first word needs at least")
    cost_rise_factor: Factor = Field(2.0, description="rise of the cost per call against the day before that warns")
    minimum_costed_calls: Least = Field(20, description="calls an hour a warning about their cost needs at least")
    near_limit_warning: Share = Field(0.80, description="share of the limit of calls at once in use that warns")
    near_limit_critical: Share = Field(0.95, description="share of the limit of calls at once in use that pages")
    minimum_queued: Least = Field(10, description="calls by which a queue grows in half an hour that warn")
    rejected_event_ratio: Share = Field(0.01, description="share of unreadable events that warns")
    minimum_rejected: Least = Field(10, description="unreadable events a warning needs at least")
    coverage: Share = Field(0.50, description="share of turns with a latency below which a warning comes")
    polls_failed_ratio: Share = Field(0.50, description="share of failed requests for the list of calls that pages")
    openings_failed_ratio: Share = Field(0.50, description="share of failed attempts to open a stream that pages")
    streams_not_open_ratio: Share = Field(0.50, description="share of streams that wait that warns")
    recovered_ratio: Share = Field(0.50, description="share of events from histories that warns")
    minimum_recovered: Least = Field(20, description="events from histories a warning needs at least")
    loop_lag_seconds: Seconds = Field(0.5, description="p99 of the event loop's lag that warns, in seconds")
    bad_signature_ratio: Share = Field(0.20, description="share of webhooks with a bad signature that warns")
    minimum_bad_signatures: Least = Field(3, description="webhooks with a bad signature a warning needs at least")
    skipped_sample_ratio: Share = Field(0.05, description="values skipped per measuring event that warn")
    minimum_skipped: Least = Field(20, description="skipped values a warning needs at least")
    clock_ahead_ratio: Share = Field(0.50, description="share of events from the future that warns")
    starts_in_half_an_hour: Least = Field(3, description="starts of the exporter within half an hour that warn")
    takeovers_in_an_hour: Least = Field(
        3, description="takeovers from replicas that were dead, within an hour, that warn"
    )
