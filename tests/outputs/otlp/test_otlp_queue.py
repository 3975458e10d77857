"""The queue of spans: nothing vanishes uncounted, the newest are kept."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.otlp.queue import SpanQueue, Waiting


def span(number: int) -> bytes:
    return str(number).encode()


def numbers(batch: list[Waiting]) -> list[int]:
    return [int(encoded) for _, encoded in batch]


def test_a_full_queue_lets_go_of_its_oldest() -> None:
    queue = SpanQueue(3, 100)
    for number in range(10):
        queue.put(span(number), 0)
    assert numbers(queue.take(10, 0)) == [7, 8, 9]
    assert queue.lost() == (7, 0)
    assert queue.lost() == (0, 0), "each loss is told once"


def test_what_comes_back_goes_to_the_front_and_is_the_first_to_be_pushed_out() -> None:
    queue = SpanQueue(4, 100)
    for number in range(3):
        queue.put(span(number), 0)
    batch = queue.take(2, 0)
    queue.put(span(3), 0)
    queue.give_back(batch)
    assert len(queue) == 4
    queue.put(span(4), 0)
    assert numbers(queue.take(9, 0)) == [1, 2, 3, 4]
    assert queue.lost() == (1, 0)


def test_what_comes_back_to_a_full_queue_is_lost_oldest_first() -> None:
    queue = SpanQueue(3, 100)
    for number in range(3):
        queue.put(span(number), 0)
    batch = queue.take(2, 0)
    queue.put(span(3), 0)
    queue.give_back(batch)
    assert numbers(queue.take(9, 0)) == [1, 2, 3]
    assert queue.lost() == (1, 0)


def test_age_counts_from_when_a_span_was_put() -> None:
    queue = SpanQueue(10, 5)
    queue.put(span(1), 0)
    queue.put(span(2), 3)
    assert numbers(queue.take(10, 6)) == [2]
    assert queue.lost() == (0, 1)


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["put", "take", "back", "keep"]), st.integers(1, 4)), max_size=60),
)
def test_every_span_is_waiting_taken_or_counted_as_lost(capacity: int, steps: list[tuple[str, int]]) -> None:
    queue = SpanQueue(capacity, 1_000)
    put = taken = lost = 0
    batch: list[Waiting] = []
    for step, n in steps:
        if step == "put":
            put += 1
            queue.put(span(put), 0)
        elif step == "take" and not batch:
            batch = queue.take(n, 0)
        elif step == "back":
            queue.give_back(batch)
            batch = []
        elif step == "keep":
            taken, batch = taken + len(batch), []
        lost += queue.lost()[0]
        assert len(queue) <= capacity
        assert put == len(queue) + len(batch) + taken + lost


def test_a_thread_that_takes_beside_one_that_puts_loses_nothing_uncounted() -> None:
    queue = SpanQueue(50, 1_000)
    done = threading.Event()
    taken: list[int] = []

    def take() -> None:
        while not done.is_set() or len(queue):
            batch = queue.take(7, 0)
            if len(taken) % 3:
                taken.extend(numbers(batch))
            else:
                queue.give_back(batch)
                taken.extend(numbers(queue.take(1, 0)))

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(20_000):
        queue.put(span(number), 0)
    done.set()
    thread.join(60)
    assert len(taken) + queue.lost()[0] == 20_000
    assert len(set(taken)) == len(taken)
