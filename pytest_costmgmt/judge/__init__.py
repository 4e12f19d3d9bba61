"""Pure functions, requirements x facts -> findings."""
