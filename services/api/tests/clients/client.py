"""Python's urllib, and then http.client with a body in chunks: sends each request given on the command
line, and writes a line with the status or the error for each. Arguments: urllib or http.client, a
picture's path, then URL, content and size for each request."""

import http.client
import sys
import urllib.error
import urllib.parse
import urllib.request

BOUNDARY = "early-answers"
PIECE = 65536


def body(content: str, start: bytes, size: int) -> tuple[str, bytes]:
    if content == "text":
        return "text/plain", b" " * size
    what, name = content.split(":")
    picture = (start if what == "picture" else b"").ljust(size, b"\0")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    form = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    return f"multipart/form-data; boundary={BOUNDARY}", form


def by_urllib(url: str, media_type: str, data: bytes) -> int:
    request = urllib.request.Request(url, data=data, headers={"Content-Type": media_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def by_http_client(url: str, media_type: str, data: bytes) -> int:
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
    headers = {"Content-Type": media_type}
    connection.request("POST", address.path, pieces, headers, encode_chunked=True)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def main() -> None:
    library, picture, *requests = sys.argv[1:]
    send = {"urllib": by_urllib, "http.client": by_http_client}[library]
    with open(picture, "rb") as file:
        start = file.read()
    while requests:
        (url, content, size), requests = requests[:3], requests[3:]
        try:
            print(send(url, *body(content, start, int(size))), flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)


main()
