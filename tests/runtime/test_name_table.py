"""Names of actors, as the control store keeps them."""

from rsim.core.records import ActorName, NamedActor
from rsim.runtime.name_table import NameTable

NAME = ActorName("ns", "a")


def claimed(actor_id: bytes, owner: str = "n0") -> NamedActor:
    return NamedActor(NAME, actor_id, owner, b"")


def test_the_first_has_it_until_it_lets_go() -> None:
    table = NameTable()
    first = claimed(b"1")
    assert table.claim(first) is first
    assert table.claim(claimed(b"2")) is first
    table.release(NAME, b"2", "n0")
    table.release(NAME, b"1", "n1")
    assert table.find(NAME) is first
    table.release(NAME, b"1", "n0")
    assert table.find(NAME) is None and table.names(None) == ()


def test_a_claim_made_again_outlives_the_first() -> None:
    """The task that made it died, and runs again; only then is the dead one's claim released."""
    table = NameTable()
    table.claim(claimed(b"1"))
    table.claim(claimed(b"1"))
    table.release(NAME, b"1", "n0")
    assert table.find(NAME) == claimed(b"1")
    table.release(NAME, b"1", "n0")
    assert table.find(NAME) is None
    table.claim(claimed(b"2"))
    table.release_all("n0")
    assert table.claim(claimed(b"3", "n1")) == claimed(b"3", "n1")
