"""Client of the service: frames in, arrays out."""

from .http import Answer as Answer
from .http import AsyncClient as AsyncClient
from .http import Client as Client
from .http import ServiceError as ServiceError
from .http import pack as pack
