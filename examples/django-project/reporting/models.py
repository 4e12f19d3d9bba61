"""What each tenant has, in a schema of its own."""

from django.db import models


class Cluster(models.Model):
    """A cluster whose costs are reported."""

    name = models.CharField(max_length=256, unique=True)
    labels = models.JSONField(default=dict)

    def __str__(self):
        return self.name


class Node(models.Model):
    """A machine of a cluster."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE)
    name = models.CharField(max_length=253)
    capacity = models.DecimalField(max_digits=18, decimal_places=6, null=True)

    class Meta:
        unique_together = [("cluster", "name")]

    def __str__(self):
        return self.name


class Tag(models.Model):
    """A label by which costs are grouped."""

    key = models.TextField(unique=True)
    values = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)

    class Meta:
        indexes = [models.Index(fields=["enabled", "key"], name="tag_enabled_key")]

    def __str__(self):
        return self.key


class Rate(models.Model):
    """What an hour costs."""

    cluster = models.ForeignKey(Cluster, null=True, on_delete=models.CASCADE)
    metric = models.CharField(max_length=64)
    price = models.DecimalField(max_digits=33, decimal_places=15)

    def __str__(self):
        return f"{self.metric}: {self.price}"


class Invoice(models.Model):
    """A month's bill, numbered by a sequence of the tenant's own."""

    number = models.BigIntegerField(unique=True)
    month = models.DateField()
    total = models.DecimalField(max_digits=33, decimal_places=15, default=0)

    def __str__(self):
        return str(self.number)


class CostLine(models.Model):
    """One line of cost; partitioned by month."""

    usage_start = models.DateField()
    cluster_name = models.CharField(max_length=256)
    labels = models.JSONField(default=dict)
    cost = models.DecimalField(max_digits=33, decimal_places=15)

    class Meta:
        managed = False
        db_table = "reporting_costline"

    def __str__(self):
        return f"{self.cluster_name} on {self.usage_start}"


class CostSummary(models.Model):
    """Kept by a trigger on the lines."""

    month = models.DateField()
    cluster_name = models.CharField(max_length=256)
    cost = models.DecimalField(max_digits=33, decimal_places=15, default=0)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        unique_together = [("month", "cluster_name")]

    def __str__(self):
        return f"{self.cluster_name} in {self.month}"
