"""Pauses grow, end their growing, are scattered, and never spin."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.backoff import LEAST_S, Backoff

FIRST_S = st.floats(0, 10)
LONGEST_S = st.floats(0.1, 100)


@given(FIRST_S, LONGEST_S)
def test_pauses_double_up_to_the_longest(first_s: float, longest_s: float) -> None:
    backoff = Backoff(min(first_s, longest_s), longest_s, scatter=0)
    pauses = [backoff.next_s() for _ in range(20)]
    assert pauses[0] == min(first_s, longest_s)
    assert pauses[-1] == longest_s
    assert all(a <= b <= max(2 * a, LEAST_S) for a, b in pairwise(pauses))
    assert min(pauses[1:]) >= LEAST_S, "at once, but only once"


@given(st.floats(0, 1))
def test_scattered_pauses_stay_within_their_share(scatter: float) -> None:
    backoff = Backoff(1.0, 1.0, scatter=scatter)
    assert all(1 - scatter <= backoff.next_s() <= 1 for _ in range(20))


def test_what_works_begins_anew() -> None:
    backoff = Backoff(1.0, 60.0, scatter=0)
    assert not backoff.failing
    assert [backoff.next_s() for _ in range(3)] == [1.0, 2.0, 4.0]
    assert backoff.failing
    backoff.reset()
    assert not backoff.failing
    assert backoff.next_s() == 1.0


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_pauses_never_spin_and_never_shrink(first_s: float, longest_s: float) -> None:
    backoff = Backoff(first_s, longest_s, scatter=0)
    later = [backoff.next_s() for _ in range(30)][1:]
    assert later == sorted(later)
    assert min(later) > 0
