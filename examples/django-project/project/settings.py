"""Settings: everything that differs between installations comes from the environment."""

import os

from project import database

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "an example has no secrets")
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {"default": database.config()}
DATABASE_ROUTERS = ("django_tenants.routers.TenantSyncRouter",)

ONPREM = os.environ.get("ONPREM", "").strip().lower() in {"1", "true", "yes", "on"}
HIVE_DATABASE_USER = os.environ.get("HIVE_DATABASE_USER", "hive")
HIVE_DATABASE_NAME = os.environ.get("HIVE_DATABASE_NAME", "hive")
HIVE_DATABASE_PASSWORD = os.environ.get("HIVE_DATABASE_PASSWORD", "hive")

SHARED_APPS = ("django_tenants", "django.contrib.contenttypes", "api")
TENANT_APPS = ("reporting",)
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "api.Tenant"
TENANT_DOMAIN_MODEL = "api.Domain"
TEMPLATE_SCHEMA = "template0"
SILENCED_SYSTEM_CHECKS = ["django_tenants.W003"]
