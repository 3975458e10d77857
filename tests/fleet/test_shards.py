"""Static shards: no call followed twice, none by nobody, whoever finds it and however many shards there are."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.fleet.shards import Shard, first, ranked, weight

CALL = "CALL-1758124225863-80752e"
call_ids = st.from_regex(r"CALL-[0-9]{13}-[0-9a-f]{6}", fullmatch=True) | st.text(max_size=128)
names = st.lists(st.from_regex(r"[a-z]{1,8}-[0-9]{1,3}", fullmatch=True), unique=True, max_size=12)
many = [f"CALL-{1_758_124_225_863 + 997 * n}-{n * 7919 % 0xFFFFFF:06x}" for n in range(4_000)]


@given(call_ids, st.integers(1, 64))
def test_every_call_has_one_shard_and_only_one(call_id: str, of: int) -> None:
    assert sum(Shard(number, of).has(call_id) for number in range(of)) == 1


@given(call_ids, names)
def test_who_is_first_leads_the_ranking_in_whatever_order_the_names_come(call_id: str, members: list[str]) -> None:
    order = ranked(members, call_id)
    assert order == ranked(reversed(members), call_id)
    assert sorted(order) == sorted(members)
    assert first(members, call_id) == (order[0] if order else None)


@given(call_ids, names, st.from_regex(r"new-[0-9]{1,3}", fullmatch=True))
def test_who_joins_takes_calls_and_moves_none_between_the_others(call_id: str, members: list[str], new: str) -> None:
    before, after = first(members, call_id), first([*members, new], call_id)
    assert after in (before, new)


@given(call_ids, names)
def test_when_the_first_leaves_the_second_follows(call_id: str, members: list[str]) -> None:
    order = ranked(members, call_id)
    assert ranked(order[1:], call_id) == order[1:]


@pytest.mark.parametrize("of", [2, 3, 4, 12])
def test_shards_have_about_the_same_number_of_calls(of: int) -> None:
    shares = Counter(next(n for n in range(of) if Shard(n, of).has(call_id)) for call_id in many[: 400 * of])
    assert len(shares) == of
    assert max(shares.values()) < 1.25 * 400
    assert min(shares.values()) > 0.75 * 400


def test_the_weights_are_the_same_everywhere_and_for_ever() -> None:
    """Replicas of two versions, or on two machines, must not disagree about a call."""
    assert [weight(name, CALL) for name in ("0", "1", "2", "atoms-exporter-0")] == [
        16587922823832486974,
        1249589168869502138,
        7465091628381958443,
        13956777926977397464,
    ]


def test_one_of_one_has_every_call_and_only_the_first_speaks_for_the_account() -> None:
    assert Shard().has(CALL)
    assert Shard().has("")
    assert [Shard(number, 3).speaks_for_account for number in range(3)] == [True, False, False]
