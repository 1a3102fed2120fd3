"""Who is told of events, as a settings file states it."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from typing_extensions import Self

from segmif.sources.secrets import PLACEHOLDER

from ..sinks.settings import JsonlSettings

MAX_NOTIFIERS = 16


class _Notifier(BaseModel):
    # An address may hold a password, which no error may show.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    timeout_s: float = Field(default=5.0, ge=0.1, le=60)  # of one try
    give_up_s: float = Field(default=3600.0, ge=0, le=7 * 86_400)  # since the event was decided
    waiting: int = Field(default=1000, ge=2, le=100_000)  # events kept; then the oldest is dropped


def _secret_place(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not PLACEHOLDER.fullmatch(value.get_secret_value()):
        raise ValueError("a secret stands in the environment or a file: ${NAME} or ${file:/path}")
    return value


class LinesSettings(_Notifier, JsonlSettings):
    """A line of JSON for the start and the end of each event."""

    kind: Literal["lines"]  # type: ignore[assignment]


class WebhookSettings(_Notifier):
    """A POST for the start and the end of each event, signed."""

    kind: Literal["webhook"]
    url: SecretStr  # https://HOST/PATH or http://; ${NAME} and ${file:/path} in it are filled in
    secret: SecretStr  # ${NAME} or ${file:/path}: the key of the signature
    ca_file: Path | None = None  # whom to trust instead of whom the machine does

    _place = field_validator("secret")(_secret_place)

    @field_validator("url")
    @classmethod
    def _http(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if not re.match(r"https?://[^/?#]|\$\{", text):
            raise ValueError("expected https://HOST/PATH or http://HOST/PATH")
        return url


class MqttSettings(_Notifier):
    """A message for the start and the end of each event, QoS 1."""

    kind: Literal["mqtt"]
    url: str  # mqtts://HOST:PORT or mqtt://HOST:PORT, without a password
    topic: str = Field(default="segmif/{rig}/events", min_length=1, max_length=512)
    user: str | None = None  # or ${NAME}, ${file:/path}
    password: SecretStr | None = None  # ${NAME} or ${file:/path}
    ca_file: Path | None = None  # whom to trust instead of whom the machine does

    _place = field_validator("password")(_secret_place)

    @field_validator("url")
    @classmethod
    def _broker(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("user and password are settings of their own, not part of the url")
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.port != 0
        except ValueError:
            whole = False
        if not whole or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("expected mqtts://HOST:PORT or mqtt://HOST:PORT")
        return url

    @field_validator("topic")
    @classmethod
    def _no_wildcard(cls, topic: str) -> str:
        if set(topic) & set("+#\0"):
            raise ValueError("a topic that is published to has no + and no #")
        if set(topic.replace("{rig}", "")) & set("{}"):
            raise ValueError("expected no braces but {rig}, which becomes the name of the rig")
        return topic

    @model_validator(mode="after")
    def _user_with_password(self) -> Self:
        if self.password and self.user is None:
            raise ValueError("a password needs a user")
        return self


NotifierSettings = Annotated[
    LinesSettings | WebhookSettings | MqttSettings, Field(discriminator="kind")
]
