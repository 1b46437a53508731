"""Prefetching: results come in order, one is prepared ahead, errors arrive, and the thread ends."""

import threading
from contextlib import closing

import pytest

from benchmark.utils.prefetch import prepared_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prepared-ahead")]


def test_results_come_in_the_order_of_the_things_and_all_from_one_other_thread():
    made = list(prepared_ahead(lambda thing: (thing, threading.get_ident()), range(50)))
    assert [thing for thing, _ in made] == list(range(50))
    assert len({thread for _, thread in made}) == 1 and made[0][1] != threading.get_ident()
    assert list(prepared_ahead(str, [])) == []
    assert not threads()


def test_exactly_the_next_thing_is_prepared_while_one_is_in_use():
    started = [threading.Event() for _ in range(4)]
    results = prepared_ahead(lambda thing: started[thing].set() or thing, range(4))
    for number in range(3):
        assert next(results) == number
        assert started[number + 1].wait(10)
        assert not any(event.is_set() for event in started[number + 2 :])


def test_an_error_is_raised_in_place_of_its_result_and_ends_the_thread():
    def prepare(thing):
        if thing == 2:
            raise MemoryError("none left")
        return thing

    results = prepared_ahead(prepare, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(MemoryError, match="none left"):
        next(results)
    assert not threads()


def test_the_thread_ends_when_the_loop_breaks_or_fails_before_the_last_thing():
    with closing(prepared_ahead(str, range(9))) as results:
        assert next(results) == "0" and len(threads()) == 1
    assert not threads()
    with pytest.raises(KeyboardInterrupt), closing(prepared_ahead(str, range(9))) as results:
        for _ in results:
            raise KeyboardInterrupt
    assert not threads()
