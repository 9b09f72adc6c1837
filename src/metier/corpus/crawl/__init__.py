"""Crawl web sites: politely, within bounds, never into private networks, and so that a kill costs nothing."""

from metier.corpus.crawl.step import Crawl

__all__ = ["Crawl"]
