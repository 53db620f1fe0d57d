"""The tables, one module for each aggregate."""

from notifier.models.access import ApiToken, Editor, SignInLink
from notifier.models.alert import (
    OPEN_STATES,
    Alert,
    AlertKind,
    AlertState,
    Reaction,
    ReactionCount,
)
from notifier.models.article import Article, ArticleStatus, Story, topic_of
from notifier.models.base import NOW, Base
from notifier.models.batch import COUNTS, IS_HELD, NOBODY_HOLDS, Batch, BatchMembers
from notifier.models.heartbeat import Heartbeat, Program
from notifier.models.push_service import DoubtfulGone, OpenBreaker, ServiceAnswers
from notifier.models.subscription import (
    Level,
    MutedStory,
    OwnMessage,
    Section,
    Subscription,
    VapidPublicKey,
)

__all__ = [
    "COUNTS",
    "IS_HELD",
    "NOBODY_HOLDS",
    "NOW",
    "OPEN_STATES",
    "Alert",
    "AlertKind",
    "AlertState",
    "ApiToken",
    "Article",
    "ArticleStatus",
    "Base",
    "Batch",
    "BatchMembers",
    "DoubtfulGone",
    "Editor",
    "Heartbeat",
    "Level",
    "MutedStory",
    "OpenBreaker",
    "OwnMessage",
    "Program",
    "Reaction",
    "ReactionCount",
    "Section",
    "ServiceAnswers",
    "SignInLink",
    "Story",
    "Subscription",
    "VapidPublicKey",
    "topic_of",
]
