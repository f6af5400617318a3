"""Which modules Ray has, which names are in them, and what in rsim each of them is.

Decides all of that, as a table: to a name belong places as `module:attribute`; the first that
exists is meant, and where none does, the name is absent (see `absent`). Owns no state.
"""

from __future__ import annotations

from rsim.as_ray.constants import ACCELERATORS

Names = dict[str, tuple[str, ...]]

_HERE = "rsim.as_ray"

ABSENT_LIBRARIES = frozenset(
    f"ray.{name}" for name in "air cpp job_submission llm rllib serve train tune workflow".split()
)
"""Libraries on top of Ray: their import fails, with their name."""

_PRIVATE = (
    "_common _private _raylet autoscaler client_builder core cross_language dag dashboard data "
    "experimental includes internal job_config scripts tests util.client "
    "util.collective util.debug util.iter util.rpdb util.spark util.state.common util.state.util "
    "util.timer util.tracing util.tpu widgets "
    # where they were in older versions
    "external_storage gcs_utils monitor parameter ray_constants services signature state "
    "test_utils utils worker"
)
PRIVATE = tuple(f"ray.{name}" for name in _PRIVATE.split())
"""What tests of Ray import beside the public interface. What is not in the table is absent."""


def _in(place: str, names: str) -> Names:
    return {name: (f"{place}:{name}",) for name in names.split()}


def _as(place: str, **renamed: str) -> Names:
    return {name: (f"{place}:{target}",) for name, target in renamed.items()}


_RENAMED_ERRORS = {
    "RayError": "RsimError",
    "RayTaskError": "RsimTaskError",
    "RayActorError": "RsimActorError",
    "UnserializableException": "UnserializableCauseError",
}
_SHARED_ERRORS = (
    "TaskCancelledError WorkerCrashedError ActorDiedError ActorUnavailableError "
    "ObjectStoreFullError OutOfDiskError OutOfMemoryError NodeDiedError ObjectLostError "
    "OwnerDiedError ObjectReconstructionFailedError GetTimeoutError PendingCallsLimitExceeded "
    "TaskUnschedulableError"
)
_OTHER_ERRORS = (
    "CrossLanguageError LocalRayletDiedError RaySystemError AuthenticationError "
    "UserCodeException ObjectFetchTimedOutError RpcError ReferenceCountingAssertionError "
    "ObjectFreedError PlasmaObjectNotAvailable AsyncioActorExit RuntimeEnvSetupError "
    "TaskPlacementGroupRemoved ActorPlacementGroupRemoved ActorUnschedulableError "
    "ObjectRefStreamEndOfStreamError StreamingGeneratorReplayInconsistentError "
    "OufOfBandObjectRefSerializationException RayChannelError RayChannelTimeoutError "
    "RayCgraphCapacityExceeded RayDirectTransportError ActorAlreadyExistsError "
    "ActorHandleNotFoundError RAY_EXCEPTION_TYPES"
)

_EXCEPTIONS: Names = {
    **{ours: (f"rsim.exceptions:{theirs}",) for ours, theirs in _RENAMED_ERRORS.items()},
    **_in("rsim.exceptions", _SHARED_ERRORS),
    # whatever of these rsim comes to raise is its own class
    **{
        name: (f"rsim.exceptions:{name}", f"{_HERE}.exceptions:{name}")
        for name in _OTHER_ERRORS.split()
    },
}

_IDS = _in(
    f"{_HERE}.ids",
    "ActorClassID ActorID ClusterID FunctionID JobID NodeID PlacementGroupID TaskID UniqueID "
    "WorkerID",
)

_REFS: Names = {
    "ObjectRef": ("rsim:ObjectRef",),
    "ObjectID": ("rsim:ObjectRef",),
    "ObjectRefGenerator": ("rsim:ObjectRefGenerator",),
    "DynamicObjectRefGenerator": ("rsim:DynamicObjectRefGenerator",),
}

_RAY: Names = {
    "ray": ("ray",),  # `from ray import ray` of some programs
    **_in(
        "rsim",
        "available_resources cluster_resources get_actor get_gpu_ids get_runtime_context remote",
    ),
    **_in(f"{_HERE}.calls", "cancel get kill nodes put timeline wait"),
    **_in(
        f"{_HERE}.session",
        "init is_initialized shutdown SCRIPT_MODE WORKER_MODE RESTORE_WORKER_MODE "
        "SPILL_WORKER_MODE __version__ __commit__ logger",
    ),
    **_in(f"{_HERE}.logs", "LoggingConfig"),
    **_in(f"{_HERE}.options", "method"),
    **_IDS,
    **_REFS,
    **dict.fromkeys(
        "_config AUTO_INIT_APIS NON_AUTO_INIT_APIS client ClientBuilder cpp_function "
        "java_actor_class java_function Language".split(),
        (),
    ),
    **_in(f"{_HERE}.tables", "actors jobs"),
    "cloudpickle": ("ray.cloudpickle",),
    "gcs_utils": ("ray._private.gcs_utils",),
    "ray_constants": ("ray._private.ray_constants",),
    "serialization": ("ray._private.serialization",),
    "state": ("ray._private.state",),
    "worker": ("ray._private.worker",),
}

_STATE = (
    "get_actor get_job get_log get_node get_objects get_placement_group get_task get_worker "
    "list_actors list_cluster_events list_jobs list_logs list_nodes list_objects "
    "list_placement_groups list_runtime_envs list_tasks list_workers summarize_actors "
    "summarize_objects summarize_tasks"
)
_STATE_API = _in("rsim.util.state", _STATE) | _in(f"{_HERE}.state_client", "StateApiClient")

_PLACEMENT_GROUPS = _in(
    "rsim.util.placement_group",
    "PlacementGroup get_current_placement_group get_placement_group placement_group_table "
    "remove_placement_group",
) | _in(f"{_HERE}.calls", "placement_group")

_UTIL: Names = {
    **_in(
        "rsim.util",
        "ActorPool list_named_actors",
    ),
    **_in(f"{_HERE}.calls", "as_completed inspect_serializability map_unordered"),
    **{name: places for name, places in _PLACEMENT_GROUPS.items() if name != "PlacementGroup"},
    **_in(
        f"{_HERE}.helpers",
        "get_node_ip_address get_node_instance_id log_once disable_log_once_globally "
        "enable_periodic_logging register_serializer deregister_serializer",
    ),
    **_in(f"{_HERE}.annotations", "PublicAPI"),
    "iter": ("ray.util.iter",),
    **dict.fromkeys("connect disconnect pdb ray_debugpy collective".split(), ()),
}

_STRATEGIES = _in(
    "rsim.util.scheduling_strategies",
    "DoesNotExist Exists In NodeLabelSchedulingStrategy NotIn PlacementGroupSchedulingStrategy",
) | _in(f"{_HERE}.ids", "NodeAffinitySchedulingStrategy")

_TESTING = (
    _in(
        f"{_HERE}.testing",
        "wait_for_condition async_wait_for_condition run_string_as_driver "
        "run_string_as_driver_nonblocking run_string_as_driver_stdout_stderr wait_for_pid_to_exit "
        "wait_for_num_actors kill_actor_and_wait_for_failure wait_for_assertion "
        "wait_until_succeeded_without_exception same_elements put_object get_other_nodes "
        "get_non_head_nodes is_placement_group_removed placement_group_assert_no_leak "
        "generate_system_config_map generate_internal_config_map client_test_enabled "
        "external_redis_test_enabled "
        "enable_external_redis redis_replicas redis_sentinel_replicas object_memory_usage "
        "is_named_tuple convert_actor_state get_actor_node_id chdir check_call_subprocess "
        "no_resource_leaks_excluding_node_resources persistent_gcs_test_enabled "
        "rocksdb_gcs_test_enabled sandbox_test_enabled reset_autoscaler_v2_enabled_cache "
        "dicts_equal FakeTimer find_free_port safe_write_to_results_json kill_raylet "
        "test_external_redis",
    )
    | _in(f"{_HERE}.errors", "init_error_pubsub get_error_message")
    | _in(f"{_HERE}.signals", "SignalActor Semaphore create_remote_signal_actor BatchQueue")
)
_UTILITIES = _in(
    f"{_HERE}.helpers",
    "reset_ray_address get_or_create_event_loop hex_to_binary binary_to_hex decode "
    "get_system_memory run_background_task background_tasks get_num_cpus format_error_message "
    "build_address get_node_ip_address env_bool env_integer env_float get_ray_doc_version",
)
_CONSTANTS = (
    _in(
        f"{_HERE}.constants",
        "DEFAULT_MAX_CONCURRENCY_ASYNC DEFAULT_TASK_MAX_RETRIES ID_SIZE "
        "OBJECT_STORE_MINIMUM_MEMORY_BYTES DEFAULT_DASHBOARD_AGENT_LISTEN_PORT NODE_DEFAULT_IP "
        "AUTOSCALER_EVENTS PROCESS_TYPE_RAYLET HEAD_NODE_RESOURCE_NAME RESOURCE_CONSTRAINT_PREFIX "
        "KV_NAMESPACE_FUNCTION_TABLE FUNCTION_SIZE_WARN_THRESHOLD FUNCTION_SIZE_ERROR_THRESHOLD "
        "DEFAULT_RESOURCES",
    )
    | _in(f"{_HERE}.internals", "gcs_actor_scheduling_enabled")
    | _in(f"{_HERE}.errors", "WORKER_DIED_PUSH_ERROR REMOVED_NODE_ERROR EXCESS_QUEUEING_WARNING")
)
_ANNOTATIONS = _in(
    f"{_HERE}.annotations", "Deprecated DeveloperAPI PublicAPI RayDeprecationWarning"
)

_ACTOR: Names = {
    **_in("rsim.actor", "ActorHandle exit_actor"),
    **_in("rsim", "ActorClass"),
    **_in(f"{_HERE}.options", "method"),
    **_as("rsim.api.handles", ActorMethod="ActorMethod"),
    **_in("rsim.api.actors", "ActorClassInheritanceException"),
    **_as("rsim.actor", ActorProxy="ActorHandle"),
}

_POOL = _in(f"{_HERE}.pools", "Pool") | _in("multiprocessing", "JoinableQueue TimeoutError")

_FIXTURES = _in(
    f"{_HERE}.fixtures",
    "ray_start_regular ray_start_regular_shared ray_start_regular_shared_2_cpus ray_start_no_cpu "
    "ray_start_2_cpus ray_start_10_cpus ray_start_with_dashboard ray_start_cluster "
    "ray_start_cluster_shared ray_start_cluster_enabled ray_start_cluster_init "
    "ray_start_cluster_head ray_start_cluster_2_nodes ray_start_cluster_head_with_env_vars "
    "two_node_cluster start_cluster ray_start_object_store_memory ray_init_with_task_retry_delay "
    "class_ray_instance shutdown_only propagate_logs enable_pickle_debug set_enable_auto_connect "
    "tmp_working_dir maybe_external_redis maybe_setup_external_redis call_ray_start "
    "call_ray_stop_only error_pubsub log_pubsub external_redis init_and_serve "
    "ray_start_chaos_cluster use_tls cloned_virtualenv ray_start_regular_with_external_redis "
    "ray_start_cluster_head_with_external_redis unstable_spilling_config slow_spilling_config "
    "file_system_object_spilling_config buffer_object_spilling_config "
    "mock_distributed_fs_object_spilling_config object_spilling_config "
    "fs_only_object_spilling_config multi_node_object_spilling_config",
)

_QUEUE = (
    _in("rsim.util.queue", "Empty Full")
    | _as("rsim.util.queue", _QueueActor="_Keeper")
    | _in(f"{_HERE}.pools", "Queue")
)
_LOGGING = _in(f"{_HERE}.helpers", "log_once disable_log_once_globally enable_periodic_logging")

MODULES: dict[str, Names] = {
    "ray": _RAY,
    "ray.actor": _ACTOR,
    "ray.exceptions": _EXCEPTIONS,
    "ray.remote_function": _in("rsim", "RemoteFunction"),
    "ray.runtime_context": _in("rsim", "get_runtime_context")
    | _in("rsim.api.runtime_context", "RuntimeContext"),
    "ray.types": _in("rsim", "ObjectRef"),
    "ray.runtime_env": _in(f"{_HERE}.runtime_env", "RuntimeEnv RuntimeEnvConfig"),
    "ray.runtime_env.runtime_env": _in(f"{_HERE}.runtime_env", "RuntimeEnv RuntimeEnvConfig"),
    "ray.job_config": _in(f"{_HERE}.runtime_env", "JobConfig")
    | _in(f"{_HERE}.logs", "LoggingConfig"),
    "ray.cluster_utils": {
        **_in(f"{_HERE}.cluster", "Cluster cluster_not_supported"),
        "AutoscalingCluster": (),
    },
    "ray.cloudpickle": _in("cloudpickle", "CloudPickler Pickler dump dumps load loads")
    | _in("cloudpickle", "register_pickle_by_value unregister_pickle_by_value")
    | _in(f"{_HERE}.helpers", "dumps_debug"),
    "ray.util": _UTIL,
    "ray.util.actor_group": _in(f"{_HERE}.actor_group", "ActorGroup ActorGroupMethod ActorWrapper"),
    "ray.util.actor_pool": _in("rsim.util", "ActorPool"),
    "ray.util.annotations": _ANNOTATIONS,
    "ray.util.accelerators": _in(f"{_HERE}.constants", " ".join(ACCELERATORS)),
    "ray.util.check_serialize": _in(f"{_HERE}.calls", "inspect_serializability")
    | _as("rsim.util.serializability", FailureTuple="Failure"),
    "ray.util.debug": _LOGGING | _in(f"{_HERE}.helpers", "reset_log_once"),
    "ray.util.helpers": _in(f"{_HERE}.calls", "as_completed map_unordered"),
    "ray.util.client.ray_client_helpers": _in(f"{_HERE}.helpers", "connect_to_client_or_not"),
    "ray.util.dask": _as("rsim.util.dask", ray_dask_get="get"),
    "ray.util.iter": _in(
        f"{_HERE}.iterators",
        "ParallelIterator ParallelIteratorWorker from_actors from_items from_iterators from_range",
    )
    | _in(f"{_HERE}.local_iterators", "LocalIterator"),
    "ray.util.iter_metrics": _in(f"{_HERE}.local_iterators", "MetricsContext SharedMetrics"),
    "ray.util.joblib": _in(f"{_HERE}.pools", "register_ray"),
    "ray.util.joblib.ray_backend": _in(f"{_HERE}.joblib_backend", "RayBackend"),
    "ray.util.metrics": _in(f"{_HERE}.metrics", "Counter Gauge Histogram Metric"),
    "ray.util.multiprocessing": _POOL,
    "ray.util.multiprocessing.pool": _POOL
    | _in("rsim.util.multiprocessing", "AsyncResult IMapIterator"),
    "ray.util.placement_group": _PLACEMENT_GROUPS,
    "ray.util.queue": _QUEUE,
    "ray.util.scheduling_strategies": _STRATEGIES,
    "ray.util.serialization": _in(f"{_HERE}.helpers", "register_serializer deregister_serializer"),
    "ray.util.state": _STATE_API,
    "ray.util.state.api": _STATE_API,
    "ray.util.state.common": _in(
        "rsim.util.state.schema",
        "StateSchema TaskState ActorState ObjectState WorkerState NodeState PlacementGroupState "
        "JobState",
    )
    | _in(
        f"{_HERE}.state_client",
        "StateResource SummaryResource ListApiOptions GetApiOptions SummaryApiOptions "
        "DEFAULT_RPC_TIMEOUT DEFAULT_LIMIT RAY_MAX_LIMIT_FROM_API_SERVER",
    ),
    "ray.util.state.exception": _in(
        f"{_HERE}.exceptions", "DataSourceUnavailable RayStateApiException ServerUnavailable"
    ),
    "ray.util.tracing.tracing_helper": _in(f"{_HERE}.constants", "_global_is_tracing_enabled"),
    "ray.experimental": _in(
        f"{_HERE}.locations", "get_object_locations get_local_object_locations"
    ),
    "ray.experimental.locations": _in(
        f"{_HERE}.locations", "get_object_locations get_local_object_locations"
    ),
    "ray.experimental.queue": _QUEUE,
    "ray.experimental.tqdm_ray": _in(f"{_HERE}.progress", "instance safe_print tqdm"),
    "ray.experimental.ui": _in(f"{_HERE}.progress", "task_timeline"),
    "ray.experimental.state": {},
    "ray.experimental.state.api": _STATE_API,
    "ray.experimental.internal_kv": _in(f"{_HERE}.helpers", "_internal_kv_reset")
    | _in(
        f"{_HERE}.key_values",
        "_internal_kv_initialized _internal_kv_get _internal_kv_exists _internal_kv_put "
        "_internal_kv_list _internal_kv_del",
    ),
    # private
    "ray._raylet": {**_IDS, **_REFS}
    | _as("rsim", StreamingObjectRefGenerator="ObjectRefGenerator")
    | _as(f"{_HERE}.cluster", RAY_NODE_ID_KEY="NODE_ID_LABEL"),
    "ray._common.test_utils": _TESTING,
    "ray._common.utils": _UTILITIES,
    "ray._common.network_utils": _UTILITIES | _in(f"{_HERE}.testing", "find_free_port"),
    "ray._common.constants": _CONSTANTS,
    "ray._private.test_utils": _TESTING,
    "ray._private.state_api_test_utils": _in(f"{_HERE}.testing", "verify_failed_task"),
    "ray._private.utils": _UTILITIES,
    "ray._private.ray_constants": _CONSTANTS,
    "ray._private.gcs_utils": _in(f"{_HERE}.internals", "ActorTableData"),
    "ray._private.services": _in(f"{_HERE}.testing", "remaining_processes_alive")
    | _in(f"{_HERE}.helpers", "get_node_ip_address"),
    "ray._private.state": _in("rsim", "available_resources cluster_resources")
    | _in(f"{_HERE}.calls", "nodes timeline")
    | _in(
        f"{_HERE}.tables",
        "actors jobs workers available_resources_per_node total_resources_per_node node_ids "
        "current_node_id",
    ),
    "ray._private.client_mode_hook": _in(
        f"{_HERE}.helpers",
        "client_mode_hook client_mode_should_convert disable_client_hook is_client_mode_enabled",
    ),
    "ray._private.internal_api": _in(f"{_HERE}.helpers", "global_gc")
    | _in(f"{_HERE}.core_worker", "memory_summary get_memory_info_reply get_state_from_address"),
    "ray._private.worker": _RAY
    | _in(f"{_HERE}.helpers", "_wait_async")
    | _in(f"{_HERE}.internals", "global_worker")
    | {"pickle": ("ray.cloudpickle",)},
    "ray.tests.client_test_utils": _TESTING,
    "ray.tests.conftest": _FIXTURES,
}

_MOVED = {
    "ray.experimental.state.common": "ray.util.state.common",
    "ray.experimental.state.exception": "ray.util.state.exception",
    "ray.gcs_utils": "ray._private.gcs_utils",
    "ray.internal.internal_api": "ray._private.internal_api",
    "ray.ray_constants": "ray._private.ray_constants",
    "ray.services": "ray._private.services",
    "ray.state": "ray._private.state",
    "ray.test_utils": "ray._private.test_utils",
    "ray.tests.cluster_utils": "ray.cluster_utils",
    "ray.tests.utils": "ray._private.test_utils",
    "ray.utils": "ray._private.utils",
    "ray.worker": "ray._private.worker",
}
"""Where Ray had modules in older versions."""

MODULES.update({old: MODULES[new] for old, new in _MOVED.items()})


def is_private(name: str) -> bool:
    """Whether the module is one of those that tests of Ray import beside the public ones."""
    return any(name == each or name.startswith(f"{each}.") for each in PRIVATE)


def is_served(name: str) -> bool:
    """Whether there is such a module, as far as rsim knows."""
    return name in MODULES or is_private(name)


def is_module(name: str) -> bool:
    """Whether the name is certainly that of a module."""
    return name in MODULES or name in PRIVATE or name in ABSENT_LIBRARIES
