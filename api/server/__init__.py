"""gunicorn: its configuration, and the worker that buffers requests before a thread takes one."""
