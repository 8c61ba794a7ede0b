#!/usr/bin/env python3
"""Receive spotter's webhooks and store them in a SQLite database.

    pip install standardwebhooks
    WEBHOOK_SECRETS=whsec_… webhook_to_sqlite.py objects.sqlite --port 8000

A webhook is answered once it is on the disk. If this program does not run, or cannot store it, spotter sends it again,
for three days. One that arrives twice is stored once, by its id.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

# spotter's webhooks have 20,000 bytes at most.
MAX_BYTES = 1 << 16
# How long a request may be silent.
TIMEOUT_SECONDS = 10

SCHEMA = """
CREATE TABLE IF NOT EXISTS webhooks (
  id TEXT PRIMARY KEY, received_at TEXT DEFAULT CURRENT_TIMESTAMP, body TEXT NOT NULL
);
CREATE VIEW IF NOT EXISTS tasks AS
  SELECT body ->> '$.data.task_id' AS task_id, body ->> '$.data.state' AS state, body ->> '$.timestamp' AS finished_at,
         body -> '$.data.metadata' AS metadata, body ->> '$.data.picture_name' AS picture,
         body -> '$.data.objects' IS NULL AND body ->> '$.type' = 'task.success' AS objects_left_out
  FROM webhooks WHERE body ->> '$.type' LIKE 'task.%';
CREATE VIEW IF NOT EXISTS objects AS
  SELECT body ->> '$.data.task_id' AS task_id, value ->> '$.label' AS label, value ->> '$.confidence' AS confidence,
         value ->> '$.bbox.x1' AS x1, value ->> '$.bbox.y1' AS y1,
         value ->> '$.bbox.x2' AS x2, value ->> '$.bbox.y2' AS y2
  FROM webhooks, json_each(body, '$.data.objects');
"""


class Receiver(BaseHTTPRequestHandler):
    database: str
    secrets: list[Webhook]
    timeout = TIMEOUT_SECONDS

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit():
            return self.answer(411)
        if int(length) > MAX_BYTES:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not self.is_signed(body):
            return self.answer(401)
        with closing(sqlite3.connect(self.database)) as database, database:
            row = (self.headers["webhook-id"], body.decode())
            database.execute("INSERT OR IGNORE INTO webhooks (id, body) VALUES (?, ?)", row)
        # The transaction is committed: from here on spotter may forget it.
        self.answer(204)

    def is_signed(self, body: bytes) -> bool:
        """Whether one of the secrets has made the signature, and not long ago."""
        for secret in self.secrets:
            try:
                secret.verify(body, dict(self.headers))
            except (WebhookVerificationError, ValueError):
                # ValueError: the body is not UTF-8, or a header not what the standard says.
                continue
            return True
        return False

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    secrets = re.findall(r"[^\s,]+", os.environ.get("WEBHOOK_SECRETS", ""))
    if not secrets:
        parser.error("WEBHOOK_SECRETS must have the secret of spotter's notifier, or several")
    Receiver.database = arguments.database
    Receiver.secrets = [Webhook(secret) for secret in secrets]
    with closing(sqlite3.connect(arguments.database)) as database:
        # Requests that write at the same time wait for one another, and readers for none.
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(SCHEMA)
    server = ThreadingHTTPServer((arguments.host, arguments.port), Receiver)
    print(f"listening on http://{arguments.host}:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
