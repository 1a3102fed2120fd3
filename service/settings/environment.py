"""Which SEGMIF_ variables are settings, which are misspelt, and which are of other programs."""

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

PREFIX = "SEGMIF_"
FILE_VARIABLE = "SEGMIF_CONFIG"  # names the file of settings
OTHER_PROGRAMS = frozenset({"SEGMIF_DATA", "SEGMIF_ATTENTION"})  # read these
CLOSE = 0.75  # of difflib's ratio; from here on a name is a setting's, misspelt
SHORTENED = 4  # letters from which on the beginning of a setting's name is taken for it

# What Kubernetes sets in every container for a Service called segmif, or segmif-gpu, and so on.
SERVICE_LINK = re.compile(
    r"SEGMIF_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://", re.IGNORECASE)  # the value of SEGMIF_PORT then


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set this variable for a Service, instead of an operator as a setting."""
    name = name.upper()
    if name.startswith(PREFIX) and name.endswith("PORT") and SERVICE_ADDRESS.match(value):
        return True
    return bool(SERVICE_LINK.fullmatch(name))


def check_environment(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """
    Check the SEGMIF_ variables; gives a warning for each that none of our programs reads.

    Raises ValueError for one that is close to a setting's name: it would change nothing.
    """
    known = {name.upper() for name in settings}
    read = {PREFIX + name for name in known} | OTHER_PROGRAMS | {FILE_VARIABLE}
    warnings = []
    for name, value in environment.items():
        if not name.upper().startswith(PREFIX) or name.upper() in read:
            continue
        if is_service_link(name, value):
            continue
        if close := closest(name.upper().removeprefix(PREFIX), known):
            raise ValueError(
                f"the variable {name} is none of this program's; is {PREFIX}{close} meant?"
            )
        warnings.append(f"the variable {name} is no setting of the service and is not read")
    return warnings


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt or shortened one may mean; None if there is none."""
    close = get_close_matches(name, known, n=1, cutoff=CLOSE)
    if not close and len(name) >= SHORTENED:
        close = [whole for whole in sorted(known) if whole.startswith(name)]
    return close[0] if close else None


class Environment(EnvSettingsSource):
    """The variables of the environment, without those that Kubernetes sets for a Service."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of a setting; None if it is not set."""
        value, key, is_complex = super().get_field_value(field, field_name)
        if isinstance(value, str) and is_service_link(PREFIX + field_name, value):
            return None, key, is_complex
        return value, key, is_complex
