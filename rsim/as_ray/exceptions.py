"""Errors of Ray that rsim never raises: here so that `except` clauses which name them resolve.

Decides nothing; owns nothing.
"""

from rsim.exceptions import ObjectLostError, RsimActorError, RsimError


class CrossLanguageError(RsimError):
    """Of tasks in other languages."""


class LocalRayletDiedError(RsimError):
    """Of Ray's node process."""


class RaySystemError(RsimError):
    """Of Ray's own failures."""


class AuthenticationError(RsimError):
    """Of Ray's tokens."""


class UserCodeException(RsimError):
    """Of Ray's libraries."""


class RpcError(RsimError):
    """Of calls between Ray's processes."""


class ObjectFetchTimedOutError(ObjectLostError):
    """Of transfers that take too long."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """Of Ray's own counting."""


class ObjectFreedError(ObjectLostError):
    """Of objects that were freed by hand."""


class PlasmaObjectNotAvailable(RsimError):
    """Of Ray's object store."""


class AsyncioActorExit(RsimError):
    """How Ray ends an async actor from inside."""


class RuntimeEnvSetupError(RsimError):
    """Of runtime environments that could not be made."""


class TaskPlacementGroupRemoved(RsimError):
    """Of tasks in a placement group that is removed."""


class ActorPlacementGroupRemoved(RsimError):
    """Of actors in a placement group that is removed."""


class ActorUnschedulableError(RsimError):
    """Of actors that no node can ever hold."""


class ActorAlreadyExistsError(ValueError, RsimError):
    """Of names that are taken."""


class ActorHandleNotFoundError(ValueError, RsimError):
    """Of handles from an earlier session."""


class ObjectRefStreamEndOfStreamError(RsimError):
    """Of Ray's streams, inside."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """Of generators that yield something else when they are run again."""


class OufOfBandObjectRefSerializationException(RsimError):
    """Of refs that are pickled outside of Ray where that is forbidden."""


class RayChannelError(RaySystemError):
    """Of compiled graphs."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """Of compiled graphs."""


class RayCgraphCapacityExceeded(RaySystemError):
    """Of compiled graphs."""


class RayDirectTransportError(RaySystemError):
    """Of tensors that travel between GPUs."""


RAY_EXCEPTION_TYPES = (RsimError, RsimActorError, *RsimError.__subclasses__())


class RayStateApiException(Exception):
    """Of Ray's state API."""


class DataSourceUnavailable(Exception):
    """Of processes that Ray's state API cannot reach."""


class ServerUnavailable(RayStateApiException):
    """Of Ray's state API when nobody answers."""
