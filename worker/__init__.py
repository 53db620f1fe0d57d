"""The background side: Celery worker, clock and embedded broker, each a process of the Procfile."""
