"""The scripts that decide between replicas, in a real Redis: who is in, who owns what, whose commit is taken."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.exceptions import TimeoutError as TimeoutFromRedis

from exporter.calls.observations import Agent
from exporter.errors import Interrupted
from exporter.fleet.connecting import Redis, meaning
from exporter.fleet.facts import Row, found
from exporter.fleet.seat import Seat
from exporter.fleet.store import RedisStore
from exporter.state.kept import CallNews, Commit, Fenced, LostData
from tests.support.redis_server import LEASE_SECONDS, claimed, lapsed, reached, seated

MS = int(LEASE_SECONDS * 1000)
ANNA = Agent("a1", "Anna", False)


@pytest.fixture
def redis(redis_port: int, namespace: str) -> Redis:
    return reached(redis_port, namespace)


def renew(redis: Redis, seat: Seat) -> list[Any]:
    return redis.run("renew", seat.name, seat.epoch, seat.fleet_id, MS, b"about")


def bury(redis: Redis, by: Seat, *dead: Seat) -> list[Any]:
    return redis.run("bury", by.name, by.epoch, MS, *(part for each in dead for part in (each.name, each.epoch)))


def claim(redis: Redis, by: Seat, *call_ids: str) -> list[bytes]:
    """What became of each call."""
    answer = redis.run("claim", by.name, by.epoch, MS, *call_ids)
    return list(answer[1::3]) if answer[0] == b"claimed" else list(answer)


def publish(redis: Redis, *call_ids: str) -> list[bytes]:
    return redis.run("publish", *(part for each in call_ids for part in (each, found(Row("listed", each)), "new")))


def store_of(redis: Redis, seat: Seat, redis_port: int) -> RedisStore:
    namespace = redis.prefix.partition(":")[2].rstrip("}:")
    return RedisStore(reached(redis_port, namespace), seat, lease_seconds=LEASE_SECONDS)


def news(call_id: str, *counted: int) -> CallNews:
    return CallNews(call_id, ANNA, "webcall", 1.0, counted, {})


def ids(redis: Redis, call_id: str) -> int:
    """How many identities are kept of a call."""
    return int(redis.client.strlen(f"{redis.prefix}ids:{call_id}")) // 8


# -- who is in


def test_a_name_whose_lease_is_alive_is_not_given_twice(redis: Redis) -> None:
    seat = seated(redis, "one")
    answer = redis.run("join", "one", MS, b"", "another id")
    assert answer[0] == b"taken"
    assert 0 < answer[1] <= MS
    lapsed(redis, "one")
    again = seated(redis, "one")
    assert int(again.epoch) > int(seat.epoch)
    assert renew(redis, seat) == [b"fenced"]
    assert renew(redis, again)[0] == b"renewed"


def test_who_founded_the_fleet_knows_it(redis: Redis) -> None:
    assert seated(redis, "one").founded
    assert not seated(redis, "two").founded


def test_an_epoch_is_never_given_again_even_by_a_redis_that_lost_its_data(redis: Redis) -> None:
    before = seated(redis, "one")
    for key in redis.client.scan_iter(f"{redis.prefix}*"):
        redis.client.delete(key)
    assert int(seated(redis, "one").epoch) > int(before.epoch)


def test_one_polls_and_another_does_when_it_leaves(redis: Redis) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    assert renew(redis, one)[3] == 1
    assert renew(redis, two)[3] == 0
    assert redis.run("leave", one.name, one.epoch) == [b"left"]
    assert renew(redis, two)[3] == 1


def test_renewing_tells_who_else_there_is_and_who_has_left_calls(redis: Redis) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, two, "call-1", "call-2")
    members = renew(redis, one)[6]
    assert dict(zip(members[0::3], members[1::3], strict=True)) == {
        b"one": one.epoch.encode(),
        b"two": two.epoch.encode(),
    }
    redis.run("leave", two.name, two.epoch)
    answer = renew(redis, one)
    assert answer[6][0::3] == [b"one"]
    assert answer[7] == [b"two", 2, b"left"]


def test_only_a_lease_that_is_over_is_taken_away(redis: Redis) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    assert bury(redis, one, two) == [b"buried"]
    lapsed(redis, "two")
    assert bury(redis, one, Seat("two", "1", "")) == [b"buried"], "another epoch"
    assert bury(redis, one, two) == [b"buried", b"two"]
    assert renew(redis, two) == [b"fenced"]
    assert bury(redis, two, one) == [b"fenced"]


def test_a_lease_that_is_over_but_was_not_taken_away_goes_on(redis: Redis) -> None:
    one = seated(redis, "one")
    lapsed(redis, "one")
    assert renew(redis, one)[0] == b"renewed"


def test_nothing_is_taken_until_redis_has_been_back_for_a_lease(redis: Redis) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    lapsed(redis, "two")
    publish(redis, "call-1")
    redis.client.hset(f"{redis.prefix}fleet", "run_id", "another server")
    assert bury(redis, one, two) == [b"young"]
    assert claim(redis, one, "call-1") == [b"young"]
    redis.client.hset(f"{redis.prefix}fleet", "back_at", str(int(time.time() * 1000) - MS - 1))
    assert bury(redis, one, two) == [b"buried", b"two"]
    assert claim(redis, one, "call-1") == [b"claimed"]


def test_a_fleet_that_is_new_waits_a_lease_too(redis: Redis) -> None:
    one = seated(redis, "one", settled=False)
    publish(redis, "call-1")
    assert claim(redis, one, "call-1") == [b"young"]


# -- who owns what


def test_a_call_is_claimed_once(redis: Redis) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    assert publish(redis, "call-1") == [b""]
    assert claim(redis, two, "call-1", "call-2") == [b"claimed", b"unknown"]
    assert claim(redis, one, "call-1") == [b"theirs"]
    assert claim(redis, two, "call-1") == [b"yours"]
    assert publish(redis, "call-1") == [b"two"]
    assert redis.client.zcard(f"{redis.prefix}waiting") == 0


def test_what_was_found_goes_to_all_with_its_owner(redis: Redis) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    publish(redis, "call-1", "call-2")
    (_, entry), *_ = redis.client.xrevrange(f"{redis.prefix}found", count=1)
    assert entry == {found(Row("listed", "call-1")): b"one", found(Row("listed", "call-2")): b""}


def test_a_word_about_a_call_nobody_follows_makes_nobody_follow_it(redis: Redis) -> None:
    one = seated(redis, "one")
    redis.run("publish", "call-1", found(Row("again", "call-1")), "word")
    assert claim(redis, one, "call-1") == [b"unknown"]


def test_calls_of_one_who_is_gone_may_be_claimed_with_what_was_counted(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, two, "call-1")
    store_of(redis, two, redis_port).save(Commit(1.0, [news("call-1", 1, 2, 3)]))
    lapsed(redis, "two")
    assert claim(redis, one, "call-1") == [b"theirs"], "its lease is over, but nobody took its seat"
    assert bury(redis, one, two) == [b"buried", b"two"]
    answer = redis.run("claim", one.name, one.epoch, MS, "call-1")
    assert answer[1::2] == [b"claimed", b"two"]
    (saved,) = store_of(redis, one, redis_port).load().calls
    assert sorted(saved.counted) == [1, 2, 3]
    assert renew(redis, one)[7] == []


def test_a_call_that_is_over_is_claimed_by_nobody(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    store_of(redis, one, redis_port).save(Commit(1.0, [news("call-1", 1)], over=["call-1"]))
    assert publish(redis, "call-1") == [b" ended"]
    assert claim(redis, one, "call-1") == [b"ended"]
    assert ids(redis, "call-1") == 0


def test_a_call_let_go_of_may_be_claimed_with_what_was_counted(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, one, "call-1", "call-2")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0, [news("call-1", 1)]))
    store.release("call-1")
    store.release("call-2")
    store.save(Commit(2.0, [news("call-1", 2)]))
    assert claim(redis, two, "call-1", "call-2") == [b"claimed", b"unknown"]
    assert ids(redis, "call-1") == 2


def test_a_call_let_go_of_is_forgotten_after_its_time(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0, [news("call-1", 1)]))
    store.release("call-1")
    store.save(Commit(2.0))
    store.expire(3.0)
    assert ids(redis, "call-1") == 0
    assert claim(redis, one, "call-1") == [b"unknown"]


# -- whose commit is taken


def test_a_commit_is_refused_as_a_whole_where_one_call_is_anothers(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, one, "call-1")
    claimed(redis, two, "call-2")
    store = store_of(redis, one, redis_port)
    with pytest.raises(Fenced, match="call-2 is followed by two"):
        store.save(Commit(1.0, [news("call-1", 1), news("call-2", 1)]))
    with pytest.raises(Fenced):
        store.save(Commit(1.0, [news("call-1", 1)], over=["call-2"]))
    assert ids(redis, "call-1") == 0
    store.save(Commit(1.0, [news("call-1", 1)]))
    assert ids(redis, "call-1") == 1


def test_who_was_taken_for_dead_keeps_nothing_any_more(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    lapsed(redis, "one")
    store.save(Commit(1.0, [news("call-1", 1)]))
    bury(redis, two, one)
    with pytest.raises(Fenced, match="taken for dead"):
        store.save(Commit(1.0, [news("call-1", 2)]))
    again = seated(redis, "one")
    with pytest.raises(Fenced):
        store.save(Commit(1.0, [news("call-1", 2)]))
    assert [sorted(call.counted) for call in store_of(redis, again, redis_port).load().calls] == [[1]]


def test_a_commit_sent_twice_is_kept_once_and_one_overtaken_not_at_all(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    sent: list[tuple[Any, ...]] = []
    run = store._redis.run

    def watched(name: str, *arguments: Any) -> list[Any]:
        sent.append((name, *arguments))
        return run(name, *arguments)

    store._redis.run = watched  # type: ignore[method-assign]  # to send the same bytes again
    store.save(Commit(1.0, [news("call-1", 1)]))
    assert run(*sent[0]) == [b"kept"]
    store.save(Commit(2.0, [news("call-1", 2)]))
    assert run(*sent[0]) == [b"stale"]
    assert ids(redis, "call-1") == 2


def test_what_a_commit_says_is_over_may_be_said_again(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0, over=["call-1"]))
    store.save(Commit(2.0, over=["call-1"]))


# -- a Redis that lost what it had


def test_a_redis_that_went_back_gets_everything_again(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0, [news("call-1", 1)]))
    before = {key: redis.client.dump(key) for key in redis.client.scan_iter(f"{redis.prefix}*")}
    store.save(Commit(2.0, [news("call-1", 2)]))
    for key, content in before.items():
        redis.client.restore(key, 0, content, replace=True)
    with pytest.raises(LostData):
        store.save(Commit(3.0, [news("call-1", 3)]))
    with pytest.raises(LostData):
        store.save(Commit(3.0, [news("call-1", 3)]))
    store.save(Commit(3.0, [news("call-1", 1, 2, 3)], in_full=True))
    assert ids(redis, "call-1") == 3
    store.save(Commit(4.0, [news("call-1", 4)]))
    assert ids(redis, "call-1") == 4


def test_an_empty_redis_gets_everything_again(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, one, "call-1")
    stores = [store_of(redis, seat, redis_port) for seat in (one, two)]
    stores[0].save(Commit(1.0, [news("call-1", 1)]))
    for key in redis.client.scan_iter(f"{redis.prefix}*"):
        redis.client.delete(key)
    assert renew(redis, one) == [b"lost"]
    for store, calls in zip(stores, ([news("call-1", 1, 2)], []), strict=True):
        with pytest.raises(LostData):
            store.save(Commit(2.0))
        store.save(Commit(3.0, calls, over=["call-0"], in_full=True))
    assert ids(redis, "call-1") == 2
    assert [renew(redis, seat)[0] for seat in (one, two)] == [b"renewed", b"renewed"]
    assert publish(redis, "call-0") == [b" ended"]
    assert publish(redis, "call-1") == [b"one"]


def test_who_gives_it_everything_again_does_not_take_what_another_follows(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, two, "call-1")
    store = store_of(redis, one, redis_port)
    with pytest.raises(Fenced):
        store.save(Commit(2.0, [news("call-1", 1)], in_full=True))
    assert renew(redis, two)[4] == 1


def test_a_result_of_analytics_is_counted_by_one(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")

    def asked(seat: Seat, *identities: str) -> list[Any]:
        return redis.run("say", seat.name, seat.epoch, *identities)

    assert asked(one, "result:1", "result:2") == [1, 1]
    assert asked(two, "result:1", "result:3") == [2, 1]
    store_of(redis, one, redis_port).save(Commit(1.0, over=["result:1"]))
    assert asked(two, "result:1", "result:2") == [0, 2]
    redis.run("leave", one.name, one.epoch)
    assert asked(two, "result:1", "result:2") == [0, 1], "it left without having counted the second"


def test_the_next_life_of_who_was_about_to_count_a_result_is_another(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")

    def asked(seat: Seat) -> Any:
        return redis.run("say", seat.name, seat.epoch, "result:1")

    assert (asked(one), asked(two), asked(one)) == ([1], [2], [1])
    lapsed(redis, "one")
    again = seated(redis, "one")
    assert asked(one) == [b"fenced"]
    assert asked(two) == [1], "whoever has its name now knows nothing of it"
    assert asked(again) == [2]


def test_who_was_taken_for_dead_does_not_make_the_next_life_begin_at_0(redis: Redis, redis_port: int) -> None:
    one = seated(redis, "one")
    store = store_of(redis, one, redis_port)
    assert store.go_ahead()
    store.caught_up()
    lapsed(redis, "one")
    again = store_of(redis, seated(redis, "one"), redis_port)
    assert not store.go_ahead()
    assert not again.load().ahead


def test_who_has_left_may_keep_what_it_shows_until_somebody_has_its_name(redis: Redis, redis_port: int) -> None:
    """Its page is scraped once more, because its name may never come back; nothing more may be counted."""
    one, two = seated(redis, "one"), seated(redis, "two")
    claimed(redis, one, "call-1")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0, [news("call-1", 1)]))
    assert redis.run("leave", one.name, one.epoch) == [b"left"]
    store.save(Commit(2.0))
    assert claim(redis, two, "call-1") == [b"claimed"], "its calls are another's at once"
    for late in (Commit(3.0, [news("call-1", 2)]), Commit(3.0, over=["call-1"])):
        with pytest.raises(Fenced):
            store.save(late)
    store.save(Commit(4.0))
    seated(redis, "one")
    with pytest.raises(Fenced):
        store.save(Commit(5.0))


def test_who_was_taken_for_dead_keeps_nothing_more(redis: Redis, redis_port: int) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    store = store_of(redis, one, redis_port)
    store.save(Commit(1.0))
    lapsed(redis, "one")
    assert bury(redis, two, one) == [b"buried", b"one"]
    with pytest.raises(Fenced):
        store.save(Commit(2.0))


async def test_being_cancelled_is_never_taken_for_a_redis_that_is_away() -> None:
    """redis-py raises a timeout where a task is cancelled in the wrong moment; the task has to end all the same."""
    ended: list[str] = []

    async def asks() -> None:
        try:
            with meaning():
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    raise TimeoutFromRedis("Timeout reading from socket") from None
        except Interrupted:
            ended.append("would go on")

    task = asyncio.create_task(asks())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended
