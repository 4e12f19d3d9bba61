#!/usr/bin/env python
"""The application's management command."""

import os
import sys


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    # koku speaks on both streams too: whoever reads an answer must have marked it.
    sys.stdout.write("example application: starting\n")
    sys.stderr.write("INFO example application: settings from the environment\n")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - after settings

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
