"""How gunicorn serves the API: `gunicorn -c python:api.serving 'api:create_app()'`."""

worker_class = "gthread"
threads = 64  # a caller that waits or uploads slowly holds a thread and nothing else
graceful_timeout = 65  # above the longest wait that a caller may ask for
keepalive = 75
control_socket_disable = True  # nobody here speaks to it, and it writes to the home folder
limit_request_field_size = 8190
