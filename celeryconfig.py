"""Celery's settings, and nothing else; what is unusual says why. Facts: docs/decisions.md."""

from kombu.entity import Exchange
from kombu.entity import Queue as KombuQueue

from alphamill.jobs import Queue
from alphamill.redis_address import for_celery
from alphamill.settings import load_settings
from alphamill.stages.registry import STAGES, task_name

_settings = load_settings()
_SWEEP = task_name("sweep")
_CHECK_LIVES = task_name("check_lives")

broker_url, _address = for_celery(_settings.broker_url or _settings.redis_url)
broker_connection_retry_on_startup = True  # workers may start before Redis does
broker_connection_max_retries = None  # and outlive its restarts

broker_transport_options = {
    **_address,  # which master the Sentinels are asked for
    # Longer than tasks with their limiter waits. Of one that has a limit of its own a second
    # message comes, which finds nothing to claim.
    "visibility_timeout": 900,
    # kombu's defaults look for lapsed messages once in about 100 s.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "queue_order_strategy": "round_robin",  # no queue of a worker starves another
    "priority_steps": list(range(10)),  # 0 is served first on Redis; see workers.send
    "socket_timeout": 30,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

# RabbitMQ orders by priority only where a classic queue is declared for it, and refuses to for a
# quorum queue, which may be a virtual host's default. It serves 9 first, Redis 0.
_is_amqp = broker_url.partition("://")[0] in ("amqp", "amqps", "pyamqp")
_ordered = {"x-queue-type": "classic", "x-max-priority": 9} if _is_amqp else None
_first = 9 if _is_amqp else 0

_exchange = Exchange("alphamill", type="direct")
task_queues = [
    KombuQueue(queue.value, _exchange, routing_key=queue.value, queue_arguments=_ordered)
    for queue in Queue
]
task_default_exchange = "alphamill"
task_default_queue = task_default_routing_key = Queue.CONTROL.value
task_create_missing_queues = False  # a misspelt queue is an error, not a queue that nobody reads
task_routes = {task_name(name): {"queue": stage.queue.value} for name, stage in STAGES.items()}
task_routes[_SWEEP] = task_routes[_CHECK_LIVES] = {"queue": Queue.CONTROL.value}

# A task that dies with its worker comes back; the ledger counts its attempts and ends a poisonous
# one, which Celery alone would run for ever.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1  # what a worker holds and does not run waits for nobody else

# Prefork only; threads rely on the timeouts of their sockets. A stage may have its own.
task_time_limit = 600
task_soft_time_limit = 540
worker_soft_shutdown_timeout = 10  # prefork hands back what it cannot finish in time
worker_cancel_long_running_tasks_on_connection_loss = True  # late acks: the copy elsewhere wins
worker_max_tasks_per_child = 1000
worker_max_memory_per_child = 2_000_000  # kB; a panel and its temporaries, with room

task_ignore_result = True  # the ledger holds results; a result backend would only cost keys
task_serializer = result_serializer = "json"
accept_content = result_accept_content = ["json"]  # no pickle from a queue

worker_send_task_events = True  # Flower
task_send_sent_event = True
task_track_started = True
worker_enable_remote_control = True  # Flower's view of the workers

enable_utc = True
timezone = "UTC"

# Exactly one beat. A tick that nobody could serve is worth nothing later.
beat_scheduler = "workers.beat:Scheduler"  # one line a minute for a broker that takes nothing
beat_schedule = {
    "sweep": {"task": _SWEEP, "schedule": 1.0, "options": {"expires": 5, "priority": _first}},
    "check_lives": {"task": _CHECK_LIVES, "schedule": 3600.0, "options": {"expires": 1800}},
}
