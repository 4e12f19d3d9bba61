"""What Cost Management needs, as data: one TOML file for each era of koku, and its reader."""
