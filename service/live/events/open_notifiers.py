"""Makes the notifiers of a rig from their settings."""

from collections.abc import Sequence

from ..distinct_names import tell_apart
from .delivery import Notifier
from .event_lines import EventLines
from .mqtt import Mqtt
from .notify_settings import LinesSettings, MqttSettings, NotifierSettings, WebhookSettings
from .webhook import Webhook


def open_notifiers(settings: Sequence[NotifierSettings], rig: str) -> list[Notifier]:
    """Make the notifiers of a rig; raises SinkError for one that can never work."""
    notifiers: list[Notifier] = []
    try:
        for each in settings:
            notifiers.append(_notifier(each, rig))
    except BaseException:
        for notifier in notifiers:
            notifier.close()
        raise
    tell_apart(notifiers)
    return notifiers


def _notifier(settings: NotifierSettings, rig: str) -> Notifier:
    match settings:
        case LinesSettings():
            return EventLines(settings)
        case WebhookSettings():
            return Webhook(settings)
        case MqttSettings():
            return Mqtt(settings, rig)
