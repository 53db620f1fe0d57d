"""The tables, one module for each aggregate."""

from notifier.models.access import ApiToken, Editor, SignInLink
from notifier.models.alert import Alert, AlertKind, AlertState
from notifier.models.article import Article, ArticleStatus, Story, topic_of
from notifier.models.base import Base
from notifier.models.batch import COUNTS, Batch, BatchMembers
from notifier.models.push_service import DoubtfulGone, OpenBreaker, ServiceAnswers
from notifier.models.subscription import Section, Subscription, VapidPublicKey

__all__ = [
    "COUNTS",
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
    "OpenBreaker",
    "Section",
    "ServiceAnswers",
    "SignInLink",
    "Story",
    "Subscription",
    "VapidPublicKey",
    "topic_of",
]
