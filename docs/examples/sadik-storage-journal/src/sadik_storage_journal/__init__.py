"""A storage backend for Sadik that keeps rows in memory and batches in a journal.

Nothing is imported here: Sadik finds `sadik_storage_journal.journal` by its entry point.
"""
