"""Client of spotter, a self-hosted object-detection service.

>>> import spotter
>>> with spotter.Client("http://127.0.0.1:5000") as client:
...     task = client.detect("bus.jpg")
"""

from spotter._async_client import AsyncClient
from spotter._batch_body import ItemParameters, PictureSources
from spotter._batches import ItemError, ItemResult
from spotter._client import Client
from spotter._drawing import draw
from spotter._errors import (
    ApiError,
    AuthenticationError,
    BatchTimeoutError,
    BusyError,
    NoAnswerError,
    NotFoundError,
    SpotterError,
    TaskError,
    TaskFailedError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from spotter._events import BatchEvent, Event
from spotter._flows import CacheControl, Format
from spotter._many import Outcome
from spotter._models import (
    Batch,
    BatchLinks,
    BatchState,
    Corners,
    Counts,
    Failure,
    FoundObject,
    Latency,
    Links,
    Model,
    ModelInput,
    ModelWorker,
    OfBatch,
    Problem,
    Reason,
    Refused,
    State,
    Task,
    Timings,
)
from spotter._outcomes import Outcomes
from spotter._parameters import ListParameters, SubmitParameters
from spotter._pictures import PictureSource

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "Batch",
    "BatchEvent",
    "BatchLinks",
    "BatchState",
    "BatchTimeoutError",
    "BusyError",
    "CacheControl",
    "Client",
    "Corners",
    "Counts",
    "Event",
    "Failure",
    "Format",
    "FoundObject",
    "ItemError",
    "ItemParameters",
    "ItemResult",
    "Latency",
    "Links",
    "ListParameters",
    "Model",
    "ModelInput",
    "ModelWorker",
    "NoAnswerError",
    "NotFoundError",
    "OfBatch",
    "Outcome",
    "Outcomes",
    "PictureSource",
    "PictureSources",
    "Problem",
    "Reason",
    "Refused",
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
