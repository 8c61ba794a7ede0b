#!/usr/bin/env python3
"""Submit the pictures that an event of S3 or MinIO names, by presigned URLs.

    pip install boto3
    s3_event.py < event.json

The event is the body of a message of SQS, also one that came by SNS, or of a webhook of MinIO. The URLs are signed
here, with the credentials that boto3 finds, and are valid for ten minutes: spotter fetches a picture before it
answers. For MinIO, set AWS_ENDPOINT_URL. SPOTTER_API and SPOTTER_API_KEY say where to submit.

Exit code 0: all pictures of the event are accepted, or are none that spotter takes; delete the message. Exit code 1:
spotter or the store was busy, did not answer, or refused the credentials; leave the message in the queue, which needs a
redrive policy (maxReceiveCount) for objects that are gone. It may come twice: its tasks are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import cache

import boto3
from botocore.config import Config

API = os.environ.get("SPOTTER_API", "http://127.0.0.1:5000")
URL_SECONDS = 600
# What the metadata of a task may have.
METADATA_BYTES = 1024
# Longer than FETCH_TIMEOUT_SECONDS.
TIMEOUT_SECONDS = 60
# The picture itself is at fault: it is none, is too large, or is compressed.
AT_FAULT = {400, 413, 415}


def created(event: dict) -> Iterator[dict]:
    """The records of new objects. A message that came by SNS has the event as a text."""
    if "Message" in event:
        event = json.loads(event["Message"])
    # The message that S3 sends when notifications are set up, `s3:TestEvent`, has no records.
    for record in event.get("Records", []):
        # S3 writes `ObjectCreated:Put`, MinIO `s3:ObjectCreated:Put`.
        if record["eventName"].removeprefix("s3:").startswith("ObjectCreated:"):
            yield record


@cache
def storage(region: str):
    # AWS wants the bucket and its region in the host. URLs of another form lead to a redirect, which is not signed.
    style = "path" if "AWS_ENDPOINT_URL" in os.environ else "virtual"
    config = Config(signature_version="s3v4", s3={"addressing_style": style})
    return boto3.client("s3", region_name=region or None, config=config)


def metadata(bucket: str, key: str) -> dict[str, str]:
    """What the task keeps. The longest keys of S3 do not fit in."""
    both = {"bucket": bucket, "key": key}
    text = json.dumps(both, ensure_ascii=False, separators=(",", ":"))
    return both if len(text.encode()) <= METADATA_BYTES else {"bucket": bucket}


def digest(bucket: str, key: str) -> str:
    return hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()[:16]


def submission(record: dict) -> urllib.request.Request:
    bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
    # In events, keys are encoded as in a form: spaces are `+`.
    key = urllib.parse.unquote_plus(item["key"])
    of_object = {"Bucket": bucket, "Key": key}
    s3 = storage(record["awsRegion"])
    url = s3.generate_presigned_url("get_object", Params=of_object, ExpiresIn=URL_SECONDS)
    body = {"url": url, "metadata": metadata(bucket, key)}
    headers = {
        "Content-Type": "application/json",
        # An event may come more than once. The sequencer is another one for each version of the object.
        "Idempotency-Key": f"s3-{digest(bucket, key)}-{item['eTag']}-{item['sequencer']}",
    }
    if api_key := os.environ.get("SPOTTER_API_KEY"):
        headers["Authorization"] = f"Bearer {api_key}"
    return urllib.request.Request(f"{API}/v1/tasks", json.dumps(body).encode(), headers)


def is_settled(request: urllib.request.Request) -> bool:
    """Submit, and print the task or the problem. False: try again later."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            print(answer.read().decode())
            return True
    except urllib.error.HTTPError as refused:
        print(refused.read().decode(errors="replace"), file=sys.stderr)
        return refused.code in AT_FAULT
    except OSError as error:
        print(f"{API} does not answer: {error}", file=sys.stderr)
        return False


def main() -> int:
    requests = [submission(record) for record in created(json.load(sys.stdin))]
    settled = [is_settled(request) for request in requests]
    return 0 if all(settled) else 1


if __name__ == "__main__":
    sys.exit(main())
