"""`python -m worker`: one Celery worker, which the supervisor starts and watches.

Started without Celery's own command line, whose imports take memory in every process.
"""

import sys

from worker.app import app


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    worker = app.Worker(
        quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
    )
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
