"""Idempotent steps on a server: databases, roles, extensions, migrations.

Each step looks first, does what is missing and says what it did; a second run changes nothing.
"""
