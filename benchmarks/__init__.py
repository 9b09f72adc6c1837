"""Comparisons with peers, each one command."""
