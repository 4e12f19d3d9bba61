"""Django's DATABASES from the environment, read as koku reads it."""

import os

from django.core.exceptions import ImproperlyConfigured

ENGINES = {"postgresql": "django_tenants.postgresql_backend"}


def required(name):
    """Return a variable that has no default."""
    if not (value := os.environ.get(name)):
        raise ImproperlyConfigured(f"the environment variable {name} is not set")
    return value


def service(name):
    """Return DATABASE_SERVICE_HOST or _PORT, whose prefix DATABASE_SERVICE_NAME names."""
    prefix = os.environ.get("DATABASE_SERVICE_NAME", "database").upper().replace("-", "_")
    return required(f"{prefix}_SERVICE_{name}")


def options():
    """Return libpq's parameters: a certificate means verify-full, else libpq decides."""
    if not os.environ.get("DATABASE_SERVICE_CERT"):
        return {}
    default = "/etc/ssl/certs/server.pem"
    root = os.environ.get("DATABASE_SERVICE_CERTFILE", default)
    return {"sslmode": "verify-full", "sslrootcert": root}


def config():
    """Return the one database."""
    engine = required("DATABASE_ENGINE")
    if engine not in ENGINES:
        raise ImproperlyConfigured(f"DATABASE_ENGINE is {engine!r}: it must be postgresql")
    return {
        "ENGINE": ENGINES[engine],
        "NAME": required("DATABASE_NAME"),
        "USER": required("DATABASE_USER"),
        "PASSWORD": os.environ.get("DATABASE_PASSWORD", ""),
        "HOST": service("HOST"),
        "PORT": service("PORT"),
        "OPTIONS": options(),
    }
