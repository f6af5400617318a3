"""Sessions and threads that are older than they, or have ended before them."""

import threading

import pytest

import rsim
from rsim.exceptions import SimulationEscapeError


@rsim.remote
def double(number):
    return 2 * number


def test_a_session_that_a_thread_has_left_can_be_ended_by_another():
    def begin():
        rsim.init("sim")
        assert rsim.get(double.remote(2)) == 4

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    with pytest.raises(SimulationEscapeError, match="other than the one that called"):
        rsim.get(double.remote(2))
    rsim.shutdown()
    with rsim.init("sim"):
        assert rsim.get(double.remote(3)) == 6
