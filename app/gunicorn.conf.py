"""Gunicorn's settings. Reference: https://docs.gunicorn.org/en/stable/settings.html

WEB_CONCURRENCY (workers) comes from the container's CPU limit unless set, see entrypoint.prod.sh.
Needs hello_django/env.py.
"""

import os

from hello_django import env

bind = "0.0.0.0:8000"
# Threads answer while others wait for the database or a slow disk, at a tenth of a process's memory. Few, because they
# get in each other's way: only one of a worker's runs Python at a time.
worker_class = "gthread"
threads = env.integer("GUNICORN_THREADS", 2, least=1, most=64)
workers = env.integer("WEB_CONCURRENCY", 2, least=1, most=64)
# One copy of the code for all workers; a wrong setting ends the container instead of looping.
preload_app = True
# Longer than nginx keeps its idle connections (60 s): else a POST can meet one that is just being closed.
keepalive = 75
# A leak never grows for long; the jitter keeps workers from leaving together.
max_requests = 50_000
max_requests_jitter = 10_000
# The heartbeat file in memory: on a disk, a slow write looks like a dead worker.
worker_tmp_dir = "/dev/shm"
# Requests under way get this long to finish; compose's stop_grace_period is longer.
graceful_timeout = 25
# The socket would be written to HOME, which is read-only.
control_socket_disable = True
# nginx logs each request already.
accesslog = None
errorlog = "-"
# Only nginx can reach this port, and it sets each of these headers itself.
forwarded_allow_ips = "*"
# Of Gunicorn's own list nginx sets just this one: a client that sent another would contradict it and get a 400.
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}


def pre_fork(server: object, worker: object) -> None:
    """Choose a core for this worker: one that no other has, where there is one."""
    taken = [other.core for other in server.WORKERS.values()]
    worker.core = min(sorted(os.sched_getaffinity(0)), key=taken.count)


def post_fork(server: object, worker: object) -> None:
    """Keep the worker on its core, so that its threads do not wake each other from one core to another.

    Only where there are as many workers as cores: else some cores would have none of them.
    """
    if len(os.sched_getaffinity(0)) == workers:
        os.sched_setaffinity(0, {worker.core})


def worker_exit(server: object, worker: object) -> None:
    """Say good-bye to the database, which would otherwise log each lost connection."""
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        from django.db import connections

        connections.close_all()
