#!/usr/bin/env bash
# kombu 5.7.0, redis 8.1.0 (what Celery's redis broker stands on)
#
# Expected: a Redis URL that redis-py reads is also a broker's URL, since kombu's redis transport stands on redis-py.
# redis-py documents options after the question mark (?db=3, ?password=..., ?socket_timeout=5), and one setting for a
# queue's ledger and its broker is what people write. An option that kombu does not have would be left out, or refused
# in words that name it.
#
# Happens: kombu hands them to its own connection as keyword arguments, and the first channel raises TypeError: "got an
# unexpected keyword argument 'db'", or "dict() got multiple values for keyword argument 'password'". Neither names the
# URL. A program that writes its job with redis-py first and publishes it second has written a job of which nobody hears.
# No option that was tried passes.
#
# output seen:
#   kombu 5.7.0, redis 8.1.0
#   option               redis-py reads        kombu
#   db=3                 3                     TypeError: Connection._init_params() got an unexpected keyword argument 'db'
#   username=mill        mill                  TypeError: Connection._init_params() got an unexpected keyword argument 'username'
#   password=x           x                     TypeError: dict() got multiple values for keyword argument 'password'
#   socket_timeout=5     5.0                   TypeError: Connection._init_params() got an unexpected keyword argument 'socket_timeout'
#
# Do instead: put database, user and password before the question mark (redis://user:password@host:6379/3), and timeouts
# into broker_transport_options.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check kombu==5.7.0 redis==8.1.0 packaging==26.3
cd "$work"
"$work/venv/bin/python" - <<'PY'
import socket

import kombu
import redis

print(f"kombu {kombu.__version__}, redis {redis.__version__}")
with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused at once
    url = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
    print(f"{'option':20} {'redis-py reads':21} kombu")
    said = {}
    for option in ("db=3", "username=mill", "password=x", "socket_timeout=5"):
        name = option.partition("=")[0]
        read = redis.ConnectionPool.from_url(f"{url}?{option}").connection_kwargs
        try:
            kombu.Connection(f"{url}?{option}", transport_options={"max_retries": 0}).channel()
            told = "no error"
        except TypeError as error:
            told = f"TypeError: {error}"
        except (kombu.exceptions.OperationalError, redis.RedisError, OSError):
            told = "no error before it connects"
        said[name] = told
        print(f"{option:20} {read[name]!s:21} {told}")

same = (
    all("unexpected keyword argument" in said[name] for name in ("db", "username", "socket_timeout"))
    and "multiple values for keyword argument 'password'" in said["password"]
)
raise SystemExit(0 if same else "no longer as described above")
PY
