"""What Schemathesis must not send, because it does not know what is right then."""

import schemathesis


def is_beyond_uint64(value):
    """The format says how large a number may be, which Schemathesis does not know of this one."""
    return str(value).isdecimal() and int(value) >= 1 << 64


@schemathesis.hook
def filter_case(context, case):  # noqa: ARG001
    query = case.query or {}
    return not (
        # It is JSON as the task is, but for a parameter of the media type.
        query.get("format") == "coco"
        # Only the API makes one.
        or "cursor" in query
        # One must be later than the other.
        or {"submitted_after", "submitted_before"} <= query.keys()
        or is_beyond_uint64(query.get("wait"))
    )
