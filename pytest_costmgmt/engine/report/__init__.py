"""How a verdict is told: terminal, report.json, fix.sql."""
