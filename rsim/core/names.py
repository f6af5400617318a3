"""Names of actors: who may give one, and whether the actor found under one can be called.

Decides, when the control store has said whose a name is, what the client who asked gets: the name
to give, a ref to the actor, or nothing. Must never give out an actor that is dead, nor leave a name
with one that will never live. Owns the claims of clients that have not created their actors yet,
and the open questions to the owners of actors.

The control store knows names only. An actor found there may be dead by now, so its owner is asked,
which lends a ref if it is alive. Thus a handle always holds its actor, and a name goes to the next
who wants it as soon as its owner has let go of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rsim.core.effects import ReleaseName, ReleaseNames, ReplyName
from rsim.core.ids import return_id
from rsim.core.messages import ActorAnswer, ActorQuery
from rsim.core.records import ActorName, NamedActor, TaskSpec

if TYPE_CHECKING:
    from rsim.core.events import NameDropped, NameFound
    from rsim.core.node import Node


class _Question(msgspec.Struct, gc=False, frozen=True):
    """A client's question for an actor: ours, or (``node``) another node's, numbered by it."""

    op: int
    actor_id: bytes
    client: int = 0
    named: NamedActor | None = None
    node: str = ""


class _Claim(msgspec.Struct, gc=False):
    """A name that a client of this node may give to the actor that it is about to create."""

    client: int
    named: NamedActor
    waiting: list[_Question]
    """Who asks for the actor meanwhile."""


class Names:
    """The part of a node that knows names of actors."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._claims: dict[bytes, _Claim] = {}
        self._second: dict[bytes, list[ActorName]] = {}
        """Further names of living actors."""
        self._asked: dict[int, tuple[str, _Question]] = {}
        """Questions to owners elsewhere, by number."""

    # -- clients ask -------------------------------------------------------------------------------

    def found(self, event: NameFound) -> None:
        """The control store has answered a client of this node."""
        named, node = event.named, self._node
        if named is None:
            self._reply(event.client, event.op)
            return
        is_claims = event.claim == named.actor_id
        question = _Question(event.op, named.actor_id, event.client, named)
        if is_claims and named.owner == node.name:
            self._claimed(event.client, event.op, named)
        elif event.claim and not (event.reuse or is_claims):
            node.step.out.append(ReplyName(event.client, event.op, named))
        elif named.owner == node.name:
            self._ask(question)
        elif named.owner in node.peers.others:
            op = node.step.next_op()
            self._asked[op] = named.owner, question
            node.peers.borrowing.send(named.owner, ActorQuery(named.actor_id, op))
        else:
            self._reply(event.client, event.op)

    def _reply(self, client: int, op: int) -> None:
        self._node.step.out.append(ReplyName(client, op))

    def _claimed(self, client: int, op: int, named: NamedActor) -> None:
        if not self._node.objects.has_account(client):
            self.release(named.name, named.actor_id)
            return
        if named.actor_id not in self._node.actors.owned:
            self._claims[named.actor_id] = _Claim(client, named, [])
        else:  # a task that ran before runs again, and may have thought of another name
            self._second.setdefault(named.actor_id, []).append(named.name)
        self._node.step.out.append(ReplyName(client, op, named, claimed=True))

    def submitted(self, spec: TaskSpec) -> None:
        """A client creates an actor: from now on it is the actor that has the name."""
        actor_id = return_id(spec.task_id, 0)
        if actor_id in self._claims:
            self._end_claim(actor_id)

    def dropped(self, event: NameDropped) -> None:
        """A client will not use its claim."""
        if event.actor_id in self._claims:
            self._end_claim(event.actor_id)

    def client_gone(self, client: int) -> None:
        """A worker has died: it will not create the actors that it has claimed names for."""
        for actor_id, claim in list(self._claims.items()):
            if claim.client == client:
                self._end_claim(actor_id)

    def _end_claim(self, actor_id: bytes) -> None:
        claim = self._claims.pop(actor_id)
        if not self._node.actors.is_callable(actor_id):
            self.release(claim.named.name, actor_id)
        for question in claim.waiting:
            self._answer(question)

    # -- owners answer -----------------------------------------------------------------------------

    def queried(self, source: str, message: ActorQuery) -> None:
        """A client of another node asks for an actor of ours."""
        self._ask(_Question(message.op, message.actor_id, node=source))

    def _ask(self, question: _Question) -> None:
        claim = self._claims.get(question.actor_id)
        if claim is not None:
            claim.waiting.append(question)
        else:
            self._answer(question)

    def _answer(self, question: _Question) -> None:
        node, actor_id = self._node, question.actor_id
        is_there = node.actors.is_callable(actor_id)
        if question.node:
            refs = node.peers.borrowing.lend(question.node, (actor_id,)) if is_there else ()
            node.peers.borrowing.send(question.node, ActorAnswer(question.op, refs), refs)
        elif is_there:
            self._hand_out(question)
        else:
            self._reply(question.client, question.op)

    def _hand_out(self, question: _Question) -> None:
        client, actor_id = question.client, question.actor_id
        self._node.objects.lend(client, actor_id)
        self._node.step.out.append(ReplyName(client, question.op, question.named, (actor_id,)))

    def answered(self, source: str, message: ActorAnswer) -> None:
        """The owner of an actor has answered us."""
        self._node.peers.borrowing.receive(source, message.refs)
        _, question = self._asked.pop(message.op, ("", None))
        if question is None:
            return
        if message.refs:
            self._hand_out(question)
        else:
            self._reply(question.client, question.op)

    def node_died(self, dead: str) -> None:
        """The actors that it owned are dead; it will not answer."""
        self._node.step.out.append(ReleaseNames(dead))
        for op, (owner, question) in list(self._asked.items()):
            if owner == dead:
                del self._asked[op]
                self._reply(question.client, question.op)

    # -- names become free -------------------------------------------------------------------------

    def release(self, name: ActorName | None, actor_id: bytes) -> None:
        """An actor of this node's own will not be called any more: its names are free."""
        names = self._second.pop(actor_id, [])
        for each in names if name is None else [name, *names]:
            self._node.step.out.append(ReleaseName(each, actor_id, self._node.name))

    @property
    def active(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._asked)
