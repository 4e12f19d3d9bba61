"""Backup and restore that prove themselves."""
