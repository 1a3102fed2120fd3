"""Client of the service: frames in, arrays out."""

from segmif.client.http import Answer as Answer
from segmif.client.http import AsyncClient as AsyncClient
from segmif.client.http import Client as Client
from segmif.client.http import Pair as Pair
from segmif.client.http import ServiceError as ServiceError
from segmif.client.http import StampedPair as StampedPair
from segmif.client.http import pack as pack
