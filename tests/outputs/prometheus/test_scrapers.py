"""Who has seen which page: zeros for what is new to a scraper, and never for what it may have seen at its value."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.prometheus.scrapers import MOST_SCRAPERS, Scrape, Scrapers


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.closed = False

    def is_closing(self) -> bool:
        return self.closed


class Door:
    """Scrapers, and the count of pages begun."""

    def __init__(self) -> None:
        self.scrapers = Scrapers()
        self.edition = 0
        self.now = 0.0

    def visit(self, key: str, line: Line | None, *, in_time: bool = True) -> int:
        """A page that arrives; the edition from which on series are new to its reader."""
        self.now += 1
        visit = self.scrapers.visit(Scrape(key, line), self.now)
        self.edition += 1
        self.scrapers.got(visit, self.edition, in_time=in_time)
        return visit.floor

    def restart(self) -> None:
        """Another life, that knows what was kept of this one."""
        kept, shown = self.scrapers.seen(), self.scrapers.shown
        self.scrapers = Scrapers()
        self.scrapers.restore(kept, shown)
        self.edition += 1


def test_everything_is_new_to_the_first_and_to_the_next_only_what_came_since() -> None:
    door, line = Door(), Line()
    assert door.visit("a", line) == 0
    assert door.visit("a", line) == 1
    assert door.visit("a", line) == 2


def test_a_page_that_did_not_arrive_was_not_seen() -> None:
    door, line = Door(), Line()
    door.visit("a", line)
    assert door.scrapers.visit(Scrape("a", line), 5.0).floor == 1
    assert door.scrapers.visit(Scrape("a", line), 6.0).floor == 1


def test_a_late_page_was_read_if_the_connection_is_kept_and_else_it_may_have_been_given_up() -> None:
    """Who gives up closes the connection; what went out into it nobody has read."""
    door, line = Door(), Line()
    assert door.visit("a", line) == 0
    assert door.visit("a", line, in_time=False) == 1
    assert door.visit("a", line, in_time=False) == 2
    line.closed = True
    assert door.visit("a", Line(), in_time=False) == 2, "what was new on the late page is new again"
    door.restart()
    assert door.visit("a", Line()) == 2


def test_two_behind_one_address_are_told_apart_by_their_connections() -> None:
    door, one, other = Door(), Line(), Line()
    assert [door.visit("a", one), door.visit("a", other)] == [0, 0]
    assert [door.visit("a", one), door.visit("a", other)] == [1, 2]
    assert [door.visit("a", one), door.visit("a", other)] == [3, 4]


def test_who_comes_back_on_a_new_connection_is_the_one_whose_connection_is_gone() -> None:
    door, one, other = Door(), Line(), Line()
    for _ in range(2):
        door.visit("a", one)
        door.visit("a", other)
    one.closed = True
    assert door.visit("a", Line()) == 3
    assert door.visit("a", other) == 4


def test_a_stranger_sees_zeros_only_of_what_nobody_was_shown_at_its_value() -> None:
    door, line = Door(), Line()
    assert door.visit("a", line) == 0
    assert door.visit("b", Line()) == 0, "nobody has seen a value yet"
    door.visit("a", line)
    door.visit("a", line)
    assert door.visit("c", Line()) == 3


def test_two_that_open_a_connection_for_each_page_both_see_zeros_first() -> None:
    """Behind a proxy, or with pages minutes apart: they take turns."""
    door = Door()
    floors = [door.visit("a", None) for _ in range(2)]
    assert floors[0] == 0
    shared = Door()
    shared.visit("a", Line())
    shared.visit("a", Line())
    for line in (scraper.connection for scraper in shared.scrapers._known):
        line.closed = True  # type: ignore[union-attr]  # the lines made above
    floors = [shared.visit("a", None) for _ in range(6)]
    assert floors == [1, 2, 3, 4, 5, 6]


def test_after_a_restart_either_of_two_alike_may_come_first() -> None:
    door, one, other = Door(), Line(), Line()
    for _ in range(3):
        door.visit("a", one)
        door.visit("a", other)
    door.restart()
    first = door.visit("a", Line())
    second = door.visit("a", Line())
    assert first == second == 5, "what appeared after page 5 the first of them has not seen, and the other at 0"


def test_scrapers_that_stay_away_are_forgotten_and_strangers_then() -> None:
    door, line = Door(), Line()
    for _ in range(3):
        door.visit("a", line)
    line.closed = True
    for number in range(2 * MOST_SCRAPERS):
        door.visit(f"other {number}", Line())
    assert len(door.scrapers.seen()) == MOST_SCRAPERS
    assert door.visit("a", Line()) >= 2


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("visit"), st.integers(0, 2)),
        st.tuples(st.just("lost page"), st.integers(0, 2)),
        st.tuples(st.just("reconnect"), st.integers(0, 2)),
        st.tuples(st.just("birth"), st.just(0)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=40,
)


@given(_steps, st.booleans())
def test_nobody_is_ever_shown_0_after_a_value(steps: list[tuple[str, int]], alike: bool) -> None:
    """Three scrapers, told apart by their names or only by their connections; pages that do not arrive, connections
    that break, crashes that forget what was not kept: a page is committed before it goes out."""
    door = Door()
    lines = [Line(), Line(), Line()]
    births: list[int] = []
    seen: list[set[int]] = [set(), set(), set()]  # of each scraper: the series it saw at their value
    kept = (door.scrapers.seen(), 0, 0)

    def page(who: int) -> tuple[object, int]:
        nonlocal kept
        door.now += 1
        visit = door.scrapers.visit(Scrape("same" if alike else f"{who}", lines[who]), door.now)
        door.edition += 1
        kept = (door.scrapers.seen(), door.scrapers.shown, door.edition)
        return visit, door.edition

    for what, who in steps:
        if what == "birth":
            births.append(door.edition)
        elif what in ("visit", "lost page"):
            visit, edition = page(who)
            if what == "lost page":
                continue
            for series, born in enumerate(births):
                if born >= visit.floor:  # type: ignore[attr-defined]  # a Visit
                    assert series not in seen[who], "a step back"
                else:
                    seen[who].add(series)
            door.scrapers.got(visit, edition)  # type: ignore[arg-type]  # a Visit
        elif what == "reconnect":
            lines[who].closed = True
            lines[who] = Line()
        elif what == "commit":
            kept = (door.scrapers.seen(), door.scrapers.shown, door.edition)
        else:
            door.scrapers = Scrapers()
            door.scrapers.restore(kept[0], kept[1])
            births = [born for born in births if born <= kept[2]]
            door.edition = kept[2] + 1
            lines = [Line(), Line(), Line()]


def test_who_leaves_waits_for_everybody_who_comes_regularly_to_have_seen_all_at_its_value() -> None:
    scrapers, line = Scrapers(), Line()
    for edition, whole in ((1, False), (2, True)):
        scrapers.got(scrapers.visit(Scrape("a", line), 10.0), edition, whole=whole)
    assert scrapers.expected(2, now=20.0) == 1, "what was counted after its last page it has not seen"
    scrapers.got(scrapers.visit(Scrape("a", line), 25.0), 3)
    assert scrapers.expected(2, now=26.0) == 1, "something on that page was new to it, and shown at 0"
    scrapers.got(scrapers.visit(Scrape("a", line), 40.0), 4, whole=True)
    assert scrapers.expected(2, now=41.0) == 0
    assert scrapers.expected(4, now=400.0) == 0, "who does not come any more is not waited for"
