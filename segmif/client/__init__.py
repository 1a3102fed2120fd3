"""Client of the service: frames in, arrays out. It needs the extra `client`."""

from importlib.util import find_spec

from segmif.install import install_command

if not find_spec("httpx"):
    raise ModuleNotFoundError(
        f"segmif.client needs httpx: {install_command('client')}", name="httpx"
    )

from segmif.client.http import Answer as Answer
from segmif.client.http import AsyncClient as AsyncClient
from segmif.client.http import Client as Client
from segmif.client.http import Pair as Pair
from segmif.client.http import ServiceError as ServiceError
from segmif.client.http import StampedPair as StampedPair
from segmif.client.http import pack as pack
