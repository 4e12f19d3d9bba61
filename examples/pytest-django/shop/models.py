"""One model."""

from django.db import models


class Item(models.Model):
    """Something with a name."""

    name = models.CharField(max_length=100, unique=True)

    def __str__(self):
        return self.name
