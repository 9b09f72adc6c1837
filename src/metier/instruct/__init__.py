"""Conversations to learn from: read from files, made from documents, or by a generator whose answers were executed."""

from metier.instruct.chat_data import ChatData, JudgementData, PreferenceData
from metier.instruct.doc_qa import DocQa
from metier.instruct.sql_tasks import SqlTasks

__all__ = ["ChatData", "DocQa", "JudgementData", "PreferenceData", "SqlTasks"]
