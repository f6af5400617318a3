"""Values that come to a worker with the items of a stream."""

from rsim.backends.local.fetched import ROOM_BYTES, Fetched
from rsim.core.events import ItemReturned, RefsReleased
from rsim.core.ids import return_id
from rsim.core.records import LENT_ITEM
from rsim.runtime.wire import NextReply

TASK = b"t" * 16
ITEMS = [return_id(TASK, index) for index in range(1, 5)]


def reply(*values: bytes | None) -> NextReply:
    return NextReply(1, ITEMS[0], LENT_ITEM, len(values), values)


def found(fetched: Fetched) -> list[bytes | None]:
    return list(map(fetched.get, ITEMS))


def test_values_are_kept_until_their_refs_are_dropped() -> None:
    fetched = Fetched()
    fetched.came(reply(b"1", None, b"3", b"4"))
    assert found(fetched) == [b"1", None, b"3", b"4"]
    fetched.sent(RefsReleased(1, (ITEMS[0], ITEMS[1], b"another"), (1, 1, 1)))
    assert found(fetched) == [None, None, b"3", b"4"]
    fetched.sent(ItemReturned(1, ITEMS[2], 2))
    assert found(fetched) == [None] * 4


def test_the_oldest_go_when_there_are_too_many() -> None:
    fetched = Fetched()
    half = b"h" * (ROOM_BYTES // 2)
    fetched.came(reply(half, half))
    fetched.came(reply(half, half))  # the same, once more
    assert found(fetched) == [half, half, None, None]
    fetched.came(reply(half, half, b"3"))
    assert found(fetched) == [None, half, b"3", None]
    fetched.came(reply(None, None, None, 2 * half + b"x"))
    assert found(fetched) == [None] * 4
