"""Answers over HTTP and in process from an exported model."""
