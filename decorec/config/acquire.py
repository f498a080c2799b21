"""Sections for fetching files and pictures."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Section

__all__ = ["CrawlConfig", "DownloadConfig"]


class DownloadConfig(Section):
    """Fetching of large files."""

    attempts: int = Field(8, ge=1, le=100)
    """Connections in a row without progress before the step fails; each one continues where the last one broke."""
    timeout: float = Field(30.0, gt=0)
    """Seconds without a byte before a connection counts as broken."""


class CrawlConfig(Section):
    """Fetching and storing of pictures."""

    concurrency: int = Field(16, ge=1, le=256)
    """Largest number of simultaneous requests to all hosts."""
    per_host: int = Field(8, ge=1, le=256)
    """Largest number of simultaneous requests to one host."""
    rate: float = Field(20.0, gt=0)
    """Largest number of requests per second to one host."""
    timeout: float = Field(10.0, gt=0)
    """Seconds without a byte before a request counts as timed out."""
    deadline: float = Field(30.0, gt=0)
    """Largest number of seconds for one URL, with redirects, waits and repeated attempts of the same run."""
    attempts: int = Field(4, ge=1, le=20)
    """Requests per URL and run before a transient failure is recorded."""
    max_bytes: int = Field(20_000_000, ge=1_000)
    """Largest body accepted, in bytes."""
    max_pixels: int = Field(64_000_000, ge=10_000)
    """Largest picture decoded, in pixels."""
    max_redirects: int = Field(5, ge=0, le=20)
    """Largest number of redirects per URL."""
    side: int = Field(256, ge=32, le=4_096)
    """Length of the shorter side of the stored picture, in pixels; smaller pictures are not enlarged."""
    user_agent: str = Field(
        "decorec/0.1 (research crawler; set crawl.user_agent to your contact address)",
        pattern=r"^[\x21-\x7e][\x20-\x7e]*$",
    )
    """Sent with every request; it should contain a contact address. Printable ASCII characters only: servers may
    refuse a header with others."""
    respect_robots: bool = True
    """Follow robots.txt and X-Robots-Tag opt-outs."""
    private_hosts: bool = False
    """Allow hosts that resolve to private or loopback addresses."""
