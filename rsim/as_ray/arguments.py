"""The arguments of ray.init that rsim.init does not have.

Decides which of them are without effect by nature, so that they may be ignored: where files are,
what a dashboard does, how often Ray's processes look at something. All others are refused, by name.
Owns no state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from rsim.as_ray.constants import DEFAULT_RESOURCES

_HARMLESS = frozenset(
    (
        "include_dashboard configure_logging logging_level logging_format "
        "dashboard_host dashboard_port enable_resource_isolation cgroup_path system_reserved_cpu "
        "system_reserved_memory object_spilling_directory _temp_dir _node_name _node_ip_address "
        "_driver_object_store_memory _metrics_export_port _redis_username _redis_password "
        "_plasma_directory _enable_object_reconstruction _raylet_ip_address _redis_max_memory "
        "_skip_env_hook _internal_config _memory "
        # of Ray before 1.0
        "include_webui webui_host driver_object_store_memory huge_pages plasma_directory temp_dir "
        "node_ip_address redis_max_memory memory"
    ).split()
)
"""rsim has no dashboard (the state API works without one), no Redis, no log files of its own; lost
objects are always made again.
"""

_REFUSED = frozenset(
    "proxy_server_url storage _tracing_startup_hook cluster_id allow_multiple redis_address".split()
)

_QUIET = ("redirect_output", "redirect_worker_output")
"""What `log_to_driver=False` was called before there was that."""

_HARMLESS_ENDINGS = tuple(
    "_ms _milliseconds _seconds _s _timeout _period _interval _delay _batch_size".split()
)
"""How often, how long, how many at a time: what is true of a program does not depend on it."""

_HARMLESS_SETTINGS = frozenset(
    (
        "num_heartbeats_timeout health_check_failure_threshold pull_based_healthcheck "
        "object_spilling_config object_spilling_threshold "
        "min_spilling_size max_fused_object_count max_io_workers local_fs_capacity_threshold "
        "max_direct_call_object_size task_rpc_inlined_bytes_limit preallocate_plasma_memory "
        "enable_worker_prestart prestart_worker_first_driver worker_cap_enabled "
        "scheduler_spread_threshold scheduler_top_k_fraction scheduler_report_pinned_bytes_only "
        "max_pending_lease_requests_per_scheduling_category max_task_args_memory_fraction "
        "lineage_pinning_enabled max_lineage_bytes automatic_object_deletion_enabled "
        "enable_timeline enable_metrics_collection event_stats event_stats_metrics "
        "record_ref_creation_sites record_task_actor_creation_sites "
        "task_events_max_num_task_in_gcs maximum_gcs_destroyed_actor_cached_count "
        "maximum_gcs_dead_node_cached_count enable_autoscaler_v2 enable_cluster_auth "
        "max_num_generator_returns inline_object_status_in_refs actor_locality_enabled "
        "actor_excess_queueing_warn_threshold locality_aware_leasing_enabled "
        "enable_export_api_write enable_task_events_to_dashboard_head enable_ray_event "
        "enable_open_telemetry max_grpc_message_size max_spilling_file_size_bytes "
        "maximum_gcs_dead_worker_cached_count plasma_store_usage_trigger_gc_threshold "
        "process_group_cleanup_enabled start_python_gc_manager_thread "
        "raylet_client_num_connect_attempts nums_py_gcs_reconnect_retry "
        "timeout_ms_task_wait_for_death_info start_python_importer_thread support_fork "
        "put_small_object_in_memory_store ping_gcs_rpc_server_max_retries "
        "num_candidate_nodes_for_scheduling gcs_actor_scheduling_enabled "
        "worker_niceness worker_oom_score_adjustment gcs_storage "
        "kill_child_processes_on_worker_exit object_manager_max_bytes_in_flight "
        "num_workers_soft_limit"
    ).split()
)
"""Where and how large, what is recorded, and how many dead things are remembered."""


def keeps_quiet(others: dict[str, Any]) -> bool:
    """Take out the old names of log_to_driver. Whether they ask for the workers to be quiet."""
    return any([others.pop(name, False) for name in _QUIET])


def check_others(others: dict[str, Any]) -> dict[str, Any]:
    """Look at the arguments that have no meaning here; what some mean as arguments of rsim.init.

    Raises NotImplementedError for what would matter, RuntimeError for what Ray does not have,
    ValueError for a folder that is not an absolute path.
    """
    meant: dict[str, Any] = {}
    if not os.path.isabs(others.get("_temp_dir") or "/"):
        raise ValueError("temp_dir must be absolute path or None.")
    for name, value in others.items():
        if name == "_system_config":
            meant = check_settings(value)
        elif name in _REFUSED:
            if value:
                raise NotImplementedError(f"the argument {name} of ray.init is not in rsim")
        elif name not in _HARMLESS:
            raise RuntimeError(
                f"Unknown keyword argument(s): {name}: ray.init has no such argument"
            )
    return meant


def check_resources(names: Iterable[str]) -> None:
    """Raise AssertionError, as Ray does, for a resource that has an argument of its own."""
    for name in names:
        if name in DEFAULT_RESOURCES:
            instead = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "_memory"}.get(name, name)
            raise AssertionError(
                f"`{name}` cannot be a custom resource because it is one of the default resources "
                f"({', '.join(sorted(DEFAULT_RESOURCES))}): use `{instead}` instead"
            )


_ARGUMENTS = {"CPU": "num_cpus", "GPU": "num_gpus"}


def override(given: dict[str, Any]) -> None:
    """What RAY_OVERRIDE_RESOURCES says a node has goes before what ray.init was given. Raises
    ValueError for anything but the JSON of a dict.
    """
    text = os.environ.get("RAY_OVERRIDE_RESOURCES")
    if not text:
        return
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError(f"RAY_OVERRIDE_RESOURCES must be the JSON of a dict, not {text!r}")
    custom = dict(given["resources"] or {})
    for name, quantity in told.items():
        argument = _ARGUMENTS[name] if name in _ARGUMENTS else str(name)
        place = given if argument in given and argument not in ("resources", "labels") else custom
        place[argument] = quantity
    given["resources"] = custom


def check_settings(config: object) -> dict[str, Any]:
    """What a `_system_config` means as arguments of rsim.init. Raises NotImplementedError for a
    setting that would matter.
    """
    if isinstance(config, str):
        config = json.loads(config)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise TypeError(f"The _system_config must be a dict, not {config!r}")
    meant: dict[str, Any] = {}
    for name, value in config.items():
        if name == "automatic_object_spilling_enabled":
            if not value:
                meant["spill_limit_bytes"] = 0
            continue
        if name not in _HARMLESS_SETTINGS and not str(name).endswith(_HARMLESS_ENDINGS):
            raise NotImplementedError(f"_system_config={{{name!r}: ...}} of Ray is not in rsim")
    return meant
