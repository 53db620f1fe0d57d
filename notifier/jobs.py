"""The names of the background jobs, shared by those who ring and those who work."""

from enum import StrEnum


class Job(StrEnum):
    FAN_OUT = "notifier.fan_out"
    DELIVER = "notifier.deliver"
