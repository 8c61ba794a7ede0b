"""The version, which is that of the API."""

VERSION = "0.1.0"
