"""A desktop for browsers: shows their notifications to the test, which can click and dismiss."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Self

from background import BackgroundLoop
from dbus_fast import Message
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusDict, DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_signal
from programs import find_program

# The system's own configuration would also start other desktop services on demand.
SESSION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={directory}</listen>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

StringArray = Annotated[list[str], DBusSignature("as")]

ACKNOWLEDGED_WITHIN = timedelta(seconds=5)

# Reasons of NotificationClosed in the Desktop Notifications Specification.
DISMISSED_BY_READER = 2
CLOSED_BY_CALL = 3


@dataclass(frozen=True)
class Notification:
    """What one call of Notify asked the desktop to show."""

    id: int
    """Stays the same when a later notification replaces this one."""
    replaces: bool
    app: str
    title: str
    body: str
    actions: dict[str, str]
    """Key to label; the key `default` is a click on the notification itself."""
    hints: dict[str, Any]
    """All but the pixels of the icon."""
    has_icon: bool


class Desktop:
    """A private D-Bus session with the service org.freedesktop.Notifications on it.

    Browsers that are started with `environment()` show their notifications here. A test sees each
    as soon as its browser knows that it is shown: before, the browser may not be asked about it.
    """

    def __init__(self) -> None:
        program = find_program("dbus-daemon", package="dbus-daemon")
        self._changed = threading.Condition()
        self._shown: list[Notification] = []
        self._open: set[int] = set()
        self._service = _NotificationService(self._on_notify, self._on_close)
        self._announcing: set[asyncio.Task[None]] = set()
        with ExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="desktop-"))
            self.address = _start_daemon(program, Path(directory), stack)
            self._loop = stack.enter_context(BackgroundLoop("desktop"))
            bus = self._loop.run(self._connect())
            stack.callback(lambda: self._loop.run(_disconnect(bus)))
            self._running = stack.pop_all()

    def environment(self) -> dict[str, str]:
        """The environment variables that bring a program to this desktop."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.address}

    @property
    def notifications(self) -> list[Notification]:
        """Every notification that was ever shown, oldest first."""
        with self._changed:
            return list(self._shown)

    def is_open(self, notification: Notification) -> bool:
        """Whether it (or one that replaced it) is still on the screen."""
        with self._changed:
            return notification.id in self._open

    def wait_for(
        self,
        predicate: Callable[[Notification], bool] = lambda _: True,
        timeout: timedelta = timedelta(seconds=20),
    ) -> Notification:
        """The first notification that satisfies the predicate, also one shown before the call.

        Raises TimeoutError, which lists what was shown instead.
        """

        def first() -> Notification | None:
            return next(filter(predicate, self._shown), None)

        with self._changed:
            found = self._changed.wait_for(first, timeout.total_seconds())
            if found is None:
                raise TimeoutError(f"no such notification; shown were {self._shown}")
            return found

    def wait_until_closed(
        self, notification: Notification, timeout: timedelta = timedelta(seconds=20)
    ) -> None:
        """Waits until the browser has taken the notification away."""
        with self._changed:
            gone = self._changed.wait_for(
                lambda: notification.id not in self._open, timeout.total_seconds()
            )
        if not gone:
            raise TimeoutError(f"still open: {notification}")

    def click(self, notification: Notification, action: str = "default") -> None:
        """Clicks the notification, or its button with the key `action`.

        As on a desktop, that also takes it away, unless it asked to be resident.
        """
        if action not in notification.actions:
            raise ValueError(f"{action!r} is none of the actions {notification.actions}")
        self._loop.run(self._service.emit_action(notification.id, action))
        if not notification.hints.get("resident"):
            self.dismiss(notification)

    def dismiss(self, notification: Notification) -> None:
        """Takes the notification away without a click on it."""
        with self._changed:
            self._open.discard(notification.id)
        self._loop.run(self._service.emit_closed(notification.id, DISMISSED_BY_READER))

    def close(self) -> None:
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _connect(self) -> MessageBus:
        self._bus = await MessageBus(bus_address=self.address).connect()
        self._bus.add_message_handler(self._note_sender)
        self._bus.export("/org/freedesktop/Notifications", self._service)
        await self._bus.request_name("org.freedesktop.Notifications")
        return self._bus

    def _note_sender(self, message: Message) -> None:
        self._sender = message.sender

    def _on_notify(self, notification: Notification) -> None:
        with self._changed:
            self._open.add(notification.id)
        announcing = asyncio.create_task(self._announce(notification, self._sender))
        self._announcing.add(announcing)
        announcing.add_done_callback(self._announcing.discard)

    async def _announce(self, notification: Notification, browser: str | None) -> None:
        """Lets the test see a notification, once the browser knows that it is shown.

        A Chromium that is asked for its notifications before it has read our answer takes this one
        for closed, and forgets it. A ping is read after that answer.
        """
        ping = Message(
            destination=browser, path="/", interface="org.freedesktop.DBus.Peer", member="Ping"
        )
        with contextlib.suppress(TimeoutError):  # closed meanwhile, or hung: then it is shown still
            await asyncio.wait_for(self._bus.call(ping), ACKNOWLEDGED_WITHIN.total_seconds())
        with self._changed:
            self._shown.append(notification)
            self._changed.notify_all()

    def _on_close(self, notification_id: int) -> None:
        with self._changed:
            self._open.discard(notification_id)
            self._changed.notify_all()


def _start_daemon(program: str, directory: Path, stack: ExitStack) -> str:
    """The address of a new D-Bus session, which ends with the stack."""
    configuration = directory / "session.conf"
    configuration.write_text(SESSION.format(directory=directory))
    daemon = stack.enter_context(
        subprocess.Popen(
            [program, f"--config-file={configuration}", "--nofork", "--print-address=1"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    stack.callback(daemon.terminate)
    assert daemon.stdout is not None
    return daemon.stdout.readline().strip()


async def _disconnect(bus: MessageBus) -> None:
    bus.disconnect()
    await bus.wait_for_disconnect()


class _NotificationService(ServiceInterface):
    """The D-Bus side; method and parameter names are those of the specification."""

    def __init__(
        self, on_notify: Callable[[Notification], None], on_close: Callable[[int], None]
    ) -> None:
        super().__init__("org.freedesktop.Notifications")
        self._on_notify = on_notify
        self._on_close = on_close
        self._last_id = 0

    @dbus_method("GetCapabilities")
    def capabilities(self) -> StringArray:
        return ["actions", "body", "persistence"]

    @dbus_method("GetServerInformation")
    def server_information(self) -> Annotated[tuple[str, ...], DBusSignature("ssss")]:
        return ("Test desktop", "Newsroom notifier", "1", "1.2")

    @dbus_method("Notify")
    def notify(
        self,
        app: DBusStr,
        replaces_id: DBusUInt32,
        icon: DBusStr,
        summary: DBusStr,
        body: DBusStr,
        actions: StringArray,
        hints: DBusDict,
        _expire_timeout: DBusInt32,
    ) -> DBusUInt32:
        if not replaces_id:
            self._last_id += 1
        notification = Notification(
            id=replaces_id or self._last_id,
            replaces=bool(replaces_id),
            app=app,
            title=summary,
            body=body,
            actions=dict(zip(actions[::2], actions[1::2], strict=True)),
            hints={name: variant.value for name, variant in hints.items() if name != "image-data"},
            has_icon=bool(icon or hints.keys() & {"image-data", "image-path"}),
        )
        self._on_notify(notification)
        return notification.id

    @dbus_method("CloseNotification")
    def close_notification(self, notification_id: DBusUInt32) -> None:
        self._on_close(notification_id)
        self.notification_closed(notification_id, CLOSED_BY_CALL)

    @dbus_signal("NotificationClosed")
    def notification_closed(
        self, notification_id: int, reason: int
    ) -> Annotated[tuple[int, int], DBusSignature("uu")]:
        return (notification_id, reason)

    @dbus_signal("ActionInvoked")
    def action_invoked(
        self, notification_id: int, action: str
    ) -> Annotated[tuple[int, str], DBusSignature("us")]:
        return (notification_id, action)

    async def emit_closed(self, notification_id: int, reason: int) -> None:
        """Sends the signal from the bus's own thread."""
        self.notification_closed(notification_id, reason)

    async def emit_action(self, notification_id: int, action: str) -> None:
        """Sends the signal from the bus's own thread."""
        self.action_invoked(notification_id, action)
