"""The simulated network: delays, order, fair shares, deaths."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simpy.core import EmptySchedule

from rsim.sim.engine import World
from rsim.sim.network import Flow, Link, Network, share_fairly
from rsim.sim.sources import Seeded, Source
from rsim.sim.tape import Tape


class Note(msgspec.Struct, frozen=True):
    text: str


class Harness:
    """Machines a, b and c, and what arrived at each: (time, source, text)."""

    def __init__(self, source: Source | None = None, jitter_s: float = 0.0) -> None:
        self.tape = Tape(source)
        self.world = World(self.tape)
        self.network = Network(
            self.world,
            self.tape,
            latency_s=50e-6,
            jitter_s=jitter_s,
            bandwidth_bytes_per_s=1e9,
        )
        self.arrived: dict[str, list[tuple[int, str, str]]] = {}
        for name in "abc":
            self.attach(name)

    def attach(self, name: str, home: str = "") -> None:
        inbox = self.arrived[name] = []

        def sink(source: str, message: Any) -> None:
            inbox.append((self.world.now_ns, source, message.text))

        self.network.attach(name, sink, home=home)

    def send(self, source: str, target: str, text: str) -> None:
        self.network.send(source, target, text, Note(text))

    def send_bytes(self, source: str, target: str, size_bytes: int) -> list[int]:
        """Send; the list that is returned will hold the time of arrival."""
        times: list[int] = []
        self.network.send_object(
            source, target, f"{source}{target}", size_bytes, lambda: times.append(self.world.now_ns)
        )
        return times

    def run(self) -> None:
        try:
            while True:
                self.world.step()
        except EmptySchedule:
            return


def test_a_message_takes_the_latency() -> None:
    harness = Harness()
    harness.send("a", "b", "hello")
    harness.run()
    assert harness.arrived["b"] == [(50_000, "a", "hello")]


def test_within_a_node_messages_take_no_time() -> None:
    harness = Harness()
    harness.attach("global", home="a")
    harness.send("a", "global", "local")
    harness.send("b", "global", "remote")
    harness.send("a", "a", "self")
    harness.run()
    assert harness.arrived["global"] == [(0, "a", "local"), (50_000, "b", "remote")]
    assert harness.arrived["a"] == [(0, "a", "self")]


@given(st.integers(0, 10_000))
def test_jitter_is_drawn_and_never_reorders_a_pair(seed: int) -> None:
    harness = Harness(Seeded(seed), jitter_s=1e-3)
    for number in range(20):
        harness.send("a", "b", str(number))
    harness.run()
    assert [text for _, _, text in harness.arrived["b"]] == [str(number) for number in range(20)]
    times = [at_ns for at_ns, _, _ in harness.arrived["b"]]
    assert min(times) >= 50_000
    assert max(times) <= 1_050_000
    delays = [draw for draw in harness.tape.draws if draw.label == "delay"]
    assert len(delays) == 20
    assert {draw.entity for draw in delays} == {"a->b"}


def test_the_canonical_delay_is_the_latency_alone() -> None:
    harness = Harness(jitter_s=1e-3)
    harness.send("a", "b", "x")
    harness.run()
    assert harness.arrived["b"][0][0] == 50_000


def test_an_object_takes_latency_and_size_over_bandwidth() -> None:
    harness = Harness()
    times = harness.send_bytes("a", "b", 1_000_000)
    harness.run()
    assert times == [1_050_000]


def test_objects_share_a_card_and_speed_up_when_one_is_through() -> None:
    harness = Harness()
    short = harness.send_bytes("a", "b", 1_000_000)
    long = harness.send_bytes("a", "c", 3_000_000)
    harness.run()
    assert short == [2_050_000]  # half of the card each, until the short one is through
    assert long == [4_050_000]


def test_a_share_that_one_card_cannot_use_goes_to_others() -> None:
    # a sends to b and c; c also receives from b: c's card is the tightest, a -> b gets the rest.
    links = [Link("a", "c"), Link("b", "c"), Link("d", "c"), Link("a", "b")]
    flows = {Flow(link, link.name, 1, lambda: None): None for link in links}
    share_fairly(flows, 9.0)
    assert {flow.key: flow.rate for flow in flows} == {
        "a->c": pytest.approx(3),
        "b->c": pytest.approx(3),
        "d->c": pytest.approx(3),
        "a->b": pytest.approx(6),
    }


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), min_size=1, max_size=25
    )
)
def test_shares_are_max_min_fair(pairs: list[tuple[str, str]]) -> None:
    """Every flow is held back by a full card on which nobody gets more than it."""
    flows = {Flow(Link(*pair), "", 1, lambda: None): None for pair in pairs}
    share_fairly(flows, 1.0)
    cards: dict[str, list[Flow]] = {}
    for flow in flows:
        for card in (flow.link.source, flow.link.target):
            cards.setdefault(card, []).append(flow)
    loads = {card: sum(flow.rate for flow in users) for card, users in cards.items()}
    assert all(load <= 1 + 1e-9 for load in loads.values())
    for flow in flows:
        assert any(
            loads[card] >= 1 - 1e-9 and all(other.rate <= flow.rate + 1e-9 for other in cards[card])
            for card in (flow.link.source, flow.link.target)
        )


@given(st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(0, 2_000_000)), max_size=8))
def test_bytes_are_conserved(sends: list[tuple[int, int]]) -> None:
    """Whatever overlaps: one card never carries more than its bandwidth, nor idles with work."""
    harness = Harness()
    arrivals: list[list[int]] = []
    for start_ns, size_bytes in sorted(sends):
        harness.world.post_at(
            start_ns,
            None,
            None,
            lambda size: arrivals.append(harness.send_bytes("a", "b", size)),
            size_bytes,
        )
    harness.run()
    assert all(len(times) == 1 for times in arrivals)
    busy_until = 0
    for start_ns, size_bytes in sorted(sends):
        busy_until = max(busy_until, start_ns + 50_000) + size_bytes
    last = max((times[0] for times in arrivals), default=0)
    assert last == pytest.approx(busy_until, abs=len(sends) + 1)


def test_nothing_reaches_or_leaves_the_dead() -> None:
    harness = Harness()
    harness.send("a", "b", "to the dead")
    harness.send("b", "c", "from the dead")
    lost = harness.send_bytes("b", "c", 1_000_000)
    shared = harness.send_bytes("a", "c", 1_000_000)
    harness.world.post_at(40_000, None, None, harness.network.detach, "b")
    harness.run()
    assert harness.arrived == {"a": [], "b": [], "c": []}
    assert lost == []
    assert shared == [1_050_000]
    assert not harness.network.alive("b")


def test_a_death_frees_the_bandwidth_of_objects_under_way() -> None:
    harness = Harness()
    lost = harness.send_bytes("b", "c", 10_000_000)
    kept = harness.send_bytes("a", "c", 1_000_000)
    harness.world.post_at(1_050_000, None, None, harness.network.detach, "b")
    harness.run()
    assert lost == []
    assert kept == [1_550_000]  # 0.5 MB in the first millisecond, the other 0.5 MB in half of one
