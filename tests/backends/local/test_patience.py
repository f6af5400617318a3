"""Waits of which only an actor's event loop knows how they end."""

import rsim
from tests.polling import holds_in_time


@rsim.remote(max_concurrency=1)
class Asking:
    async def ask(self, other: object, back: object) -> object:
        return await other.ask.remote(back, other)  # type: ignore[attr-defined]


def test_actors_that_await_each_other_seem_idle() -> None:
    with rsim.init("local", num_cpus=1, log_to_driver=False) as session:
        one, two = Asking.remote(), Asking.remote()
        lost = one.ask.remote(two, one)
        inner = session._backend

        def stuck() -> bool:
            with inner._reactor.lock:
                waits = sum(" waits for " in line for line in inner._waiting_report())
                return waits == 2 and inner._seems_idle() and not inner._idle()

        assert not rsim.wait([lost], timeout=0)[0]
        assert holds_in_time(stuck)
