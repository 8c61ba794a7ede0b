"""Client of spotter, a self-hosted object-detection service.

>>> import spotter
>>> with spotter.Client("http://127.0.0.1:5000") as client:
...     task = client.detect("bus.jpg")
"""

from spotter._async_client import AsyncClient
from spotter._client import Client
from spotter._drawing import draw
from spotter._errors import (
    ApiError,
    AuthenticationError,
    BusyError,
    NoAnswerError,
    NotFoundError,
    SpotterError,
    TaskError,
    TaskFailedError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from spotter._events import Event
from spotter._flows import CacheControl, Format
from spotter._many import Outcome
from spotter._models import Corners, Failure, FoundObject, Links, OfBatch, Problem, Reason, State, Task, Timings
from spotter._outcomes import Outcomes
from spotter._parameters import ListParameters, SubmitParameters
from spotter._pictures import PictureSource

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "BusyError",
    "CacheControl",
    "Client",
    "Corners",
    "Event",
    "Failure",
    "Format",
    "FoundObject",
    "Links",
    "ListParameters",
    "NoAnswerError",
    "NotFoundError",
    "OfBatch",
    "Outcome",
    "Outcomes",
    "PictureSource",
    "Problem",
    "Reason",
    "SpotterError",
    "State",
    "SubmitParameters",
    "Task",
    "TaskError",
    "TaskFailedError",
    "Timings",
    "UnexpectedAnswerError",
    "WaitTimeoutError",
    "draw",
]
