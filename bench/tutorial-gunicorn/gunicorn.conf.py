"""The first tutorial's server: Gunicorn with nothing but an address, which means one sync worker."""

bind = "0.0.0.0:8000"
# Its default, said aloud because the entrypoint sets WEB_CONCURRENCY.
workers = 1
worker_class = "sync"
# Newer than the tutorial; it would write to a disk that is read-only here.
control_socket_disable = True
