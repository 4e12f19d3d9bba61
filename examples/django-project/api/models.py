"""What all tenants share, in schema public."""

from uuid import uuid4

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    """A customer's schema. Its rows say which schemas must exist."""

    auto_create_schema = False
    auto_drop_schema = True


class Domain(DomainMixin):
    """django-tenants asks for one; nothing here uses it."""


class Provider(models.Model):
    """A source of costs."""

    uuid = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=256)
    kind = models.CharField(max_length=50)
    settings = models.JSONField(default=dict)
    customer = models.ForeignKey(Tenant, null=True, on_delete=models.CASCADE)

    class Meta:
        indexes = [models.Index(fields=["kind", "name"], name="provider_kind_name")]

    def __str__(self):
        return self.name
